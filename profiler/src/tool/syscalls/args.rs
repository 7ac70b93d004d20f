//! The options of `syscalls` on the command line.

use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches as _, ValueEnum, builder::NonEmptyStringValueParser};

use super::{probes::Stacks, tool::Syscalls};
use crate::{observe::settings::Settings, text::Pattern, tool::Made, units::options::positive_duration};

/// The options that only this tool has.
#[derive(Debug, Args)]
struct SyscallsArgs {
    /// Also list single calls that took at least TIME, with thread, result and file or peer, and with their stack if it was taken.
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    slow: Option<Duration>,
    /// With --slow: show the addresses of peers. Otherwise a hash stands for each that is not on this machine.
    #[arg(long, requires = "slow")]
    show_peers: bool,
    /// Only threads of this name; * and ? are wildcards.
    #[arg(long, value_name = "GLOB", value_parser = NonEmptyStringValueParser::new())]
    thread: Option<String>,
    /// What the first table has a row for.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "call")]
    by: By,
    /// Which calls have their stack taken. "slow" costs little: the limit of what counts as slow adapts, so that about 100 stacks
    /// a second are taken, and 20 of calls that only wait.
    #[arg(long, value_enum, value_name = "WHOSE", default_value = "slow")]
    stacks: StacksArg,
}

/// What the first table has a row for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// A system call.
    #[default]
    Call,
    /// A thread.
    Thread,
    /// A call stack.
    Caller,
}

/// Which calls have their stack taken.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StacksArg {
    /// Slow calls.
    Slow,
    /// All calls.
    All,
    /// No calls.
    None,
}

/// What a run is asked to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// Calls of at least this length are listed one by one.
    pub(super) slow: Option<Duration>,
    /// Addresses of peers are shown as they are.
    pub(super) show_peers: bool,
    /// Which threads are shown: a pattern of their names.
    pub(super) thread: Option<Pattern>,
    /// What the first table has a row for.
    pub(super) by: By,
    /// Which calls have their stack taken.
    pub(super) stacks: Stacks,
}

/// Adds the options to a command.
pub(crate) fn options(command: clap::Command) -> clap::Command {
    SyscallsArgs::augment_args(command)
}

/// The tool as it was asked for.
///
/// # Errors
/// If the options are not those of [`options`], or cannot be used together.
pub(crate) fn make(matches: &ArgMatches, settings: &Settings) -> Made {
    let args = SyscallsArgs::from_arg_matches(matches)?;
    if args.thread.is_some() && args.by == By::Caller {
        let words = "'--by caller' cannot be used with '--thread <GLOB>': callers are counted for all threads together\n";
        return Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, words));
    }
    let options = Options {
        slow: args.slow,
        show_peers: args.show_peers,
        thread: args.thread.as_deref().map(Pattern::whole),
        by: args.by,
        stacks: match args.stacks {
            StacksArg::Slow => Stacks::Slow,
            StacksArg::All => Stacks::All,
            StacksArg::None => Stacks::None,
        },
    };
    Ok(Box::new(Syscalls::new(options, settings)))
}

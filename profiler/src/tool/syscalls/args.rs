//! The options of `syscalls` on the command line.

use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches as _, ValueEnum, builder::NonEmptyStringValueParser};

use super::{probes::Stacks, tool::Syscalls};
use crate::{observe::settings::Settings, text::Pattern, tool::Made, units::options::positive_duration};

/// What only this tool takes.
#[derive(Debug, Args)]
struct SyscallsArgs {
    /// Also list single calls of at least TIME, with thread and result, and with the stack of those whose stack was taken.
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    slow: Option<Duration>,
    /// Only threads of this name; * and ? are wildcards.
    #[arg(long, value_name = "GLOB", value_parser = NonEmptyStringValueParser::new())]
    thread: Option<String>,
    /// What the first table has a row for.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "call")]
    by: By,
    /// Whose call stacks are taken. Those of slow calls cost little: what is slow adapts so that about 100 calls a second are, and
    /// 20 of those that only wait.
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

/// Whose stacks are taken.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StacksArg {
    /// Those of slow calls.
    Slow,
    /// Those of all calls.
    All,
    /// Nobody's.
    None,
}

/// What a run is asked to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// Calls of at least this length are listed one by one.
    pub(super) slow: Option<Duration>,
    /// Which threads are shown, by name.
    pub(super) thread: Option<Pattern>,
    /// What the first table has a row for.
    pub(super) by: By,
    /// Whose stacks are taken.
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

//! The options of `disk` on the command line.

use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches as _, ValueEnum};

use super::tool::Disk;
use crate::{
    io_tools::StacksArgs, observe::settings::Settings, tool::Made, units::options::positive_duration,
};

/// The options that only this tool has.
#[derive(Debug, Args)]
struct DiskArgs {
    /// Operations of at least TIME are slow: they are listed one by one, and searched for a period.
    #[arg(long, value_name = "TIME", value_parser = positive_duration, default_value = "1ms")]
    slow: Duration,
    /// What the first table has a row for.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "file")]
    by: By,
    /// Also count what other processes do to devices meanwhile.
    #[arg(long)]
    neighbours: bool,
    #[command(flatten)]
    stacks: StacksArgs,
}

/// What the first table has a row for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// A file.
    #[default]
    File,
    /// A thread.
    Thread,
    /// An operation.
    Operation,
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// From which length on operations are slow.
    pub(super) slow: Duration,
    /// What the first table has a row for.
    pub(super) by: By,
    /// Whether other processes are counted.
    pub(super) neighbours: bool,
    /// Whether stacks are taken.
    pub(super) stacks: bool,
}

/// Adds the options to a command.
pub(crate) fn options(command: clap::Command) -> clap::Command {
    DiskArgs::augment_args(command)
}

/// The tool as it was asked for.
///
/// # Errors
/// If the options are not those of [`options`].
pub(crate) fn make(matches: &ArgMatches, settings: &Settings) -> Made {
    let args = DiskArgs::from_arg_matches(matches)?;
    let options =
        Options { slow: args.slow, by: args.by, neighbours: args.neighbours, stacks: args.stacks.any() };
    Ok(Box::new(Disk::new(options, settings)))
}

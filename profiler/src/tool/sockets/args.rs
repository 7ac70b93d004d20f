//! The options of `sockets` on the command line.

use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches as _, ValueEnum};

use super::tool::Sockets;
use crate::{
    io_tools::StacksArgs, observe::settings::Settings, tool::Made, units::options::positive_duration,
};

/// The options that only this tool has.
#[derive(Debug, Args)]
struct SocketsArgs {
    /// Sends, connects and answers of at least TIME are slow: they are listed one by one. A receive that waits is not slow.
    #[arg(long, value_name = "TIME", value_parser = positive_duration, default_value = "10ms")]
    slow: Duration,
    /// Show the addresses of peers. Otherwise a hash stands for each, but for addresses of this machine, and private ones in the name of
    /// a service that the target calls.
    #[arg(long)]
    show_peers: bool,
    /// What the first table has a row for.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "service")]
    by: By,
    #[command(flatten)]
    stacks: StacksArgs,
}

/// What the first table has a row for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// A port or path that the target serves, or a service that it calls.
    #[default]
    Service,
    /// A peer.
    Peer,
    /// A connection.
    Connection,
    /// A thread.
    Thread,
    /// An operation.
    Operation,
    /// What waits in queues and was dropped, by service.
    Queue,
    /// Round trips, retransmissions and connects of TCP, by service.
    Tcp,
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// From which length on operations are slow.
    pub(super) slow: Duration,
    /// Addresses of peers are shown as they are.
    pub(super) show_peers: bool,
    /// What the first table has a row for.
    pub(super) by: By,
    /// Whether stacks are taken.
    pub(super) stacks: bool,
}

/// Adds the options to a command.
pub(crate) fn options(command: clap::Command) -> clap::Command {
    SocketsArgs::augment_args(command)
}

/// The tool as it was asked for.
///
/// # Errors
/// If the options are not those of [`options`].
pub(crate) fn make(matches: &ArgMatches, settings: &Settings) -> Made {
    let args = SocketsArgs::from_arg_matches(matches)?;
    let options =
        Options { slow: args.slow, show_peers: args.show_peers, by: args.by, stacks: args.stacks.any() };
    Ok(Box::new(Sockets::new(options, settings)))
}

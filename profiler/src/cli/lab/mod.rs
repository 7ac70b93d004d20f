//! The commands for tests and measurements. They are hidden, and only there with the feature `lab`.

mod args;
mod calls;
mod floor;
mod sockets;
mod tables;
mod walks;

use clap::Subcommand;
use profiler::exit::ExitCode;

use super::{Done, observe, output, stop};
use args::{CallsArgs, FloorArgs, SocketsArgs, TablesArgs, WalksArgs};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Attaches empty programs where `memleak` would probe, until interrupted.
    #[command(name = "__floor", hide = true)]
    Floor(FloorArgs),
    /// Counts system calls until interrupted, and prints what was counted as JSON.
    #[command(name = "__calls", hide = true)]
    Calls(CallsArgs),
    /// Looks at sockets until interrupted, and prints what was seen as JSON.
    #[command(name = "__sockets", hide = true)]
    Sockets(SocketsArgs),
    /// Makes unwind tables, and prints their sizes and how long it took as JSON.
    #[command(name = "__tables", hide = true)]
    Tables(TablesArgs),
    /// Walks the stack at an instruction, until interrupted, and prints what was counted as JSON.
    #[command(name = "__walks", hide = true)]
    Walks(WalksArgs),
}

/// Runs one of them.
pub(crate) fn run(command: &Command) -> Done {
    match command {
        Command::Floor(args) => floor::run(args),
        Command::Calls(args) => calls::run(args),
        Command::Sockets(args) => sockets::run(args),
        Command::Tables(args) => tables::run(args),
        Command::Walks(args) => walks::run(args),
    }
}

/// Prints a result as a line of JSON.
fn print_json(value: &impl serde::Serialize) -> Done {
    let mut line = serde_json::to_vec(value).map_err(|error| output::failed(error.into()))?;
    line.push(b'\n');
    output::print(&line)?;
    Ok(ExitCode::Ok)
}

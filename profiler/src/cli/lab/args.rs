//! The arguments.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use profiler::{
    lab::{empty_probes::Floor, witness::Work},
    tool::syscalls::probes::Stacks,
};

use crate::cli::args::MethodArg;

/// Empty programs where `memleak` would probe.
#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// Process to attach to.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: u32,
    /// Which probes.
    #[arg(long, value_enum, default_value = "exact")]
    pub(crate) what: FloorArg,
    /// The best way of attaching to use.
    #[arg(long, value_enum, default_value = "session")]
    pub(crate) method: MethodArg,
}

/// System calls to count.
#[derive(Debug, Args)]
pub(crate) struct CallsArgs {
    /// Processes whose calls are counted. Their numbers in the initial pid namespace.
    #[arg(long, value_name = "PID", required = true, num_args = 1.., value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Vec<u32>,
    /// Attach programs that do nothing instead.
    #[arg(long)]
    pub(crate) floor: bool,
    /// Slots by which threads are found at once.
    #[arg(long, value_name = "N", default_value = "32768")]
    pub(crate) slots: u32,
    /// Threads that have a record of their own.
    #[arg(long, value_name = "N", default_value = "4096")]
    pub(crate) threads: u32,
    /// Pairs of a thread and a call that are counted apart.
    #[arg(long, value_name = "N", default_value = "4096")]
    pub(crate) cells: u32,
    /// Follow processes that they fork.
    #[arg(long)]
    pub(crate) children: bool,
    /// List calls of at least this length.
    #[arg(long, value_name = "NS", default_value_t = u64::MAX)]
    pub(crate) slow: u64,
    /// Which calls have their stack taken.
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) stacks: StacksArg,
}

/// Which calls have their stack taken.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StacksArg {
    /// No calls.
    None,
    /// Calls that are listed.
    Slow,
    /// All calls.
    All,
}

impl From<StacksArg> for Stacks {
    fn from(argument: StacksArg) -> Stacks {
        match argument {
            StacksArg::None => Stacks::None,
            StacksArg::Slow => Stacks::Slow,
            StacksArg::All => Stacks::All,
        }
    }
}

/// Sockets to look at.
#[derive(Debug, Args)]
pub(crate) struct SocketsArgs {
    /// Processes whose sockets are looked at. Their numbers in the initial pid namespace.
    #[arg(long, value_name = "PID", required = true, num_args = 1.., value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Vec<u32>,
    /// Time between looks, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) every: u64,
    /// Most sockets at the same time.
    #[arg(long, value_name = "N", default_value = "16384", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) most: u32,
}

/// Files to make unwind tables of.
#[derive(Debug, Args)]
pub(crate) struct TablesArgs {
    /// Programs and shared libraries.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// How often; the median time counts.
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    pub(crate) runs: usize,
    /// Threads at work. Default: one per processor, up to 8.
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) threads: Option<usize>,
}

/// One instruction, and what is done there.
#[derive(Debug, Args)]
pub(crate) struct WalksArgs {
    /// Process to attach to.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: u32,
    /// File with the instruction.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Its offset in the file.
    #[arg(long, value_name = "BYTES")]
    pub(crate) offset: u64,
    /// What is done.
    #[arg(long, value_enum)]
    pub(crate) work: WorkArg,
}

/// What a timed probe does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum WorkArg {
    /// Counts.
    Nothing,
    /// Walks by unwind tables.
    Walk,
    /// Lets the kernel walk by frame pointers.
    Kernel,
}

impl From<WorkArg> for Work {
    fn from(argument: WorkArg) -> Work {
        match argument {
            WorkArg::Nothing => Work::Nothing,
            WorkArg::Walk => Work::Walk,
            WorkArg::Kernel => Work::Kernel,
        }
    }
}

/// Which probes the floor is made of.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FloorArg {
    /// Allocation entry and return, release entry.
    Exact,
    /// Allocation entry, release entry.
    Entry,
}

impl From<FloorArg> for Floor {
    fn from(argument: FloorArg) -> Floor {
        match argument {
            FloorArg::Exact => Floor::Exact,
            FloorArg::Entry => Floor::Entry,
        }
    }
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

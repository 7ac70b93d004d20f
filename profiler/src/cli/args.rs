//! The arguments, and nothing but the arguments: no file, process or environment is looked at here.

mod measure;

use std::{ffi::OsString, path::PathBuf, time::Duration};

pub(crate) use self::measure::{CallsArgs, FloorArgs, TablesArgs, WalksArgs};
use super::{gate::GateArgs, launch::LaunchArgs, values};
use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use profiler::{
    capture::uprobe::Method,
    exit,
    render::Format,
    tool::memleak::{
        custom::{self, Custom},
        plan::Placement,
    },
};

/// Widest help: the texts are written for it.
pub(super) const HELP_WIDTH: usize = 80;

/// Answers questions about a running Linux game server: no restart, no rebuild, nothing injected.
#[derive(Debug, Parser)]
#[command(name = "profiler", version, arg_required_else_help = false, subcommand_required = true)]
#[command(after_help = format!("{}\n\n\
    Observing needs root. `profiler report` does not; `profiler doctor` says what\n\
    it cannot find out without.", exit::table()))]
pub(crate) struct Cli {
    /// Show more: intervals, all stacks, each probe with the reason for its place, each test of doctor. Twice: also
    /// diagnostics, for bug reports.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print nothing but errors to standard error.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Which call stacks allocate memory that is never freed?
    Memleak(Box<MemleakArgs>),
    /// Can this machine and a process be observed? What is missing, and how to fix it.
    Doctor(DoctorArgs),
    /// Show a recorded report (JSON) again. Needs no privileges; works on any machine.
    Report(ReportArgs),
    /// For measurements: empty programs where `memleak` would probe, until interrupted.
    #[command(name = "__floor", hide = true)]
    Floor(FloorArgs),
    /// For measurements: counts system calls until interrupted, and prints what was counted as JSON.
    #[command(name = "__calls", hide = true)]
    Calls(CallsArgs),
    /// For measurements: makes unwind tables, and prints their sizes and how long it took as JSON.
    #[command(name = "__tables", hide = true)]
    Tables(TablesArgs),
    /// For measurements: walks the stack at an instruction, until interrupted, and prints what was counted as JSON.
    #[command(name = "__walks", hide = true)]
    Walks(WalksArgs),
}

/// Which processes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// Process to observe. May be repeated; also takes several, as `pidof` prints them.
    #[arg(short, long, value_name = "PID", num_args = 1.., value_parser = values::pids, allow_negative_numbers = true)]
    pub(crate) pid: Vec<values::Pids>,
    /// Observe every process of this name; * and ? are wildcards. A script has the name of its file, such as server.py.
    #[arg(short, long, value_name = "GLOB", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// Observe every process of this cgroup (a directory below /sys/fs/cgroup).
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Start this command and observe it from its first allocation. Its output goes to standard error.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Where names come from.
#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// Look for debug files here first, by build id and by name. May be repeated.
    #[arg(long, value_name = "DIR")]
    pub(crate) debug_dir: Vec<PathBuf>,
    /// Fetch debug files that are not here from the servers in DEBUGINFOD_URLS, else in /etc/debuginfod/*.urls, by build
    /// id.
    #[arg(long)]
    pub(crate) debuginfod: bool,
}

/// Where results go, and in which form.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Also write the report to this file; the extension decides: .json, .jsonl, .csv, .svg, .folded, .txt. May be repeated.
    #[arg(short, long = "output", value_name = "FILE")]
    pub(crate) outputs: Vec<OsString>,
    /// Format of standard output.
    #[arg(long, value_name = "FORMAT", default_value = "human", value_parser = values::format)]
    pub(crate) format: Format,
    /// Rows to show per table.
    #[arg(long, value_name = "N", default_value = "20", value_parser = values::rows, allow_negative_numbers = true)]
    pub(crate) top: usize,
    /// No colours. The variable NO_COLOR does the same.
    #[arg(long)]
    pub(crate) no_color: bool,
}

/// Which call stacks allocate memory that is never freed?
#[derive(Debug, Args)]
#[command(
    override_usage = "profiler memleak [OPTIONS] --pid <PID>\n       \
    profiler memleak [OPTIONS] --name <GLOB>\n       \
    profiler memleak [OPTIONS] --cgroup <PATH>\n       \
    profiler memleak [OPTIONS] -- <COMMAND>...",
    after_help = "Example: sudo profiler memleak --pid 4242 --older 30m\n\n\
    profiler follows every allocation and release from now on. Once blocks are\n\
    older than --older, it tells stacks that leak from caches, long-lived state\n\
    and churn. Ctrl-C prints the report so far."
)]
pub(crate) struct MemleakArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) launch: LaunchArgs,
    /// Age from which a block is suspicious: one that healthy allocations never reach.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = values::age)]
    pub(crate) older: Duration,
    /// How long to observe. Default: until the target ends or Ctrl-C. Verdicts need at least 1.25 times --older.
    #[arg(long = "for", value_name = "TIME", value_parser = values::positive_duration)]
    pub(crate) length: Option<Duration>,
    /// Show an interim report at this interval; on a terminal the view is redrawn.
    #[arg(long, value_name = "TIME", value_parser = values::interval)]
    pub(crate) every: Option<Duration>,
    /// Leave out stacks that hold less than SIZE, unless they leak.
    #[arg(long, value_name = "SIZE", default_value = "0B", value_parser = values::bytes)]
    pub(crate) min_bytes: u64,
    /// Sample one allocation per SIZE bytes instead of following all: cheaper, and every figure is an estimate.
    #[arg(long, value_name = "SIZE", value_parser = values::positive_bytes)]
    pub(crate) sample_bytes: Option<u64>,
    /// Follow this allocation function too, e.g. 'pool_get:size=arg1,ptr=ret'. May be repeated.
    #[arg(long, value_name = "SPEC", value_parser = custom::parse_alloc)]
    pub(crate) alloc_fn: Vec<Custom>,
    /// Follow this release function too, e.g. 'pool_put:ptr=arg0'. May be repeated.
    #[arg(long, value_name = "SPEC", value_parser = custom::parse_free)]
    pub(crate) free_fn: Vec<Custom>,
    /// Most that the probes may take of the time in which a thread can run ("of all its time"): refused beforehand,
    /// and stopped after ten seconds above it (exit code 5). "off" observes whatever it costs.
    #[arg(long, value_name = "PERCENT|off", default_value = "30%", value_parser = values::max_cost)]
    pub(crate) max_cost: values::MaxCost,
    /// Live blocks to make room for. Default: by the memory that the target uses.
    #[arg(long, value_name = "N", value_parser = values::blocks, allow_negative_numbers = true)]
    pub(crate) max_blocks: Option<u32>,
    /// Most different call stacks to record.
    #[arg(long, value_name = "N", default_value = "16384", value_parser = values::stacks, allow_negative_numbers = true)]
    pub(crate) max_stacks: u32,
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// For measurements: where in a function to probe.
    #[arg(long, value_enum, default_value = "cheapest", hide = true)]
    pub(crate) placement: PlacementArg,
    /// For measurements: the best way of attaching to use.
    #[arg(long, value_enum, default_value = "session", hide = true)]
    pub(crate) method: MethodArg,
}

/// Where in a function to probe.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PlacementArg {
    /// The first instruction that the kernel emulates.
    Cheapest,
    /// The first instruction.
    First,
}

impl From<PlacementArg> for Placement {
    fn from(argument: PlacementArg) -> Placement {
        match argument {
            PlacementArg::Cheapest => Placement::Cheapest,
            PlacementArg::First => Placement::FirstInstruction,
        }
    }
}

/// How to attach.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MethodArg {
    /// Sessions, where the kernel has them.
    Session,
    /// Multi links.
    Multi,
    /// Perf events.
    Perf,
}

impl From<MethodArg> for Method {
    fn from(argument: MethodArg) -> Method {
        match argument {
            MethodArg::Session => Method::Session,
            MethodArg::Multi => Method::Multi,
            MethodArg::Perf => Method::Perf,
        }
    }
}

/// Can this machine, and a process, be observed?
#[derive(Debug, Args)]
#[command(after_help = "Example: sudo profiler doctor --pid 4242\n\n\
    Each test runs on profiler itself or on a process that it starts. To estimate\n\
    the cost, probes that only count are put into the process for less than a\n\
    second; with --no-count nothing is attached to it.\n\
    Exit code 0 if something can be observed, 5 if it would be refused because of\n\
    what it costs or does to the process, else 4.")]
pub(crate) struct DoctorArgs {
    /// Process to check.
    #[arg(short, long, value_name = "PID", value_parser = values::one_pid)]
    pub(crate) pid: Option<u32>,
    /// Do not count the process's calls: nothing is attached to it, and the cost is not estimated.
    #[arg(long)]
    pub(crate) no_count: bool,
    /// Format of the result.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: DoctorFormat,
    /// No colours. The variable NO_COLOR does the same.
    #[arg(long)]
    pub(crate) no_color: bool,
}

/// Form of a diagnosis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorFormat {
    /// Text for people.
    Human,
    /// All of it, for programs.
    Json,
}

/// Show a recorded report again.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The report, as written by -o FILE.json; - reads standard input.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) select: super::select::SelectArgs,
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) gate: GateArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}

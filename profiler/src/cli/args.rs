//! The arguments. Nothing here looks at files, processes or the environment.

use std::{ffi::OsString, path::PathBuf};

use super::{
    gate::{GateArgs, LeakArgs},
    values,
};
use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use profiler::{capture::uprobe::Method, exit, render::Format};

/// Widest help: its texts are written for this width.
pub(super) const HELP_WIDTH: usize = 80;

/// Answers questions about a running Linux game server: no restart, no rebuild, nothing injected.
#[derive(Debug, Parser)]
#[command(name = "profiler", version, arg_required_else_help = false, subcommand_required = true)]
#[command(after_help = format!("{}\n\n\
    Observing needs root. `profiler report` does not; `profiler doctor` says what\n\
    it cannot find out without.", exit::table()))]
pub(crate) struct Cli {
    /// How much to print.
    #[command(flatten)]
    pub(crate) voice: Voice,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How much to print.
#[derive(Debug, Args)]
pub(crate) struct Voice {
    /// Show more: intervals, all stacks, each probe with the reason for its place, each test of doctor. Twice: also
    /// diagnostics, for bug reports.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print nothing but errors to standard error.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// The commands that are not tools.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Can this machine and a process be observed? What is missing, and how to fix it.
    Doctor(DoctorArgs),
    /// Show a recorded report (JSON) again. Needs no privileges; works on any machine.
    Report(Box<ReportArgs>),
    /// For tests and measurements.
    #[cfg(feature = "lab")]
    #[command(flatten)]
    Lab(super::lab::Command),
}

/// Which processes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// Process to observe. May be repeated; also takes several, as `pidof` prints them.
    #[arg(short, long, value_name = "PID", num_args = 1.., value_parser = values::pids, allow_negative_numbers = true)]
    pub(crate) pid: Vec<values::Pids>,
    /// Observe every process of this name, also those that begin later; * and ? are wildcards. A script has the name of its file, such
    /// as server.py. One must be there at the start; with --for or --every the observation then goes on while there is none.
    #[arg(short, long, value_name = "GLOB", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// Observe every process of this cgroup (a directory below /sys/fs/cgroup), also those that come into it later, as of --name.
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Start this command and observe it from its beginning. Its output goes to standard error.
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
    #[arg(long, value_name = "FORMAT", default_value = "human", value_parser = values::format())]
    pub(crate) format: Format,
    /// Rows to show per table of the text; the other formats have all.
    #[arg(long, value_name = "N", default_value = "20", value_parser = values::rows, allow_negative_numbers = true)]
    pub(crate) top: usize,
    /// No colours. The variable NO_COLOR does the same.
    #[arg(long)]
    pub(crate) no_color: bool,
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
    Exit code 0 if a tool can observe it, 5 if every tool refuses it because of\n\
    what that costs or does to the process, else 4.")]
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
    #[command(flatten)]
    pub(crate) leaks: LeakArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}

//! `profiler report FILE`: a recorded report again, in any form.

use profiler::report;

use super::{
    Done,
    args::{Cli, ReportArgs},
    output::Outputs,
};

/// Reads a report and writes it as asked.
pub(crate) fn run(args: &ReportArgs, cli: &Cli) -> Done {
    let report = report::open(&args.file)?;
    Outputs::new(&args.output, cli.verbose > 0)?.write(&report)
}

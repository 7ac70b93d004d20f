//! `profiler report FILE`: a recorded report again, in any form.

use profiler::{
    report::{self, Selection},
    symbolize,
};

use super::{
    Done,
    args::{Cli, ReportArgs},
    gate,
    output::Outputs,
};

/// Reads a report and writes it as asked.
pub(crate) fn run(args: &ReportArgs, cli: &Cli) -> Done {
    let names = args.names.settings()?;
    let mut report = report::open(&args.file)?;
    if names.asks_for_more() {
        symbolize::resolve_later(&mut report, names);
    }
    let outputs = Outputs::new(&args.output, cli.verbose > 0)?;
    let gate = args.gate.gate()?;
    let code = gate::decide(gate.as_ref(), &mut report);
    report.select(&Selection::from(&args.select))?;
    outputs.write(&report).map(|()| code)
}

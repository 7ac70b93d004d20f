//! `profiler report FILE`: shows a recorded report in any form.

use profiler::{
    report::{Selection, Source},
    stage::Stage,
    symbolize,
};

use super::{
    Done,
    args::{ReportArgs, Voice},
    gate,
    output::Outputs,
    waiting::Watch,
};

/// Reads a report and writes it as asked.
pub(crate) fn run(args: &ReportArgs, voice: &Voice) -> Done {
    let names = args.names.settings()?;
    let source = Source::open(&args.file)?;
    let kept = [(source.id(), "it is the report that is read"), args.leaks.kept()];
    let outputs = Outputs::new(&args.output, voice.verbose > 0, &kept)?;
    let mut report = source.read()?;
    if names.asks_for_more() {
        let stage = Stage::default();
        stage.begin(if names.servers.is_some() {
            "waiting for the debuginfod servers"
        } else {
            "looking up names"
        });
        let _watch = Watch::start(stage.clone(), None, voice.quiet);
        symbolize::resolve_later(&mut report, names);
    }
    let gate = args.gate.gate(&args.leaks)?;
    if gate.is_none() {
        profiler::gate::mark_as_recorded(&mut report);
    }
    let code = gate::decide(gate.as_ref(), &mut report);
    report.select(&Selection::from(&args.select))?;
    outputs.write(&report).map(|()| code)
}

//! From judged stacks to the report: sentences, table, coverage.

use profiler_common::ledger::{Class, Counter, Probe};

use super::{
    analyze::{Judged, analyze},
    collect::{Moment, Snapshot},
    columns::{COLUMNS, cells},
    coverage,
    session::Session,
    totals,
    verdict::Verdict,
};
use crate::{
    error::Result,
    report::{
        Coverage, Ended, Finding, Frames, Meta, Outcome, OutcomeClass, Ledger, Phrase, Report, Row, SCHEMA, Section, Severity,
        Stack, Target,
    },
    text::Text,
    units,
};

/// Builds the report.
pub(super) fn report(session: &mut Session<'_>, snapshot: &Snapshot, moment: &Moment, ended: Ended) -> Result<Report> {
    let judged = analyze(&snapshot.rows, &moment.window());
    let min_bytes = session.options.min_bytes;
    let held = |j: &&Judged<'_>| j.judgement.verdict == Verdict::Leak || j.row.live_bytes >= min_bytes;
    let shown: Vec<&Judged<'_>> = judged.iter().filter(held).collect();
    let numbers = shown.iter().map(|j| j.row.stack);
    session.stacks.resolve(numbers, &session.modules, &session.worker);
    let mut frames = Frames::default();
    let mut stacks = Vec::new();
    let mut placed: Vec<Option<usize>> = Vec::new();
    for judged in &shown {
        placed.push(stack_of(session, judged.row.stack, &mut frames).map(|stack| {
            stacks.push(stack);
            stacks.len() - 1
        }));
    }
    let frames = frames.into_vec();
    let coverage = coverage::coverage(session, snapshot, &stacks, &frames);
    let mut rows = Vec::new();
    for (judged, stack) in shown.iter().zip(&placed) {
        let function = own_function(stack.and_then(|s| stacks.get(s)), &frames);
        let verdict = if coverage.complete { judged.judgement.verdict } else { withheld(judged.judgement.verdict) };
        let severity = (verdict == Verdict::Leak).then_some(Severity::Problem);
        rows.push(Row { cells: cells(judged, verdict, function, moment), stack: *stack, severity });
    }
    let findings = sentences(session, &shown, &rows, &coverage, moment);
    Ok(Report {
        schema: SCHEMA,
        meta: meta(session, snapshot, moment, ended)?,
        findings,
        sections: vec![Section {
            name: "stacks".to_owned(),
            title: "Call stacks".to_owned(),
            columns: COLUMNS.iter().map(|c| c.column(moment.older())).collect(),
            rows,
            notes: Vec::new(),
        }],
        stacks,
        frames,
        coverage,
    })
}

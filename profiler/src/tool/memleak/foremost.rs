//! What is said besides the answer, in the order of what matters: before it what died, what was not in sight and what grew
//! out of sight; behind it what may be worth a look.

use std::time::Duration;

use profiler_common::ledger::Counter;

use super::{
    collect::Moment,
    gone, harm, memory, rules,
    session::Session,
    sight::{Sight, sight},
};
use crate::{
    error::Result,
    report::{Ended, Finding, Report, Severity},
    units,
};

/// Completes a report. `seen`: whether any block was recorded.
pub(super) fn complete(
    report: &mut Report,
    session: &Session<'_>,
    moment: &Moment,
    counters: &[u64; Counter::COUNT],
    seen: bool,
) -> Result<()> {
    let length = report.meta.length();
    let grown = memory::grown(session, moment)?;
    let Sight { instead, before, before_no_leak, behind } = sight(session, counters, seen, length);
    let nothing = report.findings.iter_mut().find(|finding| finding.rule == rules::NOTHING_SEEN);
    if let (Some(instead), Some(nothing)) = (instead, nothing) {
        *nothing = instead;
    }
    if let Some(clean) = report.findings.iter_mut().find(|finding| finding.rule == rules::CLEAN)
        && let Some(growth) = memory::live_growth(&grown, length)
    {
        *clean = growth;
    }
    let leaks = report.findings.iter().any(|finding| finding.rule == rules::LEAK);
    let (before_no_leak, limits) =
        if leaks { (Vec::new(), before_no_leak) } else { (before_no_leak, Vec::new()) };
    let guard = (report.meta.ended == Ended::StoppedByGuard).then(|| stopped_by_guard(length));
    let first: Vec<Finding> = harm::findings(session)
        .chain(guard)
        .chain(before)
        .chain(memory::finding(&grown, length))
        .chain(before_no_leak)
        .collect();
    report.findings.splice(0..0, first);
    report.findings.extend(limits.into_iter().chain(gone::findings(session)).chain(behind));
    if !grown.is_empty() {
        report.sections.push(memory::section(&grown));
    }
    Ok(())
}

fn stopped_by_guard(length: Duration) -> Finding {
    let words = format!(
        "Stopped by the safety guard after {}: a thread of the target lost more time to the probes than --max-cost \
         allows. What follows is what was seen until then.",
        units::duration(length)
    );
    Finding::plain(rules::GUARD, Severity::Limit, words)
}

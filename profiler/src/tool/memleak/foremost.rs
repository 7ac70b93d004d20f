//! What is said besides the answer, in the order of what matters: before it what died, what was not in sight and what grew
//! out of sight; behind it what may be worth a look.

use super::{
    collect::Moment,
    harm, memory, rules,
    session::Session,
    sight::{Sight, sight},
};
use crate::{
    error::Result,
    report::{Finding, Report},
};

/// Completes a report. `seen`: whether any allocation was.
pub(super) fn complete(
    report: &mut Report,
    session: &Session<'_>,
    moment: &Moment,
    seen: bool,
) -> Result<()> {
    let length = report.meta.length();
    let grown = memory::grown(session, moment)?;
    let Sight { instead, before, behind } = sight(session, seen, length);
    let nothing = report.findings.iter_mut().find(|finding| finding.rule == rules::NOTHING_SEEN);
    if let (Some(instead), Some(nothing)) = (instead, nothing) {
        *nothing = instead;
    }
    let first: Vec<Finding> =
        harm::findings(session).chain(before).chain(memory::finding(&grown, length)).collect();
    report.findings.splice(0..0, first);
    report.findings.extend(behind);
    if !grown.is_empty() {
        report.sections.push(memory::section(&grown));
    }
    Ok(())
}

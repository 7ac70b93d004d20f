//! What is said besides the answer, in the order of what matters: before it what died, what was not in sight and what grew
//! out of sight; behind it what may be worth a look.

use super::{
    harm,
    memory::{self, Grown},
    rules,
    session::Session,
    sight::{Sight, sight},
};
use crate::report::Finding;

/// Completes the findings. `seen`: whether any allocation was.
pub(super) fn complete(findings: &mut Vec<Finding>, session: &Session<'_>, grown: &[Grown], seen: bool) {
    let length = session.length.unwrap_or_else(|| session.began.elapsed());
    let Sight { instead, before, behind } = sight(session, seen, length);
    let nothing = findings.iter_mut().find(|finding| finding.rule == rules::NOTHING_SEEN);
    if let (Some(instead), Some(nothing)) = (instead, nothing) {
        *nothing = instead;
    }
    let first: Vec<Finding> =
        harm::findings(session).chain(before).chain(memory::finding(grown, length)).collect();
    findings.splice(0..0, first);
    findings.extend(behind);
}

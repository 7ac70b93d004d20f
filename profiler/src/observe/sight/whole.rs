//! Findings about targets of tools that see every call from the first moment on: targets that do nothing, are stopped, have children that
//! do the work, or have ended.

use std::{collections::BTreeSet, time::Duration};

use super::{Sight, Terms, View, gone, sight};
use crate::{
    error::{Error, ErrorKind},
    observe::Observation,
    report::{Finding, Severity},
    target::family::Families,
};

/// Adds these findings. `families`: what targets and their children had used when the observation began; `active`: the address spaces in
/// which something was seen.
pub(crate) fn complete(
    findings: &mut Vec<Finding>,
    on: &Observation<'_>,
    families: &Families,
    active: &BTreeSet<u16>,
    terms: &Terms,
) {
    let of_active = on.spaces.iter().filter(|space| active.contains(&space.number));
    let active: BTreeSet<u32> = of_active.map(|space| space.process.pid()).collect();
    let length = on.lasted();
    let view = View {
        on,
        terms,
        families,
        active: &active,
        proved: false,
        // Such a tool has no age to wait for; the length of the observation takes its place.
        older: length,
        length,
        lasted: &|space| on.lasted_of(space),
        sees: &|_| true,
        why_unseen: &|_| Error::new(ErrorKind::Kernel, "tried to observe system calls"),
    };
    // No target was observed for too short a time to mention its end.
    let gone = gone::findings(View { older: Duration::ZERO, ..view });
    place(findings, terms.nothing_seen, sight(&view, || None), gone);
}

/// What limits the answer comes first. Calls were counted even if something else was meant, so the rest comes last.
fn place(findings: &mut Vec<Finding>, nothing_seen: &str, sight: Sight, gone: Vec<Finding>) {
    let Sight { instead, before, before_unproved, behind } = sight;
    let nothing = findings.iter_mut().find(|finding| finding.rule == nothing_seen);
    if let (Some(instead), Some(nothing)) = (instead, nothing) {
        *nothing = instead;
    }
    let (crashed, gone): (Vec<Finding>, Vec<Finding>) =
        gone.into_iter().partition(|finding| finding.severity == Severity::Limit);
    findings.splice(0..0, crashed.into_iter().chain(before));
    let remarks = before_unproved.into_iter().chain(behind).chain(gone);
    findings.extend(remarks.map(|finding| Finding { severity: Severity::Info, ..finding }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING_SEEN: &str = "sample.nothing_seen";
    const CHILDREN: &str = "sample.children";
    const HALTED: &str = "sample.halted";
    const TIME: &str = "sample.time";

    #[test]
    fn children_that_work_come_before_the_answer_or_replace_nothing_seen() {
        let finding = |rule, severity| Finding::plain(rule, severity, "words");
        let children = || finding(CHILDREN, Severity::Limit);
        let mut nothing = vec![finding(NOTHING_SEEN, Severity::Info)];
        place(
            &mut nothing,
            NOTHING_SEEN,
            Sight { instead: Some(children()), ..Sight::default() },
            Vec::new(),
        );
        assert_eq!(nothing.iter().map(|finding| finding.rule.as_ref()).collect::<Vec<_>>(), [CHILDREN]);
        let mut answer = vec![finding(TIME, Severity::Info)];
        let sight = Sight {
            before: vec![children()],
            before_unproved: vec![finding(HALTED, Severity::Limit)],
            ..Sight::default()
        };
        place(&mut answer, NOTHING_SEEN, sight, Vec::new());
        let order: Vec<_> = answer.iter().map(|finding| (finding.rule.as_ref(), finding.severity)).collect();
        let info = Severity::Info;
        assert_eq!(order, [(CHILDREN, Severity::Limit), (TIME, info), (HALTED, info)]);
    }
}

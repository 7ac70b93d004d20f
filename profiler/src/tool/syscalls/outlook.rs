//! Findings about targets rather than calls: those that make no calls, are stopped, have children that do the work, or have ended.

use std::{collections::BTreeSet, time::Duration};

use super::{rows::Rows, rules};
use crate::{
    error::{Error, ErrorKind},
    observe::{
        Observation,
        sight::{self, Sight, Terms, View, sight},
    },
    report::{Finding, Severity},
    target::family::Families,
};

const TERMS: Terms = Terms {
    nothing: "No system call returned",
    does: "calls",
    did: "called",
    calls: "nothing in the kernel.",
    aged: "it made no calls meanwhile",
    nothing_seen: rules::NOTHING_SEEN,
    halted: rules::HALTED,
    children: rules::CHILDREN,
    unobserved: rules::UNOBSERVED,
    ended: rules::ENDED,
};

/// The address spaces in which a call returned.
pub(super) fn calling(rows: &Rows) -> BTreeSet<u16> {
    rows.by.iter().filter(|(_, sum)| sum.calls() > 0).map(|((who, _), _)| who.space).collect()
}

/// Adds these findings. `families`: what targets and their children had used when the observation began.
pub(super) fn complete(
    findings: &mut Vec<Finding>,
    on: &Observation<'_>,
    families: &Families,
    calling: &BTreeSet<u16>,
) {
    let of_calling = on.spaces.iter().filter(|space| calling.contains(&space.number));
    let active: BTreeSet<u32> = of_calling.map(|space| space.process.pid()).collect();
    let length = on.lasted();
    let view = View {
        on,
        terms: &TERMS,
        families,
        active: &active,
        proved: false,
        // This tool has no age to wait for; the length of the observation takes its place.
        older: length,
        length,
        lasted: &|space| on.lasted_of(space),
        sees: &|_| true,
        why_unseen: &|_| Error::new(ErrorKind::Kernel, "tried to observe system calls"),
    };
    // Calls are counted from the first moment on, so no target was observed for too short a time to mention its end.
    let gone = sight::gone::findings(View { older: Duration::ZERO, ..view });
    place(findings, sight(&view, || None), gone);
}

/// What limits the answer comes first. Calls were counted even if something else was meant, so the rest comes last.
fn place(findings: &mut Vec<Finding>, sight: Sight, gone: Vec<Finding>) {
    let Sight { instead, before, before_unproved, behind } = sight;
    let nothing = findings.iter_mut().find(|finding| finding.rule == rules::NOTHING_SEEN);
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

    #[test]
    fn children_that_work_come_before_the_answer_or_replace_nothing_seen() {
        let finding = |rule, severity| Finding::plain(rule, severity, "words");
        let children = || finding(rules::CHILDREN, Severity::Limit);
        let mut nothing = vec![finding(rules::NOTHING_SEEN, Severity::Info)];
        place(&mut nothing, Sight { instead: Some(children()), ..Sight::default() }, Vec::new());
        assert_eq!(
            nothing.iter().map(|finding| finding.rule.as_ref()).collect::<Vec<_>>(),
            [rules::CHILDREN]
        );
        let mut answer = vec![finding(rules::TIME, Severity::Info)];
        let sight = Sight {
            before: vec![children()],
            before_unproved: vec![finding(rules::HALTED, Severity::Limit)],
            ..Sight::default()
        };
        place(&mut answer, sight, Vec::new());
        let order: Vec<_> = answer.iter().map(|finding| (finding.rule.as_ref(), finding.severity)).collect();
        let info = Severity::Info;
        assert_eq!(order, [(rules::CHILDREN, Severity::Limit), (rules::TIME, info), (rules::HALTED, info)]);
    }
}

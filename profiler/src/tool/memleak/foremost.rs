//! Findings besides the answer, in the order of their importance: before it, targets that died, what was not seen, and growth
//! that bypasses allocators; after it, what may be worth a look.

use std::collections::BTreeSet;

use profiler_common::memleak::counters::Counter;

use super::{
    gone,
    grown::{grown, live_growth},
    rules,
    session::Session,
    unrecorded,
};
use crate::{
    error::Result,
    observe::{
        Part, memory,
        sight::{self, Sight, Terms, View, sight},
    },
    report::{Finding, Severity},
    tool::Tool as _,
};

/// The vocabulary of this tool where nothing was seen.
const TERMS: Terms = Terms {
    nothing: "No allocation was seen",
    does: "allocates",
    did: "allocated",
    calls: "none of the functions that are followed. Observe for longer, or name the functions of a pool: --alloc-fn, \
            --free-fn.",
    aged: "its blocks aged meanwhile",
    nothing_seen: rules::NOTHING_SEEN,
    halted: rules::HALTED,
    children: rules::CHILDREN,
    unobserved: rules::UNOBSERVED,
    ended: rules::ENDED,
};

/// Completes a part of a report. `seen`: the processes of which blocks were recorded.
pub(super) fn complete(
    part: &mut Part,
    session: Session<'_>,
    counters: &[u64; Counter::COUNT],
    seen: &BTreeSet<u32>,
) -> Result<()> {
    let length = session.on.lasted();
    let grown = grown(session)?;
    let leaks = part.findings.iter().any(|finding| finding.rule == rules::LEAK);
    let Session { tool, on } = session;
    let view = View {
        on,
        terms: &TERMS,
        families: &tool.memory.families,
        active: seen,
        proved: leaks,
        older: tool.options.older,
        length,
        lasted: &|space| session.lasted(space),
        sees: &|space| tool.sees(space),
        why_unseen: &|space| tool.nothing_to_probe(space),
    };
    let unrecorded = || {
        let while_attached = session.counts_while_all_attached(counters);
        unrecorded::finding(counters, &while_attached, tool.options.sample_bytes, length)
    };
    let Sight { instead, before, before_unproved, behind } = sight(&view, unrecorded);
    let nothing = part.findings.iter_mut().find(|finding| finding.rule == rules::NOTHING_SEEN);
    if let (Some(instead), Some(nothing)) = (instead, nothing) {
        *nothing = instead;
    }
    if let Some(clean) = part.findings.iter_mut().find(|finding| finding.rule == rules::CLEAN)
        && let Some(growth) = live_growth(&grown, length)
    {
        *clean = growth;
    }
    // A target that did not run was not observed: it is not known to be free of leaks.
    if before.iter().any(|finding| finding.rule == rules::HALTED) {
        part.findings.retain(|finding| finding.rule != rules::CLEAN);
    }
    let (before_unproved, limits) =
        if leaks { (Vec::new(), before_unproved) } else { (before_unproved, Vec::new()) };
    let (crashed, gone): (Vec<Finding>, Vec<Finding>) =
        sight::gone::findings(view).into_iter().partition(|finding| finding.severity == Severity::Limit);
    let limiting: Vec<Finding> = crashed
        .into_iter()
        .chain(before)
        .chain(memory::finding(&grown, length, rules::UNEXPLAINED_GROWTH))
        .chain(before_unproved)
        .collect();
    place(&mut part.findings, limiting, sight::gone::killed(on, rules::KILLED));
    part.findings.extend(limits.into_iter().chain(gone).chain(gone::freed(session)).chain(behind));
    if !grown.is_empty() {
        part.sections.push(memory::section(&grown));
    }
    Ok(())
}

/// Deaths come first of all. Limits come before the answer, but after a leak, which is proved whatever was not seen.
fn place(findings: &mut Vec<Finding>, limiting: Vec<Finding>, harm: impl Iterator<Item = Finding>) {
    let leak = findings.iter().position(|finding| finding.rule == rules::LEAK);
    let before_answer = leak.map_or(0, |leak| leak + 1);
    findings.splice(before_answer..before_answer, limiting);
    findings.splice(0..0, harm);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_comes_before_what_limits_other_answers_and_behind_what_died() {
        let finding = |rule, severity| Finding::plain(rule, severity, "words");
        let order = |answer, harm: bool| {
            let mut findings =
                vec![finding(answer, Severity::Problem), finding(rules::FILLING, Severity::Info)];
            let limiting =
                [rules::HALTED, rules::UNEXPLAINED_GROWTH].map(|rule| finding(rule, Severity::Limit));
            let harm = harm.then(|| finding(rules::KILLED, Severity::Problem));
            place(&mut findings, limiting.into(), harm.into_iter());
            findings.into_iter().map(|finding| finding.rule).collect::<Vec<_>>()
        };
        let [halted, grown, filling] = [rules::HALTED, rules::UNEXPLAINED_GROWTH, rules::FILLING];
        assert_eq!(order(rules::LEAK, false), [rules::LEAK, halted, grown, filling]);
        assert_eq!(order(rules::LEAK, true), [rules::KILLED, rules::LEAK, halted, grown, filling]);
        assert_eq!(order(rules::CLEAN, false), [halted, grown, rules::CLEAN, filling]);
    }
}

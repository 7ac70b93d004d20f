//! Findings about an observation as a whole, for every tool: what stopped it, which processes were not observed, and notes on
//! targets.

use std::time::Duration;

use profiler_common::space::Missed;

use super::rules;
use crate::{
    report::{Ended, Finding, Severity, Target},
    units,
};

/// Facts about an observation as a whole.
pub(super) struct Facts<'a> {
    pub(super) ended: Ended,
    pub(super) length: Duration,
    pub(super) targets: &'a [Target],
    /// Remarks on processes that are not targets.
    pub(super) others: Vec<String>,
    /// Losses of the observation itself.
    pub(super) losses: &'a [String],
}

/// Losses because processes were not observed, each with advice. `no_room`: processes with the name or in the cgroup for which
/// there was no room.
pub(super) fn losses(missed: Missed, no_room: u64) -> Vec<String> {
    let Missed { forks, execs, no_memory } = missed;
    let processes = forks + no_room;
    let mut losses = Vec::new();
    if processes + execs > 0 {
        let processes = units::plural(processes as usize, "process", "processes");
        let programs = units::plural(execs as usize, "program", "programs");
        losses.push(format!(
            "{processes} that began and {programs} that processes became by exec were not observed, because there was no room left: \
             observe for a shorter time"
        ));
    }
    if no_memory > 0 {
        let processes = units::plural(no_memory as usize, "process", "processes");
        losses
            .push(format!("{processes} could not be observed because the kernel had no memory: free memory"));
    }
    losses
}

/// Adds these findings: those that limit the answer after the problems, remarks at the end.
pub(super) fn add(findings: &mut Vec<Finding>, facts: &Facts<'_>) {
    let proved = findings.iter().take_while(|finding| finding.severity == Severity::Problem).count();
    let mut limits = Vec::new();
    if facts.ended == Ended::StoppedByGuard {
        let words = format!(
            "Stopped by the safety guard after {}: a thread of the target lost more time to the probes than --max-cost \
             allows. What follows is what was seen until then.",
            units::duration(facts.length)
        );
        limits.push(Finding::plain(rules::GUARD, Severity::Limit, words));
    }
    limits.extend(facts.losses.iter().map(|loss| {
        Finding::plain(rules::INCOMPLETE, Severity::Limit, format!("The data are incomplete: {loss}."))
    }));
    findings.splice(proved..proved, limits);
    let remarks = of_targets(facts.targets).into_iter().chain(facts.others.iter().cloned());
    findings.extend(
        remarks.map(|remark| Finding::plain(rules::NOTE, Severity::Limit, format!("Note: {remark}."))),
    );
}

/// The notes on targets, each once, with the processes that it is about if there are several targets.
fn of_targets(targets: &[Target]) -> Vec<String> {
    let mut notes: Vec<(&str, Vec<u32>)> = Vec::new();
    for (note, pid) in targets.iter().flat_map(|target| target.notes.iter().map(|note| (note, target.pid))) {
        match notes.iter_mut().find(|(known, _)| known == note) {
            Some((_, pids)) if pids.last() == Some(&pid) => {}
            Some((_, pids)) => pids.push(pid),
            None => notes.push((note, vec![pid])),
        }
    }
    let said = |(note, pids): (&str, Vec<u32>)| match pids.as_slice() {
        _ if targets.len() == 1 => note.to_owned(),
        [pid] => format!("process {pid}: {note}"),
        [first, ..] => format!("{} processes ({first} the first): {note}", pids.len()),
        [] => note.to_owned(),
    };
    notes.into_iter().map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn target(pid: u32, notes: &[&str]) -> Target {
        let notes = notes.iter().map(|note| (*note).to_owned()).collect();
        Target { pid, notes, ..sample::pong().meta.targets.remove(0) }
    }

    #[test]
    fn each_note_appears_once() {
        assert_eq!(of_targets(&[target(7, &["it is late"])]), ["it is late"]);
        let many = [target(7, &["first"]), target(8, &["it is late"]), target(9, &["it is late", "last"])];
        assert_eq!(
            of_targets(&many),
            ["process 7: first", "2 processes (8 the first): it is late", "process 9: last"]
        );
        let execed = [target(7, &["it is late"]), target(7, &["it is late"])];
        assert_eq!(of_targets(&execed), ["process 7: it is late"]);
    }

    #[test]
    fn limits_come_after_proved_problems() {
        let finding = |rule, severity| Finding::plain(rule, severity, "words");
        let mut findings = vec![finding("a.leak", Severity::Problem), finding("a.clean", Severity::Info)];
        let losses = losses(Missed { forks: 2, execs: 1, no_memory: 0 }, 3);
        let facts = Facts {
            ended: Ended::StoppedByGuard,
            length: Duration::from_secs(1),
            targets: &[target(7, &["it is late"])],
            others: vec!["others".to_owned()],
            losses: &losses,
        };
        add(&mut findings, &facts);
        let rules: Vec<&str> = findings.iter().map(|finding| &*finding.rule).collect();
        let [guard, incomplete, note] = [rules::GUARD, rules::INCOMPLETE, rules::NOTE];
        assert_eq!(rules, ["a.leak", guard, incomplete, "a.clean", note, note]);
        assert!(findings[2].text.contains("5 processes that began and 1 program "), "{}", findings[2].text);
    }

    #[test]
    fn nothing_is_lost_if_all_are_observed() {
        assert!(losses(Missed { forks: 0, execs: 0, no_memory: 0 }, 0).is_empty());
        assert_eq!(losses(Missed { forks: 0, execs: 0, no_memory: 1 }, 0).len(), 1);
    }
}

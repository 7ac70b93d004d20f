//! Disks that fail, are full, or do not answer.

use std::time::Duration;

use super::{Facts, OF_KERNEL, is_in, named, thresholds::STUCK_FOR};
use crate::{
    io_tools::Label,
    observe::io::Alive,
    report::{Finding, Phrase, Severity, Unit, Value},
    tool::disk::{before::Stuck, lines::Line, operations::Operation, rules},
    units,
};

/// A disk that is full, and errors of devices.
pub(super) fn failures(facts: &Facts<'_>) -> Vec<Finding> {
    let of = |rule: &'static str, words: &str, count: fn(&Line) -> u64| {
        // Files in `/proc` and `/sys` are on no device, and have errors of their own.
        let failed =
            || facts.lines.iter().filter(|(what, line)| count(line) > 0 && !is_in(&what.file, &OF_KERNEL));
        let (what, line) = failed().max_by_key(|(_, line)| count(line))?;
        let times = units::plural(count(line) as usize, "time", "times");
        let sentence = vec![
            Phrase::Plain(format!("{words}: {} of ", what.operation.name())),
            named(&what.file),
            Phrase::Plain(format!(" failed {times}.")),
        ];
        let all: u64 = failed().map(|(_, line)| count(line)).sum();
        let finding = Finding::new(rule, Severity::Problem, sentence).on((facts.row)(what));
        Some(finding.because("failed", Unit::Count, Value::Exact(all)))
    };
    let errors = of(rules::ERROR, "A device reported errors (EIO)", |line| line.sum.io_errors);
    let full =
        of(rules::FULL, "No space is left (ENOSPC), or in a quota (EDQUOT)", |line| line.sum.without_space);
    errors.into_iter().chain(full).collect()
}

/// Operations that have been in progress for long.
pub(super) fn stuck(facts: &Facts<'_>) -> Vec<Finding> {
    let of = |thread: &Alive| {
        let (operation, file, since_ns) = thread.now?;
        let took = Duration::from_nanos(facts.span_ns.1.saturating_sub(since_ns));
        let operation = Operation::of_number(operation).filter(|_| took >= STUCK_FOR)?;
        if (facts.waits_elsewhere)(thread.tid) {
            return None;
        }
        let file = (facts.label)(file);
        if is_in(&file, &OF_KERNEL) {
            // Whoever reads the kernel's log waits for the kernel to say something.
            return None;
        }
        let sentence = vec![
            Phrase::plain("STUCK: thread "),
            Phrase::Name(thread.name.clone()),
            Phrase::Plain(format!(" has been in {} of ", operation.name())),
            named(&file),
            Phrase::Plain(format!(" for {}.", units::duration(took))),
        ];
        let finding = Finding::new(rules::STUCK, Severity::Problem, sentence);
        Some(finding.because("duration_ns", Unit::Nanos, Value::nanos(took)))
    };
    facts.alive.iter().filter_map(of).chain(stuck_before(facts)).collect()
}

/// One finding for all of them: it names the first thread and says how many more there are, whatever operation or file they are in.
fn stuck_before(facts: &Facts<'_>) -> Option<Finding> {
    let is_stuck = |of: &&Stuck| !is_in(&Label::Known(of.file.clone()), &OF_KERNEL);
    let first = facts.before.iter().find(is_stuck).filter(|_| facts.length() >= STUCK_FOR)?;
    let count = facts.before.iter().filter(is_stuck).count();
    let others = match count {
        1 => String::new(),
        2 => "; 1 more thread is in such an operation, too".to_owned(),
        count => format!("; {} more threads are in such an operation, too", count - 1),
    };
    let sentence = vec![
        Phrase::plain("STUCK: thread "),
        Phrase::Name(first.thread.clone()),
        Phrase::Plain(format!(" has been in {} of ", first.operation.name())),
        Phrase::Name(first.file.clone()),
        Phrase::Plain(format!(
            " for {} or longer, since before the observation{others}.",
            units::duration(facts.length())
        )),
    ];
    let finding = Finding::new(rules::STUCK, Severity::Problem, sentence);
    Some(finding.because("threads", Unit::Count, Value::Exact(count as u64)))
}

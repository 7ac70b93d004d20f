//! The answer in sentences, the most important first.

use super::{analyze::Judged, session::Session, verdict::Verdict};
use crate::{
    report::{Finding, Phrase, Row, Severity, Value},
    units,
};

/// The sentences of a report. `rows` belong to `shown`; `seen` counts all stacks.
pub(super) fn findings(
    session: &Session<'_>,
    shown: &[&Judged<'_>],
    rows: &[Row],
    seen: usize,
    complete: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if complete {
        findings.push(answer(session, shown, rows, seen));
    } else {
        let words = "No verdict: the data are incomplete, and what is missing could change the answer.";
        findings.push(finding(Severity::Limit, vec![plain(words)]));
    }
    for space in &session.spaces {
        for note in &space.notes {
            findings.push(finding(Severity::Limit, vec![plain(format!("Note: {note}."))]));
        }
    }
    findings
}

fn answer(session: &Session<'_>, shown: &[&Judged<'_>], rows: &[Row], seen: usize) -> Finding {
    let age = units::duration(session.options.older);
    let leaks: Vec<usize> =
        (0..shown.len()).filter(|i| shown[*i].judgement.verdict == Verdict::Leak).collect();
    let stacks = plural(seen, "call stack", "call stacks");
    if let Some(worst) = leaks.first() {
        let judged = shown[*worst];
        let mut sentence =
            vec![plain(format!("LEAK: {} of {stacks} never frees what it keeps: ", leaks.len()))];
        if leaks.len() > 1 {
            sentence = vec![plain(format!(
                "LEAK: {} of {stacks} never free what they keep; the worst: ",
                leaks.len()
            ))];
        }
        sentence.push(name(rows.get(*worst)));
        if let Some(growth) = &judged.judgement.growth_bytes_per_hour {
            sentence.push(plain(format!(
                " grows by {}",
                units::bytes_per_hour(growth.value).trim_start_matches('+')
            )));
        }
        let old = judged.row.weighted.as_ref().map_or(judged.row.old_bytes as f64, |w| w.old_bytes.0);
        sentence.push(plain(format!(" and holds {} older than {age}.", units::bytes(old))));
        return finding(Severity::Problem, sentence);
    }
    let young: Vec<&&Judged<'_>> = shown.iter().filter(|j| j.judgement.verdict == Verdict::Young).collect();
    let length = session.length.unwrap_or_else(|| session.began.elapsed());
    if length < session.options.older + session.options.older / 4 {
        let needed = session.options.older + session.options.older / 4;
        let words = format!(
            "Too early to say: blocks of {age} can be judged once observed for {}; this was {}.",
            units::duration(needed),
            units::duration(length)
        );
        return finding(Severity::Limit, vec![plain(words)]);
    }
    let mut words = format!("No leak found: {stacks} looked at for {}, age {age}.", units::duration(length));
    if !young.is_empty() {
        let held: f64 = young.iter().map(|j| j.row.live_bytes as f64).sum();
        let cannot = plural(young.len(), "stack cannot", "stacks cannot");
        words = format!("{words} {cannot} be judged yet; together they hold {}.", units::bytes(held));
    }
    finding(Severity::Info, vec![plain(words)])
}

fn name(row: Option<&Row>) -> Phrase {
    match row.and_then(|row| row.cells.get(1)) {
        Some(Value::Name(name)) => Phrase::Name(name.clone()),
        _ => plain("a function without a name"),
    }
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn plain(words: impl Into<String>) -> Phrase {
    Phrase::Plain(words.into())
}

fn finding(severity: Severity, sentence: Vec<Phrase>) -> Finding {
    Finding { severity, sentence }
}

//! The answer in sentences, the most important first.

use super::{analyze::Judged, rules, session::Session, verdict::Verdict};
use crate::{
    report::{Finding, Phrase, Row, RowRef, Severity, Value},
    text::Text,
    units,
};

/// Leaking functions that the sentence names.
const MOST_NAMED: usize = 3;

/// The sentences of a report. `rows` belong to `shown`; `seen` counts all stacks.
pub(super) fn findings(
    session: &Session<'_>,
    shown: &[&Judged<'_>],
    rows: &[Row],
    seen: usize,
    complete: bool,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    if complete {
        findings.push(answer(session, shown, rows, seen));
    } else {
        let words = "No verdict: the data are incomplete, and what is missing could change the answer.";
        findings.push(Finding::plain(rules::INCOMPLETE, Severity::Limit, words));
    }
    for space in &session.spaces {
        for note in &space.notes {
            findings.push(Finding::plain(rules::NOTE, Severity::Limit, format!("Note: {note}.")));
        }
    }
    findings
}

fn answer(session: &Session<'_>, shown: &[&Judged<'_>], rows: &[Row], seen: usize) -> Finding {
    let age = units::duration(session.options.older);
    let leaks: Vec<Leak> = shown
        .iter()
        .zip(rows)
        .filter(|(judged, _)| judged.judgement.verdict == Verdict::Leak)
        .map(|(judged, row)| Leak::of(judged, row))
        .collect();
    if !leaks.is_empty() {
        let sampled = session.options.sample_bytes.is_some();
        let sentence = leak_sentence(&leaks, seen, &age, sampled);
        let leaking = |(row, judged): (usize, &&Judged<'_>)| {
            (judged.judgement.verdict == Verdict::Leak).then_some(RowRef { section: 0, row })
        };
        let on = shown.iter().enumerate().filter_map(leaking).collect();
        return Finding::new(rules::LEAK, Severity::Problem, sentence).on(on);
    }
    let stacks = plural(seen, "call stack", "call stacks");
    let young: Vec<&&Judged<'_>> = shown.iter().filter(|j| j.judgement.verdict == Verdict::Young).collect();
    let length = session.length.unwrap_or_else(|| session.began.elapsed());
    if seen == 0 {
        let words = format!("No allocation was seen in {}.", units::duration(length));
        return Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words);
    }
    if length < session.options.older + session.options.older / 4 {
        let needed = session.options.older + session.options.older / 4;
        let words = format!(
            "Too early to say: blocks of {age} can be judged once observed for {}; this was {}.",
            units::duration(needed),
            units::duration(length)
        );
        return Finding::plain(rules::TOO_EARLY, Severity::Limit, words);
    }
    let mut words = format!("No leak found: {stacks} looked at for {}, age {age}.", units::duration(length));
    if !young.is_empty() {
        let held: f64 = young.iter().map(|j| j.row.live_bytes as f64).sum();
        let cannot = plural(young.len(), "stack cannot", "stacks cannot");
        words = format!("{words} {cannot} be judged yet; together they hold {}.", units::bytes(held));
    }
    Finding::plain(rules::CLEAN, Severity::Info, words)
}

/// A stack that leaks, as the sentence speaks of it.
struct Leak {
    function: Option<Text>,
    growth_bytes_per_hour: f64,
    old_bytes: f64,
}

impl Leak {
    fn of(judged: &Judged<'_>, row: &Row) -> Leak {
        let function = row.cells.iter().find_map(|cell| match cell {
            Value::Name(name) => Some(name.clone()),
            _ => None,
        });
        let stack = judged.row;
        Leak {
            function,
            growth_bytes_per_hour: judged.judgement.growth_bytes_per_hour.map_or(0.0, |growth| growth.value),
            old_bytes: stack.weighted.as_ref().map_or(stack.old_bytes as f64, |w| w.old_bytes.0),
        }
    }
}

/// Names the functions that leak, the fastest first: one function often leaks from several stacks.
fn leak_sentence(leaks: &[Leak], seen: usize, age: &str, sampled: bool) -> Vec<Phrase> {
    let mut functions: Vec<(&Option<Text>, f64)> = Vec::new();
    for leak in leaks {
        match functions.iter_mut().find(|(name, _)| *name == &leak.function) {
            Some((_, growth)) => *growth += leak.growth_bytes_per_hour,
            None => functions.push((&leak.function, leak.growth_bytes_per_hour)),
        }
    }
    functions.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut sentence = vec![plain("LEAK: ")];
    let named = &functions[..functions.len().min(MOST_NAMED)];
    let unnamed = functions.len() - named.len();
    for (i, (function, growth)) in named.iter().enumerate() {
        if i > 0 {
            sentence.push(plain(if unnamed == 0 && i + 1 == named.len() { " and " } else { ", " }));
        }
        sentence.push((*function).clone().map_or_else(|| plain("a function without a name"), Phrase::Name));
        let growth = units::bytes_per_hour(*growth);
        let grows = if i == 0 { "grows by" } else { "by" };
        sentence.push(plain(format!(" {grows} ~{}", growth.trim_start_matches('+'))));
    }
    if unnamed > 0 {
        sentence.push(plain(format!(" and {}", plural(unnamed, "more function", "more functions"))));
    }
    let they =
        if functions.len() == 1 { "It never frees what it keeps" } else { "They never free what they keep" };
    let old: f64 = leaks.iter().map(|leak| leak.old_bytes).sum();
    let about = if sampled { "~" } else { "" };
    sentence.push(plain(format!(
        ". {they}: {about}{} older than {age}, from {} of {}.",
        units::bytes(old),
        leaks.len(),
        plural(seen, "call stack", "call stacks")
    )));
    sentence
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

pub(super) fn plain(words: impl Into<String>) -> Phrase {
    Phrase::Plain(words.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = (1 << 20) as f64;

    fn leak(function: &str, mib_per_hour: f64, old_kib: f64) -> Leak {
        Leak {
            function: (!function.is_empty()).then(|| Text::from(function)),
            growth_bytes_per_hour: mib_per_hour * MIB,
            old_bytes: old_kib * 1024.0,
        }
    }

    fn words(leaks: &[Leak], sampled: bool) -> String {
        let word = |phrase: &Phrase| match phrase {
            Phrase::Plain(words) => words.clone(),
            Phrase::Name(name) => name.terminal(),
        };
        leak_sentence(leaks, 417, "30m", sampled).iter().map(word).collect()
    }

    #[test]
    fn a_function_is_named_once_with_all_its_stacks() {
        assert_eq!(
            words(&[leak("connect", 9.0, 40.0), leak("connect", 2.0, 2.0)], false),
            "LEAK: connect grows by ~11 MiB/h. It never frees what it keeps: 42 KiB older than 30m, from 2 of \
             417 call stacks."
        );
    }

    #[test]
    fn the_fastest_functions_are_named_and_the_others_counted() {
        let mut leaks = vec![leak("push", 2.0, 8.0), leak("connect", 9.0, 40.0)];
        assert_eq!(
            words(&leaks, true),
            "LEAK: connect grows by ~9.0 MiB/h and push by ~2.0 MiB/h. They never free what they keep: ~48 KiB \
             older than 30m, from 2 of 417 call stacks."
        );
        leaks.extend([leak("", 1.0, 0.0), leak("d", 0.5, 0.0), leak("e", 0.2, 0.0)]);
        assert_eq!(
            words(&leaks, false),
            "LEAK: connect grows by ~9.0 MiB/h, push by ~2.0 MiB/h, a function without a name by ~1.0 MiB/h and \
             2 more functions. They never free what they keep: 48 KiB older than 30m, from 5 of 417 call stacks."
        );
    }
}

//! The answer in sentences, the most important first.

use std::time::{Duration, SystemTime};

use super::{
    judge::MARGIN,
    rules,
    session::Session,
    sites::JudgedSite,
    verdict::{Reason, Verdict},
};
use crate::{
    report::{Finding, Phrase, RowRef, Severity},
    text::Text,
    units,
};

/// Leaking functions that the sentence names.
const MOST_NAMED: usize = 3;
/// What is undecided matters if it holds this share of all that is old, or of all that is live.
const MATTERS: f64 = 0.1;
/// Few blocks matter if they hold this share of all that is live, and so many bytes.
const MOST: f64 = 0.5;
const MOST_BYTES: f64 = 1_048_576.0;
/// A process younger than this many ages may still fill what it fills once.
const FILLING_AGES: u32 = 4;

/// What the sentences are made of.
pub(super) struct Facts<'a> {
    /// All sites, the worst first.
    pub(super) sites: &'a [JudgedSite],
    /// Their names.
    pub(super) names: &'a [Option<Text>],
    /// The rows of the report that show them, if they are shown.
    pub(super) rows: &'a [Option<RowRef>],
    /// Call stacks looked at.
    pub(super) stacks: usize,
    /// Length of the observation.
    pub(super) length: Duration,
    /// The age asked about.
    pub(super) older: Duration,
    /// Whether the figures are estimates of a sampled run.
    pub(super) sampled: bool,
}

/// The sentences of a report.
pub(super) fn findings(session: &Session<'_>, facts: &Facts<'_>, complete: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if complete {
        findings.push(answer(facts));
        findings.extend(session.spaces.iter().filter_map(|space| {
            let until = SystemTime::UNIX_EPOCH + Duration::from_nanos(session.started_unix_ns) + facts.length;
            let age = until.duration_since(space.process.started()).ok()?;
            filling(space.process.name(), age, facts.older)
        }));
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

fn answer(facts: &Facts<'_>) -> Finding {
    let (age, length) = (units::duration(facts.older), units::duration(facts.length));
    if facts.sites.iter().any(|site| site.judgement.verdict == Verdict::Leak) {
        return leak(facts);
    }
    if facts.stacks == 0 {
        let words = format!("No allocation was seen in {length}.");
        return Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words);
    }
    let needed = facts.older.mul_f64(MARGIN);
    if facts.length < needed {
        let words = format!(
            "Too early to say: blocks of {age} can be judged once observed for {}; this was {}.",
            rounded_up(needed),
            units::duration(facts.length)
        );
        return Finding::plain(rules::TOO_EARLY, Severity::Limit, words);
    }
    undecided(facts).unwrap_or_else(|| clean(facts))
}

/// Names the sites that leak, the fastest first. One function may leak at several lines: it is named once.
fn leak(facts: &Facts<'_>) -> Finding {
    let leaks: Vec<Leak<'_>> = facts
        .sites
        .iter()
        .zip(facts.names)
        .filter(|(site, _)| site.judgement.verdict == Verdict::Leak)
        .map(|(site, name)| Leak::of(site, name.as_ref()))
        .collect();
    let at = facts.sites.iter().zip(facts.rows);
    let rows = at.filter(|(site, _)| site.judgement.verdict == Verdict::Leak).filter_map(|(_, row)| *row);
    let sentence = leak_sentence(&leaks, facts);
    Finding::new(rules::LEAK, Severity::Problem, sentence).on(rows.collect())
}

/// A site that leaks, as the sentence speaks of it.
struct Leak<'a> {
    function: Option<&'a Text>,
    growth_bytes_per_hour: f64,
    old_bytes: f64,
    stacks: usize,
    /// Whether any block as old as this was freed.
    freed: bool,
}

impl<'a> Leak<'a> {
    fn of(site: &JudgedSite, function: Option<&'a Text>) -> Leak<'a> {
        let (row, stacks) = match &site.leaking {
            Some(leaking) => (&leaking.row, leaking.stacks),
            None => (&site.row, site.stacks.len()),
        };
        Leak {
            function,
            growth_bytes_per_hour: site.judgement.growth_bytes_per_hour.map_or(0.0, |growth| growth.value),
            old_bytes: row.weighted.as_ref().map_or(row.old_bytes as f64, |w| w.old_bytes.0),
            stacks,
            freed: site.judgement.hazard.frees > 0,
        }
    }
}

fn leak_sentence(leaks: &[Leak<'_>], facts: &Facts<'_>) -> Vec<Phrase> {
    let mut functions: Vec<(Option<&Text>, f64)> = Vec::new();
    for leak in leaks {
        match functions.iter_mut().find(|(name, _)| *name == leak.function) {
            Some((_, growth)) => *growth += leak.growth_bytes_per_hour,
            None => functions.push((leak.function, leak.growth_bytes_per_hour)),
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
        sentence.push(name(*function));
        let growth = units::bytes_per_hour(*growth);
        let grows = if i == 0 { "grows by" } else { "by" };
        sentence.push(plain(format!(" {grows} ~{}", growth.trim_start_matches('+'))));
    }
    if unnamed > 0 {
        sentence.push(plain(format!(" and {}", units::plural(unnamed, "more function", "more functions"))));
    }
    // Not more than was seen: what will be freed later, nobody knows.
    let freed = if leaks.iter().any(|leak| leak.freed) { "hardly any" } else { "none" };
    let they = if functions.len() == 1 { "It has" } else { "They have" };
    let old: f64 = leaks.iter().map(|leak| leak.old_bytes).sum();
    let about = if facts.sampled { "~" } else { "" };
    sentence.push(plain(format!(
        ". {they} freed {freed} of what got that old in {}: {about}{} older than {}, from {} of {}.",
        units::duration(facts.length),
        units::bytes(old),
        units::duration(facts.older),
        leaks.iter().map(|leak| leak.stacks).sum::<usize>(),
        units::plural(facts.stacks, "call stack", "call stacks")
    )));
    sentence
}

/// Says what is undecided, if it holds so much that "no leak found" would be a guess.
fn undecided(facts: &Facts<'_>) -> Option<Finding> {
    let all_live: f64 = facts.sites.iter().map(live_bytes).sum();
    // Few blocks are suspect too if they are most of what is live: a long list in one block.
    let is_most = |site: &JudgedSite| live_bytes(site) >= MOST_BYTES.max(MOST * all_live);
    let suspect = |site: &JudgedSite| {
        let few = site.judgement.reason == Reason::FewBlocks;
        site.judgement.verdict == Verdict::Young && (!few || is_most(site))
    };
    let held = |of: fn(&JudgedSite) -> f64| -> (f64, f64) {
        let all = facts.sites.iter().map(of).sum();
        (facts.sites.iter().filter(|site| suspect(site)).map(of).sum(), all)
    };
    let matters = |(some, all): (f64, f64)| some > 0.0 && some >= MATTERS * all;
    let (of_old, of_live) = (held(old_bytes), held(live_bytes));
    let ((some, all), which) = if matters(of_old) {
        (of_old, format!("older than {}", units::duration(facts.older)))
    } else if matters(of_live) {
        (of_live, "live".to_owned())
    } else {
        return None;
    };
    let mut sites: Vec<usize> =
        (0..facts.sites.len()).filter(|&at| facts.sites.get(at).is_some_and(suspect)).collect();
    let weight = |at: &usize| facts.sites.get(*at).map_or(0.0, |site| old_bytes(site) + live_bytes(site));
    sites.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    let first = *sites.first()?;
    let mut sentence = vec![plain("Undecided: "), name(facts.names.get(first)?.as_ref())];
    if sites.len() > 1 {
        sentence.push(plain(format!(" and {}", units::plural(sites.len() - 1, "more site", "more sites"))));
    }
    let about = if facts.sampled { "~" } else { "" };
    let (holds, it) = if sites.len() == 1 { ("holds", "it leaks") } else { ("hold", "they leak") };
    let part =
        if some < all { format!("of the {about}{} that are {which}", units::bytes(all)) } else { which };
    sentence.push(plain(format!(
        " {holds} {about}{} {part}, and whether {it} is not known yet: {}. ",
        units::bytes(some),
        facts.sites.get(first)?.judgement.reason.text()
    )));
    let when = sites.iter().filter_map(|&at| facts.sites.get(at)?.judgement.judged_after).max();
    sentence.push(plain(match when {
        Some(when) => {
            format!("Observe for {}: this was {}.", rounded_up(when), units::duration(facts.length))
        }
        None => format!("Observe for longer than {}.", units::duration(facts.length)),
    }));
    let rows = sites.iter().filter_map(|&at| *facts.rows.get(at)?).collect();
    Some(Finding::new(rules::UNDECIDED, Severity::Limit, sentence).on(rows))
}

fn clean(facts: &Facts<'_>) -> Finding {
    let mut words = format!(
        "No leak found: {} looked at for {}, age {}.",
        units::plural(facts.stacks, "call stack", "call stacks"),
        units::duration(facts.length),
        units::duration(facts.older)
    );
    let young: Vec<&JudgedSite> =
        facts.sites.iter().filter(|site| site.judgement.verdict == Verdict::Young).collect();
    if !young.is_empty() {
        let held: f64 = young.iter().copied().map(live_bytes).sum();
        let all: f64 = facts.sites.iter().map(live_bytes).sum();
        let cannot = units::plural(young.len(), "site cannot", "sites cannot");
        let (held, all) = (units::bytes(held), units::bytes(all));
        words = format!("{words} {cannot} be judged yet; together they hold {held} of {all}.");
    }
    Finding::plain(rules::CLEAN, Severity::Info, words)
}

/// Says of a process that it has not run for long: what fills up once after the start looks like growth until then.
fn filling(process: &Text, age: Duration, older: Duration) -> Option<Finding> {
    let enough = older * FILLING_AGES;
    (age < enough).then(|| {
        let rest = format!(
            " has run for {} only, less than four times {}: what it fills once after its start may still look \
             like growth.",
            units::duration(age),
            units::duration(older)
        );
        Finding::new(rules::FILLING, Severity::Info, vec![Phrase::Name(process.clone()), plain(rest)])
    })
}

fn old_bytes(site: &JudgedSite) -> f64 {
    site.row.weighted.as_ref().map_or(site.row.old_bytes as f64, |w| w.old_bytes.0)
}

fn live_bytes(site: &JudgedSite) -> f64 {
    site.row.weighted.as_ref().map_or(site.row.live_bytes as f64, |w| w.live_bytes.0)
}

/// A length that is said to be enough: rounding never makes it shorter.
pub(super) fn rounded_up(length: Duration) -> String {
    let shown_ms = match length.as_secs() {
        86_400.. => 3_600_000,
        3600.. => 60_000,
        10.. => 1_000,
        1.. => 100,
        0 => 1,
    };
    let ms = length.as_nanos().div_ceil(1_000_000).next_multiple_of(shown_ms);
    units::duration(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

fn name(function: Option<&Text>) -> Phrase {
    function.cloned().map_or_else(|| plain("a function without a name"), Phrase::Name)
}

pub(super) fn plain(words: impl Into<String>) -> Phrase {
    Phrase::Plain(words.into())
}

#[cfg(test)]
mod tests;

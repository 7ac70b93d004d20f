//! The answer in sentences, the most important first.

mod evidence;
mod fills;
mod grown;
mod seen;

use std::time::Duration;

use self::{
    evidence::{counted, leak_evidence},
    fills::still_fills,
    grown::grown,
    seen::{age, seen},
};
use super::{coarse::Drawing, reasons::why, rules};
use crate::{
    naming::in_prose,
    observe::processes::{Process, filling, whose},
    report::{Finding, Phrase, RowRef, Severity, Unit, Value},
    stats::lifetimes::{
        judge::MARGIN,
        sites::JudgedSite,
        verdict::{Reason, Verdict},
    },
    text::Text,
    units,
};

/// How many leaking functions a sentence names.
const MOST_NAMED: usize = 3;
/// Undecided sites matter if they hold this share of all old memory, or of all live memory.
const MATTERS: f64 = 0.1;
/// A few blocks matter if they hold this share of all live memory, and this many bytes.
const MOST: f64 = 0.5;
const MOST_BYTES: f64 = 1_048_576.0;
/// What programs leave that ended too early to be judged matters if it is this much in total: a shell that becomes the program
/// leaves less (bash: 65 KiB).
const LEFT_BYTES: f64 = 131_072.0;
/// Nothing is judged that was observed for less, however short the age asked about.
const LEAST_SEEN: Duration = Duration::from_secs(1);

/// Facts for the sentences.
pub(super) struct Facts<'a> {
    /// All sites, the worst first.
    pub(super) sites: &'a [JudgedSite],
    /// Their names.
    pub(super) names: &'a [Option<Text>],
    /// What the sentence calls the leaking ones.
    pub(super) spoken: &'a [Option<Text>],
    /// Their processes and address spaces.
    pub(super) programs: &'a [(u32, u16)],
    /// All processes that are observed.
    pub(super) processes: &'a [Process],
    /// The rows of the report that show them, if they are shown.
    pub(super) rows: &'a [Option<RowRef>],
    /// Number of call stacks that were looked at.
    pub(super) stacks: usize,
    /// Length of the observation.
    pub(super) length: Duration,
    /// The age asked about.
    pub(super) older: Duration,
    /// What was sampled, in a sampled run: its figures are estimates.
    pub(super) drawing: Option<Drawing>,
}

/// The sentences of a report.
pub(super) fn findings(facts: &Facts<'_>, complete: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if complete {
        findings.push(answer(facts));
        // If no allocation was seen, nothing fills up.
        findings.extend(filling(facts.processes, facts.older, rules::FILLING).filter(|_| facts.stacks > 0));
    } else {
        let words = "No verdict: the data are incomplete, and what is missing could change the answer.";
        findings.push(Finding::plain(rules::INCOMPLETE, Severity::Limit, words));
    }
    findings
}

fn answer(facts: &Facts<'_>) -> Finding {
    let (age, length) = (units::duration(facts.older), units::duration(facts.length));
    let mut leaks = facts.sites.iter().filter(|site| site.judgement.verdict == Verdict::Leak).peekable();
    if leaks.peek().is_some() {
        return if leaks.any(|site| is_said(site, facts)) { leak(facts) } else { seen_for_moments(facts) };
    }
    if facts.stacks == 0 {
        let words = format!("No allocation was seen in {length}.");
        return Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words);
    }
    let needed = needed(facts.older);
    if facts.length < needed {
        let words = format!(
            "Too early to say: blocks of {age} can be judged once observed for {}; this was {}.",
            units::rounded_up(needed),
            units::duration(facts.length)
        );
        return Finding::plain(rules::TOO_EARLY, Severity::Limit, words)
            .because("length_ns", Unit::Nanos, Value::nanos(facts.length))
            .because("needed_ns", Unit::Nanos, Value::nanos(needed));
    }
    if let Some(drawing) = facts.drawing.filter(Drawing::is_too_coarse) {
        return drawing.finding(facts.length);
    }
    undecided(facts).unwrap_or_else(|| clean(facts))
}

/// How long it takes until blocks of this age can be judged.
pub(super) fn needed(older: Duration) -> Duration {
    older.mul_f64(MARGIN).max(LEAST_SEEN)
}

/// Whether a site leaks, and was observed long enough to say so.
fn is_said(site: &JudgedSite, facts: &Facts<'_>) -> bool {
    site.judgement.verdict == Verdict::Leak && site.row.lasted(facts.length) >= LEAST_SEEN
}

/// The sentence if everything that looks like a leak was observed only briefly.
fn seen_for_moments(facts: &Facts<'_>) -> Finding {
    let place =
        facts.sites.iter().position(|site| site.judgement.verdict == Verdict::Leak).unwrap_or_default();
    let lasted = facts.sites.get(place).map_or(facts.length, |site| site.row.lasted(facts.length));
    let words = format!(
        " looks like a leak, but was observed for {} only. Observe for longer than {}.",
        units::duration(lasted),
        units::duration(LEAST_SEEN)
    );
    let label = facts.names.get(place).and_then(Option::as_ref);
    let rows = facts.rows.get(place).copied().flatten().into_iter().collect();
    let mut sentence = vec![Phrase::plain("Too early to say: "), named(label.map(in_prose))];
    sentence
        .extend(facts.programs.get(place).into_iter().flat_map(|(pid, _)| whose(&[*pid], facts.processes)));
    sentence.push(Phrase::plain(words));
    Finding::new(rules::TOO_EARLY, Severity::Limit, sentence).on(rows)
}

/// Names the leaks, the fastest first. If one function leaks at several lines, it is named once.
fn leak(facts: &Facts<'_>) -> Finding {
    let leaks: Vec<Leak<'_>> = facts
        .sites
        .iter()
        .zip(facts.spoken)
        .zip(facts.programs)
        .filter(|((site, _), _)| is_said(site, facts))
        .map(|((site, name), program)| Leak::of(site, name.as_ref(), *program, facts))
        .collect();
    let at = facts.sites.iter().zip(facts.rows);
    let rows = at.filter(|(site, _)| is_said(site, facts)).filter_map(|(_, row)| *row);
    let sentence = leak_sentence(&leaks, facts);
    let finding = Finding::new(rules::LEAK, Severity::Problem, sentence).on(rows.collect());
    let said = facts.sites.iter().filter(|site| is_said(site, facts));
    leak_evidence(finding, &leaks, said, facts.drawing.is_some())
}

/// A leaking site, as the sentence needs it.
struct Leak<'a> {
    label: Option<&'a Text>,
    /// Its process and its address space.
    program: (u32, u16),
    growth_bytes_per_hour: f64,
    old_bytes: f64,
    old_blocks: f64,
    /// How long it was observed.
    lasted: Duration,
    stacks: usize,
    /// The age that counts: none or hardly any of the blocks that got older was freed.
    from: Duration,
    /// Whether any of them was.
    freed: bool,
    /// Blocks freed at a lower age, but not below the age asked about.
    freed_before: u64,
}

impl<'a> Leak<'a> {
    fn of(site: &JudgedSite, label: Option<&'a Text>, program: (u32, u16), facts: &Facts<'_>) -> Leak<'a> {
        let (row, stacks) = match &site.leaking {
            Some(leaking) => (&leaking.row, leaking.stacks.len()),
            None => (&site.row, site.stacks.len()),
        };
        let kept = site.judgement.kept;
        let old_blocks = row.weighted.as_ref().map_or(row.old as f64, |w| w.old.0);
        Leak {
            label,
            program,
            growth_bytes_per_hour: site.judgement.growth_bytes_per_hour.map_or(0.0, |growth| growth.value),
            old_bytes: kept.map_or_else(
                || row.weighted.as_ref().map_or(row.old_bytes as f64, |w| w.old_bytes.0),
                |kept| kept.bytes,
            ),
            // In a sampled run, each kept block stands for as many as any old one.
            old_blocks: kept
                .map_or(old_blocks, |kept| old_blocks * kept.items as f64 / row.old.max(1) as f64),
            lasted: row.lasted(facts.length),
            stacks,
            from: kept.as_ref().map_or(facts.older, age),
            freed: site.judgement.hazard.releases > 0,
            freed_before: kept.map_or(0, |kept| kept.released_before),
        }
    }

    fn blocks_per_hour(&self) -> f64 {
        let hours = self.lasted.saturating_sub(self.from).as_secs_f64() / 3600.0;
        if hours > 0.0 { self.old_blocks / hours } else { 0.0 }
    }
}

fn leak_sentence(leaks: &[Leak<'_>], facts: &Facts<'_>) -> Vec<Phrase> {
    let functions = grown(leaks);
    let mut sentence = vec![Phrase::plain("LEAK: ")];
    let mut spoken_of = Vec::new();
    let fastest = &functions[..functions.len().min(MOST_NAMED)];
    let unnamed = functions.len() - fastest.len();
    for (i, grown) in fastest.iter().enumerate() {
        if i > 0 {
            sentence.push(Phrase::plain(if unnamed == 0 && i + 1 == fastest.len() { " and " } else { ", " }));
        }
        sentence.push(named(grown.name()));
        let pids = grown.pids();
        if pids != spoken_of {
            sentence.extend(whose(&pids, facts.processes));
            spoken_of = pids;
        }
        let grows = if i == 0 { "grows by" } else { "by" };
        sentence.push(Phrase::plain(format!(" {grows} ~{}", grown.per_hour())));
    }
    if unnamed > 0 {
        sentence.push(Phrase::plain(format!(
            " and {}",
            units::plural(unnamed, "more function", "more functions")
        )));
    }
    sentence.extend(still_fills(leaks, facts).map(Phrase::plain));
    sentence.push(Phrase::plain(seen(leaks, functions.len(), facts)));
    sentence
}

/// Says what is undecided, if it holds so much that "no leak found" would be a guess.
fn undecided(facts: &Facts<'_>) -> Option<Finding> {
    let all_live: f64 = facts.sites.iter().map(live_bytes).sum();
    // A few blocks are suspect too if they are most of the live memory: a long list in one block.
    let is_most = |site: &JudgedSite| live_bytes(site) >= MOST_BYTES.max(MOST * all_live);
    let is_left = |site: &JudgedSite| site.judgement.reason == Reason::TooShort && site.row.has_ended();
    let left: f64 = facts.sites.iter().filter(|site| is_left(site)).map(live_bytes).sum();
    let suspect = |site: &JudgedSite| {
        let few = site.judgement.reason == Reason::FewItems || (is_left(site) && left < LEFT_BYTES);
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
    let mut sentence =
        vec![Phrase::plain("Undecided: "), named(facts.names.get(first)?.as_ref().map(in_prose))];
    sentence.extend(whose(&[facts.programs.get(first)?.0], facts.processes));
    if sites.len() > 1 {
        sentence.push(Phrase::plain(format!(
            " and {}",
            units::plural(sites.len() - 1, "more site", "more sites")
        )));
    }
    let about = if facts.drawing.is_some() { "~" } else { "" };
    let (holds, it) = if sites.len() == 1 { ("holds", "it leaks") } else { ("hold", "they leak") };
    let part =
        if some < all { format!("of the {about}{} that are {which}", units::bytes(all)) } else { which };
    let suspects = || sites.iter().filter_map(|&at| facts.sites.get(at));
    let yet = if suspects().all(|site| site.row.has_ended()) { "" } else { " yet" };
    sentence.push(Phrase::plain(format!(
        " {holds} {about}{} {part}, and whether {it} is not known{yet}: {}. {}",
        units::bytes(some),
        why(facts.sites.get(first)?.judgement.reason),
        match facts.sites.get(first)?.judgement.reason {
            Reason::Inherited if facts.drawing.is_some() => "Leave out --sample-bytes.".to_owned(),
            _ => undecided_advice(suspects(), facts),
        }
    )));
    let rows = sites.iter().filter_map(|&at| *facts.rows.get(at)?).collect();
    let finding = Finding::new(rules::UNDECIDED, Severity::Limit, sentence).on(rows);
    Some(
        finding
            .because("undecided_bytes", Unit::Bytes, counted(some, facts.drawing.is_some()))
            .because("of_bytes", Unit::Bytes, counted(all, facts.drawing.is_some()))
            .because("sites", Unit::Count, Value::Exact(sites.len() as u64)),
    )
}

/// What would decide it: more time, unless the program has ended.
fn undecided_advice<'a>(suspects: impl Iterator<Item = &'a JudgedSite>, facts: &Facts<'_>) -> String {
    let (ended, going): (Vec<&JudgedSite>, Vec<_>) = suspects.partition(|site| site.row.has_ended());
    if going.is_empty() {
        let after = units::range(ended.iter().map(|site| site.row.lasted(facts.length)));
        let program = if ended.len() == 1 { "Its program" } else { "Their program" };
        return format!("{program} ended after {after}: ask about a shorter age (--older).");
    }
    let when = going.iter().filter_map(|site| site.judgement.judged_after).max();
    // The site that was observed longest counts.
    let lasted = going.iter().map(|site| site.row.lasted(facts.length)).max().unwrap_or(facts.length);
    let length = units::duration(lasted);
    match when.filter(|when| *when > lasted) {
        Some(when) => format!("Observe for {}: this was {length}.", units::rounded_up(when)),
        None => format!("Observe for longer than {length}."),
    }
}

fn clean(facts: &Facts<'_>) -> Finding {
    let of = match facts.processes.len() {
        0 | 1 => String::new(),
        several => format!(" of {several} processes"),
    };
    let mut words = format!(
        "No leak found: {}{of} looked at for {}, age {}.",
        units::plural(facts.stacks, "call stack", "call stacks"),
        units::duration(facts.length),
        units::duration(facts.older)
    );
    let young = facts.sites.iter().filter(|site| site.judgement.verdict == Verdict::Young);
    let (ended, going): (Vec<&JudgedSite>, Vec<_>) = young.partition(|site| site.row.has_ended());
    let all: f64 = facts.sites.iter().map(live_bytes).sum();
    for (young, of, yet) in [(&going, "", " yet"), (&ended, " of a program that ended", "")] {
        if young.is_empty() {
            continue;
        }
        let held: f64 = young.iter().copied().map(live_bytes).sum();
        let cannot = units::plural(young.len(), &format!("site{of} cannot"), &format!("sites{of} cannot"));
        let hold = if young.len() == 1 { "it holds" } else { "together they hold" };
        let (held, all) = (units::bytes(held), units::bytes(all));
        words = format!(
            "{words} {cannot} be judged{yet}; {hold} {held} of the {all} allocated since the start and not freed."
        );
    }
    let eligible = facts.length.saturating_sub(facts.older);
    if let Some(growth) = facts.drawing.and_then(|drawing| drawing.blind_below(eligible)) {
        let growth = units::bytes_per_hour(growth);
        words =
            format!("{words} Sampled: leaks of less than ~{} can go unseen.", growth.trim_start_matches('+'));
    }
    Finding::plain(rules::CLEAN, Severity::Info, words)
        .because("stacks", Unit::Count, Value::Exact(facts.stacks as u64))
        .because("length_ns", Unit::Nanos, Value::nanos(facts.length))
        .because("older_ns", Unit::Nanos, Value::nanos(facts.older))
}

fn old_bytes(site: &JudgedSite) -> f64 {
    site.row.weighted.as_ref().map_or(site.row.old_bytes as f64, |w| w.old_bytes.0)
}

fn live_bytes(site: &JudgedSite) -> f64 {
    site.row.weighted.as_ref().map_or(site.row.live_bytes as f64, |w| w.live_bytes.0)
}

fn named(name: Option<Text>) -> Phrase {
    name.map_or_else(|| Phrase::plain("a function without a name"), Phrase::Name)
}

#[cfg(test)]
mod tests;

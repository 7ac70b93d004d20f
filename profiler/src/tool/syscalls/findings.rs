//! Findings: where the time goes, and which work is pointless. Rates are per second of the observation.

mod of_process;
mod of_thread;
pub(super) mod thresholds;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    kinds,
    rows::{Sum, Who},
    rules,
};
use crate::{
    kernel::calls::{self, native},
    report::{Finding, Phrase, RowRef, Severity, Unit, Value},
    text::Text,
    units,
};

/// Nothing is called pointless in a shorter observation.
const LEAST: Duration = Duration::from_secs(1);
/// How many names of threads a sentence has at most.
const MOST_NAMES: usize = 8;

/// What findings are made from.
pub(super) struct Facts<'a> {
    /// By thread and call.
    pub(super) by: &'a BTreeMap<(Who, u64), Sum>,
    /// Rows in the table of calls, by address space and call.
    pub(super) rows: &'a BTreeMap<(u16, u64), RowRef>,
    /// Calls of `clock_gettime` for clocks that no vDSO has, by thread.
    pub(super) kernel_clocks: &'a BTreeMap<Who, u64>,
    /// The name of a thread.
    pub(super) name: &'a dyn Fn(Who) -> Option<Text>,
    /// The process of an address space, if there are several.
    pub(super) pid: &'a dyn Fn(u16) -> Option<u32>,
    /// Whether the process of an address space has datagram sockets; true if that is not known.
    pub(super) has_datagrams: &'a dyn Fn(u16) -> bool,
    /// The threads that `--thread` asks for.
    pub(super) asked: Option<&'a Asked>,
    pub(super) length: Duration,
}

/// Threads that `--thread` asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The pattern, as it was given.
    pub(super) pattern: Text,
    /// Whether any thread matches.
    pub(super) is_there: bool,
    /// The names of all threads.
    pub(super) names: BTreeSet<Text>,
}

impl Facts<'_> {
    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.length.as_secs_f64()
    }

    /// Points to the row of a call.
    fn row(&self, space: u16, call: u64) -> Vec<RowRef> {
        self.rows.get(&(space, call)).copied().into_iter().collect()
    }
}

/// The calls of a thread, or of all threads of a process.
type ByCall<'a> = BTreeMap<u64, &'a Sum>;

/// All findings. The answer comes first, unless something is pointless.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    if let Some(asked) = facts.asked
        && !asked.is_there
    {
        return vec![nobody(asked)];
    }
    let mut findings = Vec::new();
    if facts.length >= LEAST {
        let mut threads: BTreeMap<Who, ByCall<'_>> = BTreeMap::new();
        for ((who, call), sum) in facts.by {
            threads.entry(*who).or_default().insert(*call, sum);
        }
        // Sums over several threads do not show what one of them does.
        for (who, calls) in threads.iter().filter(|(who, _)| !who.is_several()) {
            findings.extend(of_thread::findings(facts, *who, calls));
        }
        // Of futex calls, some threads may wake and others wait: only all threads of a process together show whether calls are in vain.
        if facts.asked.is_none() {
            findings.extend(of_process::findings(facts));
        }
    }
    findings.push(time(facts));
    if facts.length < LEAST {
        findings.push(too_short(facts.length));
    }
    findings
}

fn too_short(length: Duration) -> Finding {
    let words = format!(
        "{} is too short to judge whether calls are pointless: that takes {} at least.",
        units::duration(length),
        units::duration(LEAST)
    );
    Finding::plain(rules::TOO_SHORT, Severity::Limit, words)
}

/// No thread has a name that matches.
fn nobody(asked: &Asked) -> Finding {
    // A name may be empty, or have commas and spaces.
    let mut sentence =
        vec![Phrase::plain("No thread matches --thread '"), Phrase::Name(asked.pattern.clone())];
    for (place, name) in asked.names.iter().take(MOST_NAMES).enumerate() {
        sentence.push(Phrase::plain(if place == 0 { "'. The threads are named '" } else { "', '" }));
        sentence.push(Phrase::Name(name.clone()));
    }
    let more = asked.names.len().saturating_sub(MOST_NAMES);
    let end = if more > 0 { format!("' and {more} more names.") } else { "'.".to_owned() };
    sentence.push(Phrase::Plain(end));
    Finding::new(rules::NOTHING_SEEN, Severity::Limit, sentence)
}

/// A sentence on the calls of all threads, or of those that are asked for.
fn of_all(facts: &Facts<'_>, rule: &'static str, words: String) -> Finding {
    let severity = if rule == rules::NOTHING_SEEN { Severity::Limit } else { Severity::Info };
    let Some(asked) = facts.asked else { return Finding::plain(rule, severity, words) };
    let sentence = vec![
        Phrase::plain("Threads named "),
        Phrase::Name(asked.pattern.clone()),
        Phrase::Plain(format!(": {words}")),
    ];
    Finding::new(rule, severity, sentence)
}

/// A share of the time of one thread. If all calls that are not meant to wait take less, there is little to gain.
const LITTLE: f64 = 0.01;

/// Which call takes the most time, apart from calls that are meant to wait and those that probes make.
fn time(facts: &Facts<'_>) -> Finding {
    let mut calls: BTreeMap<u64, Sum> = BTreeMap::new();
    let mut rows: BTreeMap<u64, (u64, u16)> = BTreeMap::new();
    for ((who, call), sum) in facts.by.iter().filter(|((_, call), _)| !kinds::is_of_probes(*call)) {
        calls.entry(*call).or_default().add(sum);
        let most = rows.entry(*call).or_default();
        *most = (*most).max((sum.total_ns, who.space));
    }
    let all: u64 = calls.values().map(Sum::calls).sum();
    let working = calls.iter().filter(|(call, _)| !kinds::is_wait(**call));
    let total: u64 = working.clone().map(|(_, sum)| sum.total_ns).sum();
    let Some((call, sum)) = working.max_by_key(|(_, sum)| sum.total_ns).filter(|(_, sum)| sum.total_ns > 0)
    else {
        let (rule, words) = match all {
            0 => (
                rules::NOTHING_SEEN,
                format!(
                    "{} returned in {}.",
                    if facts.asked.is_some() { "no system call" } else { "No system call" },
                    units::duration(facts.length)
                ),
            ),
            _ => (
                rules::TIME,
                format!("{} system calls, all of them meant to wait.", units::count(all as f64)),
            ),
        };
        return of_all(facts, rule, words);
    };
    let share = sum.total_ns as f64 / total as f64;
    let quantile = sum
        .histogram()
        .quantile(0.99)
        .map_or_else(String::new, |p99| format!(", p99 {}", units::nanos(p99.middle())));
    let may_wait = native(*call).is_some_and(|call| kinds::READS.contains(&call));
    let (name, share) = (calls::call(*call), units::percent(share));
    let of_a_thread = total as f64 / facts.length.as_nanos().max(1) as f64;
    let most = match of_a_thread < LITTLE {
        true => format!(
            "Calls that are not meant to wait take little time ({} of one thread's); {name} takes {share} of it",
            units::percent(of_a_thread)
        ),
        false => format!("{name} takes {share} of the time in calls that are not meant to wait"),
    };
    let words = format!(
        "{most}{}: {}/s, {}/s of time{quantile}, {} of {} calls failed.",
        if may_wait { " (this may include waiting for data)" } else { "" },
        units::count(facts.rate(sum.calls())),
        units::nanos(facts.rate(sum.total_ns)),
        units::count(sum.failed() as f64),
        units::count(sum.calls() as f64),
    );
    let space = rows.get(call).map_or(0, |(_, space)| *space);
    of_all(facts, rules::TIME, words)
        .on(facts.row(space, *call))
        .because("calls", Unit::Count, Value::Exact(sum.calls()))
        .because("total_ns", Unit::Nanos, Value::Exact(sum.total_ns))
        .because("working_ns", Unit::Nanos, Value::Exact(total))
}

/// A finding on pointless work of a thread.
fn problem(facts: &Facts<'_>, who: Who, rule: &'static str, call: u64, words: String) -> Finding {
    let process = (facts.pid)(who.space).map_or_else(String::new, |pid| format!(" of process {pid}"));
    let mut sentence = match (facts.name)(who) {
        Some(name) => vec![
            Phrase::Plain("Thread ".to_owned()),
            Phrase::Name(name),
            Phrase::Plain(format!(" ({}{process})", who.tid)),
        ],
        None => vec![Phrase::Plain(format!("Thread {}{process}", who.tid))],
    };
    sentence.push(Phrase::Plain(format!(" {words}")));
    Finding::new(rule, Severity::Problem, sentence).on(facts.row(who.space, call)).because(
        "thread",
        Unit::None,
        Value::Exact(who.tid.into()),
    )
}

/// The share of calls that certainly took less. Calls in the bucket of the limit do not count.
fn share_below(sum: &Sum, limit_ns: u64) -> f64 {
    let histogram = sum.histogram();
    let below = histogram
        .buckets
        .iter()
        .filter(|(index, _)| histogram.range(*index).is_some_and(|(_, last)| last < limit_ns));
    let below: u64 = below.map(|(_, count)| count).sum();
    below as f64 / histogram.total().max(1) as f64
}

#[cfg(test)]
mod tests;

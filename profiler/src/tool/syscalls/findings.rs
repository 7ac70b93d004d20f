//! What is said of the calls: where the time goes, and work that is pointless.
//!
//! Every threshold is a constant here; `docs/syscalls.md` has them with their reasons. Rates are per second of the observation.

use std::{collections::BTreeMap, time::Duration};

use super::{
    kinds::{self, CLOCKS, FUTEX, LOOKUPS, POLLS, SENDS, SLEEPS, SYNCS, TRANSFERS},
    names,
    rows::{Sum, Who},
    rules,
    tables::OfCall,
};
use crate::{
    report::{Finding, Phrase, Severity, Unit, Value},
    text::Text,
    units,
};

/// Nothing is called pointless that was seen for less.
const LEAST: Duration = Duration::from_secs(1);
/// A thread spins if it polls this often per second,
const SPIN_PER_S: f64 = 1_000.0;
/// finds nothing ready in this share of the polls at least,
const SPIN_EMPTY: f64 = 0.9;
/// and this share of them returns within 50 us, so they do not wait.
const SPIN_SHORT: f64 = 0.9;
const SPIN_SHORT_NS: u64 = 50_000;
/// Transfers are tiny from this rate on, at so many bytes each in the mean.
const TINY_PER_S: f64 = 1_000.0;
const TINY_BYTES: f64 = 1.5;
/// Sends could be batched from this rate on, if there are so many of them for each time that the thread polls or sleeps.
const SENDS_PER_S: f64 = 5_000.0;
const SENDS_PER_TURN: f64 = 32.0;
/// A storm of EAGAIN: this rate, and this share of the calls.
const EAGAIN_PER_S: f64 = 1_000.0;
const EAGAIN_SHARE: f64 = 0.9;
/// Clocks are read through the kernel at this rate.
const CLOCKS_PER_S: f64 = 1_000.0;
/// A process makes so many futex calls per second, and half of them return within 20 us: they wake, or find nothing to wait for.
const FUTEX_PER_S: f64 = 20_000.0;
const FUTEX_SHORT: f64 = 0.5;
const FUTEX_SHORT_NS: u64 = 20_000;
/// Lookups of files that do not exist, per second.
const MISSING_PER_S: f64 = 100.0;
/// A thread is regular if it sleeps this often per second; a sync of this length is then longer than it may take.
const REGULAR_PER_S: f64 = 5.0;
const SYNC_NS: u64 = 10_000_000;

/// What findings are made from.
pub(super) struct Facts<'a> {
    /// By thread and call.
    pub(super) by: &'a BTreeMap<(Who, u64), Sum>,
    /// By call, of all threads, with the row in the table of calls.
    pub(super) calls: &'a [OfCall],
    pub(super) name: &'a dyn Fn(Who) -> Option<Text>,
    pub(super) length: Duration,
}

const EAGAIN: u64 = 11;
const ENOENT: u64 = 2;

/// All of them, the answer first unless something is pointless.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.length >= LEAST {
        let threads = by_thread(facts);
        for (who, calls) in &threads {
            findings.extend(of_thread(facts, *who, calls));
        }
        findings.extend(of_processes(facts, &threads));
    }
    findings.push(time(facts));
    findings
}

fn by_thread<'a>(facts: &Facts<'a>) -> BTreeMap<Who, BTreeMap<u64, &'a Sum>> {
    let mut threads: BTreeMap<Who, BTreeMap<u64, &Sum>> = BTreeMap::new();
    for ((who, call), sum) in facts.by {
        threads.entry(*who).or_default().insert(*call, sum);
    }
    threads
}

/// Where the time goes that is not spent waiting.
fn time(facts: &Facts<'_>) -> Finding {
    let seconds = facts.length.as_secs_f64().max(1e-9);
    let all: u64 = facts.calls.iter().map(|(_, sum, _)| sum.calls()).sum();
    let working = facts.calls.iter().filter(|(call, ..)| !kinds::is_wait(*call));
    let total: u64 = working.clone().map(|(_, sum, _)| sum.total_ns).sum();
    let most = working.max_by_key(|(_, sum, _)| sum.total_ns).filter(|(_, sum, _)| sum.total_ns > 0);
    let Some((call, sum, row)) = most else {
        let words = match all {
            0 => format!("No system call returned in {}.", units::duration(facts.length)),
            _ => format!("{} system calls, all of which only wait.", units::count(all as f64)),
        };
        return Finding::plain(
            if all == 0 { rules::NOTHING_SEEN } else { rules::TIME },
            Severity::Info,
            words,
        );
    };
    let share = sum.total_ns as f64 / total as f64;
    let quantile = sum
        .histogram()
        .quantile(0.99)
        .map_or_else(String::new, |p99| format!(", p99 {}", units::nanos(p99.middle())));
    let words = format!(
        "{} takes {} of the time in system calls that do not wait: {}/s, {}/s of time{quantile}, {} of {} calls failed.",
        names::call(*call),
        units::percent(share),
        units::count(sum.calls() as f64 / seconds),
        units::nanos(sum.total_ns as f64 / seconds),
        units::count(sum.failed() as f64),
        units::count(sum.calls() as f64),
    );
    Finding::plain(rules::TIME, Severity::Info, words)
        .on(row.iter().copied().collect())
        .because("calls", Unit::Count, Value::Exact(sum.calls()))
        .because("total_ns", Unit::Nanos, Value::Exact(sum.total_ns))
        .because("working_ns", Unit::Nanos, Value::Exact(total))
}

struct Said<'a> {
    facts: &'a Facts<'a>,
    who: Who,
}

impl Said<'_> {
    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.facts.length.as_secs_f64()
    }

    fn problem(&self, rule: &'static str, call: u64, words: String) -> Finding {
        let mut sentence = match (self.facts.name)(self.who) {
            Some(name) => vec![
                Phrase::Plain("Thread ".to_owned()),
                Phrase::Name(name),
                Phrase::Plain(format!(" ({})", self.who.tid)),
            ],
            None => vec![Phrase::Plain("Threads without a record of their own".to_owned())],
        };
        sentence.push(Phrase::Plain(format!(" {words}")));
        let row = self.facts.calls.iter().find(|(of, ..)| *of == call).and_then(|(_, _, row)| *row);
        Finding::new(rule, Severity::Problem, sentence).on(row.into_iter().collect()).because(
            "thread",
            Unit::None,
            Value::Exact(self.who.tid.into()),
        )
    }
}

fn of_thread(facts: &Facts<'_>, who: Who, calls: &BTreeMap<u64, &Sum>) -> Vec<Finding> {
    let said = Said { facts, who };
    let of =
        |kinds: &[u64]| kinds.iter().filter_map(|kind| Some((*kind, *calls.get(kind)?))).collect::<Vec<_>>();
    let mut findings = Vec::new();
    for (call, sum) in of(&POLLS) {
        findings.extend(spin(&said, call, sum));
    }
    for (call, sum) in of(&TRANSFERS) {
        findings.extend(tiny(&said, call, sum));
    }
    for (call, sum) in calls {
        findings.extend(eagain(&said, *call, sum));
    }
    findings.extend(sends(&said, &of(&SENDS), &of(&POLLS), &of(&SLEEPS)));
    findings.extend(clocks(&said, &of(&CLOCKS)));
    findings.extend(missing(&said, &of(&LOOKUPS)));
    findings.extend(syncs(&said, &of(&SYNCS), &of(&SLEEPS)));
    findings
}

fn spin(said: &Said<'_>, call: u64, sum: &Sum) -> Option<Finding> {
    let rate = said.rate(sum.returned);
    // A poll that finds something returns at least 1.
    let empty = sum.returned.saturating_sub(sum.results) as f64 / sum.returned.max(1) as f64;
    let short = share_below(sum, SPIN_SHORT_NS);
    (rate >= SPIN_PER_S && empty >= SPIN_EMPTY && short >= SPIN_SHORT).then(|| {
        let words = format!(
            "asks by {} {} times a second whether something is ready, and {} of the time nothing is: give it a timeout.",
            names::call(call),
            units::count(rate),
            units::percent(empty)
        );
        said.problem(rules::POLL_SPIN, call, words)
            .because("calls", Unit::Count, Value::Exact(sum.returned))
            .because("ready", Unit::Count, Value::Exact(sum.results))
    })
}

fn tiny(said: &Said<'_>, call: u64, sum: &Sum) -> Option<Finding> {
    let worked = sum.returned.saturating_sub(sum.failed());
    let mean = sum.results as f64 / worked.max(1) as f64;
    let rate = said.rate(worked);
    (rate >= TINY_PER_S && mean <= TINY_BYTES && sum.results > 0).then(|| {
        let words = format!(
            "calls {} {} times a second for {} byte(s) each: use a buffer.",
            names::call(call),
            units::count(rate),
            units::plain(mean)
        );
        said.problem(rules::TINY_TRANSFERS, call, words)
            .because("calls", Unit::Count, Value::Exact(worked))
            .because("bytes", Unit::Bytes, Value::Exact(sum.results))
    })
}

fn eagain(said: &Said<'_>, call: u64, sum: &Sum) -> Option<Finding> {
    // A futex whose value has changed meanwhile is how futexes work.
    if call == FUTEX {
        return None;
    }
    let count = sum.errors.get(&EAGAIN).copied().unwrap_or(0);
    let share = count as f64 / sum.returned.max(1) as f64;
    (said.rate(count) >= EAGAIN_PER_S && share >= EAGAIN_SHARE).then(|| {
        let words = format!(
            "calls {} {} times a second, and {} of the calls find nothing to do (EAGAIN): wait until something is ready.",
            names::call(call),
            units::count(said.rate(sum.returned)),
            units::percent(share)
        );
        said.problem(rules::EAGAIN_STORM, call, words)
            .because("calls", Unit::Count, Value::Exact(sum.returned))
            .because("eagain", Unit::Count, Value::Exact(count))
    })
}

fn sends(
    said: &Said<'_>,
    sends: &[(u64, &Sum)],
    polls: &[(u64, &Sum)],
    sleeps: &[(u64, &Sum)],
) -> Option<Finding> {
    let count = |of: &[(u64, &Sum)]| of.iter().map(|(_, sum)| sum.returned).sum::<u64>();
    let (sent, turns) = (count(sends), count(polls) + count(sleeps));
    let (call, _) = sends.iter().max_by_key(|(_, sum)| sum.returned)?;
    let per_turn = sent as f64 / turns.max(1) as f64;
    (turns > 0 && said.rate(sent) >= SENDS_PER_S && per_turn >= SENDS_PER_TURN).then(|| {
        let words = format!(
            "sends {} messages a second one by one, {} of them in each turn: sendmmsg sends many at once.",
            units::count(said.rate(sent)),
            units::count(per_turn)
        );
        said.problem(rules::UNBATCHED_SENDS, *call, words)
            .because("sends", Unit::Count, Value::Exact(sent))
            .because("turns", Unit::Count, Value::Exact(turns))
    })
}

fn clocks(said: &Said<'_>, clocks: &[(u64, &Sum)]) -> Option<Finding> {
    let (call, sum) = clocks.iter().max_by_key(|(_, sum)| sum.returned)?;
    let rate = said.rate(sum.returned);
    (rate >= CLOCKS_PER_S).then(|| {
        let words = format!(
            "reads a clock by {} {} times a second through the kernel: the vDSO has CLOCK_REALTIME and CLOCK_MONOTONIC \
             without a call, unless the clock source of this machine (/sys/devices/system/clocksource) has none.",
            names::call(*call),
            units::count(rate)
        );
        said.problem(rules::CLOCK_CALLS, *call, words).because("calls", Unit::Count, Value::Exact(sum.returned))
    })
}

fn missing(said: &Said<'_>, lookups: &[(u64, &Sum)]) -> Option<Finding> {
    let missing = |sum: &Sum| sum.errors.get(&ENOENT).copied().unwrap_or(0);
    let (call, sum) = lookups.iter().max_by_key(|(_, sum)| missing(sum))?;
    let rate = said.rate(missing(sum));
    (rate >= MISSING_PER_S).then(|| {
        let words = format!(
            "looks up files that do not exist by {} {} times a second: remember that they are missing.",
            names::call(*call),
            units::count(rate)
        );
        said.problem(rules::MISSING_FILES, *call, words).because(
            "missing",
            Unit::Count,
            Value::Exact(missing(sum)),
        )
    })
}

fn syncs(said: &Said<'_>, syncs: &[(u64, &Sum)], sleeps: &[(u64, &Sum)]) -> Option<Finding> {
    let slept: u64 = sleeps.iter().map(|(_, sum)| sum.returned).sum();
    let (call, sum) = syncs.iter().max_by_key(|(_, sum)| sum.max_ns)?;
    (said.rate(slept) >= REGULAR_PER_S && sum.max_ns >= SYNC_NS).then(|| {
        let words = format!(
            "sleeps {} times a second, and waited for the disk in between: {} of {}, the longest {}. Let another thread do it.",
            units::count(said.rate(slept)),
            units::plural(sum.returned as usize, "call", "calls"),
            names::call(*call),
            units::nanos(sum.max_ns as f64)
        );
        said.problem(rules::SYNC_IN_LOOP, *call, words)
            .because("calls", Unit::Count, Value::Exact(sum.returned))
            .because("max_ns", Unit::Nanos, Value::Exact(sum.max_ns))
    })
}

/// Storms of futex calls, by address space.
fn of_processes(facts: &Facts<'_>, threads: &BTreeMap<Who, BTreeMap<u64, &Sum>>) -> Vec<Finding> {
    let mut futexes: BTreeMap<u16, Sum> = BTreeMap::new();
    for (who, calls) in threads {
        if let Some(sum) = calls.get(&FUTEX) {
            futexes.entry(who.space).or_default().add(sum);
        }
    }
    let storm = |sum: &Sum| {
        let rate = sum.returned as f64 / facts.length.as_secs_f64();
        rate >= FUTEX_PER_S && share_below(sum, FUTEX_SHORT_NS) >= FUTEX_SHORT
    };
    let finding = |sum: &Sum| {
        let rate = sum.returned as f64 / facts.length.as_secs_f64();
        let words = format!(
            "Threads wake each other all the time: {} futex calls a second, {} of them within {}. A lock is contended, or \
             a condition is signalled for every item.",
            units::count(rate),
            units::percent(share_below(sum, FUTEX_SHORT_NS)),
            units::nanos(FUTEX_SHORT_NS as f64)
        );
        let row = facts.calls.iter().find(|(of, ..)| *of == FUTEX).and_then(|(_, _, row)| *row);
        Finding::plain(rules::FUTEX_STORM, Severity::Problem, words).on(row.into_iter().collect()).because(
            "calls",
            Unit::Count,
            Value::Exact(sum.returned),
        )
    };
    futexes.values().filter(|sum| storm(sum)).map(finding).collect()
}

/// The share of the calls that surely took less; those in the bucket of the limit do not count.
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

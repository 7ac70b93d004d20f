//! Findings: what stalls, how regularly, and which work on files is pointless.

pub(super) mod thresholds;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use self::thresholds::{
    LEAST_OPENS, LEAST_SMALL, OPENS_PER_S, SMALL_BYTES, SMALL_PER_S, STALL_NS, STALL_SHARE, WRITES_PER_SYNC,
};
use super::{
    before::Stuck,
    lines::{Line, Lines, What},
    operations::Operation,
    rules,
};
use crate::{
    io_tools::{Label, Turns, regular},
    observe::io::{Alive, Moment},
    report::{Finding, Phrase, RowRef, Severity, Unit, Value},
    stats::period::{self, Period, Phase, Verdict},
    text::Text,
    units,
};

/// What findings are made from.
pub(super) struct Facts<'a> {
    pub(super) lines: &'a Lines,
    /// The row of what was done, in the table of files.
    pub(super) row: &'a dyn Fn(&What) -> Vec<RowRef>,
    /// The function that did most of it.
    pub(super) caller: &'a dyn Fn(&Line) -> Option<Text>,
    /// The label of a file by its number.
    pub(super) label: &'a dyn Fn(u32) -> Label,
    pub(super) alive: &'a [Alive],
    /// When the observation began, on the monotonic clock in nanoseconds, and when it ended.
    pub(super) span_ns: (u64, u64),
    /// Threads that have been in an operation since before it began.
    pub(super) before: &'a [Stuck],
    /// Whether there were more slow operations than are known one by one.
    pub(super) misses_slow: bool,
}

impl Facts<'_> {
    fn length(&self) -> Duration {
        Duration::from_nanos(self.span_ns.1.saturating_sub(self.span_ns.0))
    }

    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.length().as_secs_f64().max(1e-9)
    }
}

/// All findings, the most important first.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let (mut stalls, mut others): (Vec<_>, Vec<_>) =
        stalls(facts).into_iter().partition(|stall| stall.turns.is_some());
    stalls.sort_by_key(|stall| std::cmp::Reverse((stall.period.is_some(), stall.total_ns)));
    others.sort_by_key(|stall| std::cmp::Reverse(stall.total_ns));
    let mut findings: Vec<Finding> =
        stalls.iter().filter(|stall| stall.period.is_some()).map(|stall| stall.finding(facts)).collect();
    findings.extend(trouble::failures(facts));
    findings.extend(trouble::stuck(facts));
    findings.extend(stalls.iter().filter(|stall| stall.period.is_none()).map(|stall| stall.finding(facts)));
    findings.extend(small_synced_writes(facts));
    let (pointless, usual): (Vec<_>, Vec<_>) =
        reread(facts).into_iter().partition(|finding| finding.severity == Severity::Problem);
    findings.extend(pointless);
    // The longest of each thread: a save writes, syncs and renames.
    let mut seen = BTreeSet::new();
    others.retain(|stall| seen.insert(stall.thread.tid));
    findings.extend(others.iter().map(|stall| stall.finding(facts)));
    findings.push(time(facts));
    findings.extend(usual);
    findings
}

fn named(file: &Label) -> Phrase {
    match file {
        Label::Known(name) => Phrase::Name(name.clone()),
        Label::Unknown(_) => Phrase::plain("a file that is not known"),
    }
}

/// A thread waits for a file.
struct Stall<'a> {
    what: &'a What,
    line: &'a Line,
    thread: &'a Alive,
    /// If it works in turns.
    turns: Option<Turns>,
    /// Its stalls there.
    count: usize,
    total_ns: u64,
    shortest_ns: u64,
    longest_ns: u64,
    period: Option<Period>,
}

/// Stalls of threads that work in turns, and those of others that have a period: in syncs, in faults of mapped files, in writes, and in reads
/// for which a device was asked.
fn stalls<'a>(facts: &Facts<'a>) -> Vec<Stall<'a>> {
    let mut stalls = Vec::new();
    let threads: Vec<(&Alive, Option<Turns>)> =
        facts.alive.iter().map(|thread| (thread, regular(&thread.turns, facts.length()))).collect();
    for (what, line) in facts.lines {
        let is_read = what.operation == Operation::Read;
        let may_wait = what.operation.is_sync()
            || is_read
            || matches!(what.operation, Operation::Write | Operation::Fault);
        for (thread, turns) in threads.iter().filter(|_| may_wait) {
            if thread.space != what.space {
                continue;
            }
            let of_turn = turns.map_or(0.0, |turns| turns.usual_ns as f64 * STALL_SHARE);
            let least_ns = STALL_NS.max(of_turn as u64);
            let own = |moment: &&Moment| {
                moment.waits
                    && moment.tid == thread.tid
                    && moment.duration_ns >= least_ns
                    && (moment.is_fetched || !is_read)
            };
            let own: Vec<&Moment> = line.slow.iter().filter(own).collect();
            let durations = || own.iter().map(|moment| moment.duration_ns);
            let (Some(shortest_ns), Some(longest_ns)) = (durations().min(), durations().max()) else {
                continue;
            };
            let times: Vec<u64> = own.iter().map(|moment| moment.start_ns).collect();
            let (begin_ns, end_ns) = facts.span_ns;
            let period = match period::find(&times, begin_ns, end_ns) {
                Verdict::Periodic(period) => Some(period),
                Verdict::TooFew { .. } | Verdict::NotPeriodic { .. } => None,
            };
            if turns.is_none() && period.is_none() {
                continue;
            }
            let (count, total_ns) = (own.len(), durations().sum());
            stalls.push(Stall {
                what,
                line,
                thread,
                turns: *turns,
                count,
                total_ns,
                shortest_ns,
                longest_ns,
                period,
            });
        }
    }
    stalls
}

impl Stall<'_> {
    fn finding(&self, facts: &Facts<'_>) -> Finding {
        let (low, high) = (units::nanos(self.shortest_ns as f64), units::nanos(self.longest_ns as f64));
        let took = if low == high { high } else { format!("{low} to {high}") };
        let often = match &self.period {
            Some(period) if self.turns.is_none() => {
                format!("Every {} thread ", units::nanos(period.period_ns.value))
            }
            Some(period) => format!("STALL: every {} thread ", units::nanos(period.period_ns.value)),
            None if facts.misses_slow => {
                format!("STALL: at least {} thread ", units::plural(self.count, "time", "times"))
            }
            None => format!("STALL: {} thread ", units::plural(self.count, "time", "times")),
        };
        let counted = |count: u64| match facts.misses_slow {
            true => Value::Estimate { value: count as f64, low: count as f64, high: None },
            false => Value::Exact(count),
        };
        let in_turns = self.turns.map_or_else(String::new, |turns| {
            format!(", which works in turns of about {},", units::nanos(turns.usual_ns as f64))
        });
        let mut sentence = vec![
            Phrase::Plain(often),
            Phrase::Name(self.thread.name.clone()),
            Phrase::Plain(format!("{in_turns} waits {took} in {} of ", self.what.operation.name())),
            named(&self.what.file),
        ];
        if let Some(caller) = (facts.caller)(self.line) {
            sentence.extend([Phrase::plain(", called by "), Phrase::Name(caller)]);
        }
        sentence.push(Phrase::Plain(match &self.period {
            Some(period) => format!("; {}.", manner(period)),
            None => ".".to_owned(),
        }));
        let (rule, severity) = match (self.turns, &self.period) {
            (None, _) => (rules::PERIODIC, Severity::Info),
            (_, Some(_)) => (rules::PERIODIC_STALL, Severity::Problem),
            (_, None) => (rules::WAIT_IN_LOOP, Severity::Problem),
        };
        let finding = Finding::new(rule, severity, sentence)
            .on((facts.row)(self.what))
            .because("stalls", Unit::Count, counted(self.count as u64))
            .because("total_ns", Unit::Nanos, counted(self.total_ns))
            .because("longest_ns", Unit::Nanos, counted(self.longest_ns))
            .because("thread", Unit::None, Value::Exact(self.thread.tid.into()));
        let finding = match self.turns {
            Some(turns) => finding.because("turn_ns", Unit::Nanos, Value::known(turns.usual_ns as f64)),
            None => finding,
        };
        match &self.period {
            Some(period) => finding
                .because(
                    "period_ns",
                    Unit::Nanos,
                    Value::estimate(period.period_ns.value, period.period_ns.low, period.period_ns.high),
                )
                .because("jitter", Unit::Ratio, Value::known(period.jitter))
                .because("missing_beats", Unit::Count, Value::Exact(period.missing as u64))
                .because("false_alarm", Unit::Ratio, Value::known(period.false_alarm)),
            None => finding,
        }
    }
}

/// How regular a period is, and what that rests on.
fn manner(period: &Period) -> String {
    let phase = match period.phase {
        Phase::Locked => "phase-locked, ",
        Phase::Drifting => "each counted from the one before, ",
        Phase::Unclear => "",
    };
    let missing = match period.missing {
        0 => String::new(),
        missing => format!(", {missing} missing"),
    };
    format!(
        "{phase}{} beats{missing}, {} confidence by the {}",
        period.seen,
        units::percent(1.0 - period.false_alarm),
        period.test.name()
    )
}

/// Another operation on the same file.
fn beside<'a>(facts: &Facts<'a>, what: &What, is: fn(Operation) -> bool) -> Option<(u64, u64)> {
    let of_file = facts
        .lines
        .iter()
        .filter(|(of, _)| of.space == what.space && of.file == what.file && is(of.operation));
    of_file
        .map(|(_, line)| (line.sum.count, line.sum.total_ns))
        .reduce(|one, other| (one.0 + other.0, one.1 + other.1))
}

/// A file to which little is written at a time, and which is synced each time.
fn small_synced_writes(facts: &Facts<'_>) -> Vec<Finding> {
    let of = |(what, line): (&What, &Line)| {
        if what.operation != Operation::Write {
            return None;
        }
        let (syncs, sync_ns) = beside(facts, what, Operation::is_sync)?;
        let mean = line.sum.bytes as f64 / line.sum.count.max(1) as f64;
        let is_small = syncs >= LEAST_SMALL
            && facts.rate(syncs) >= SMALL_PER_S
            && mean <= SMALL_BYTES
            && line.sum.count as f64 <= WRITES_PER_SYNC * syncs as f64;
        let sentence = vec![
            Phrase::Plain(format!(
                "WRITE AMPLIFICATION: {} writes of {} on average to ",
                units::count(line.sum.count as f64),
                units::bytes(mean)
            )),
            named(&what.file),
            Phrase::Plain(format!(
                ", and {} syncs, which took {}: on a device, each writes 4 KiB or more.",
                units::count(syncs as f64),
                units::nanos(sync_ns as f64)
            )),
        ];
        let finding =
            Finding::new(rules::SMALL_SYNCED_WRITES, Severity::Problem, sentence).on((facts.row)(what));
        is_small.then(|| {
            finding
                .because("writes", Unit::Count, Value::Exact(line.sum.count))
                .because("bytes", Unit::Bytes, Value::Exact(line.sum.bytes))
                .because("syncs", Unit::Count, Value::Exact(syncs))
                .because("sync_ns", Unit::Nanos, Value::Exact(sync_ns))
        })
    };
    facts.lines.iter().filter_map(of).collect()
}

/// Where the kernel keeps files that are on no device.
const OF_KERNEL: [&str; 2] = ["/proc/", "/sys/"];
/// Where files change without a write that is seen: those, and memory that processes share.
const LIVE: [&str; 3] = ["/proc/", "/sys/", "/dev/"];

fn is_in(file: &Label, places: &[&str]) -> bool {
    matches!(file, Label::Known(name) if places.iter().any(|place| name.raw().starts_with(place.as_bytes())))
}

/// A file that is opened and read again and again, and not written by the targets. A thread that works in turns does so for nothing: the file is the
/// same in each turn. Another one may be asked for it each time, as a web server is.
fn reread(facts: &Facts<'_>) -> Vec<Finding> {
    let of = |(what, line): (&What, &Line)| {
        let opens = line.sum.count - line.sum.errors;
        if what.operation != Operation::Open
            || is_in(&what.file, &LIVE)
            || opens < LEAST_OPENS
            || facts.rate(opens) < OPENS_PER_S
        {
            return None;
        }
        let (reads, _) = beside(facts, what, |operation| operation == Operation::Read)?;
        // Another target may write it.
        let written = |of: &What| of.file == what.file && of.operation == Operation::Write;
        if reads < opens || facts.lines.keys().any(written) {
            return None;
        }
        let in_turns = line.thread().is_some_and(|name| {
            let is_it = |thread: &&Alive| thread.space == what.space && thread.name == *name;
            facts.alive.iter().filter(is_it).any(|thread| regular(&thread.turns, facts.length()).is_some())
        });
        let severity = if in_turns { Severity::Problem } else { Severity::Info };
        let mut sentence: Vec<Phrase> = in_turns.then(|| Phrase::plain("REREAD: ")).into_iter().collect();
        sentence.extend([
            named(&what.file),
            Phrase::Plain(format!(
                " is opened and read {} times a second, and not written by the targets",
                units::count(facts.rate(opens))
            )),
        ]);
        if let Some(caller) = (facts.caller)(line) {
            sentence.extend([Phrase::plain(", by "), Phrase::Name(caller)]);
        }
        sentence.push(Phrase::plain("."));
        let finding = Finding::new(rules::REREAD, severity, sentence).on((facts.row)(what));
        Some(finding.because("opens", Unit::Count, Value::Exact(opens)).because(
            "reads",
            Unit::Count,
            Value::Exact(reads),
        ))
    };
    facts.lines.iter().filter_map(of).collect()
}

/// Which file and operation take the most time.
fn time(facts: &Facts<'_>) -> Finding {
    let count: u64 = facts.lines.values().map(|line| line.sum.count).sum();
    let total: u64 = facts.lines.values().map(|line| line.sum.total_ns).sum();
    // Processes that do the same to the same file count together.
    let mut together: BTreeMap<(&Label, Operation), (u64, Vec<&What>)> = BTreeMap::new();
    for (what, line) in facts.lines {
        let (total_ns, rows) = together.entry((&what.file, what.operation)).or_default();
        *total_ns += line.sum.total_ns;
        rows.push(what);
    }
    let most = together.into_iter().max_by_key(|(_, (total_ns, _))| *total_ns);
    let Some(((file, operation), (most_ns, rows))) = most else {
        let words = format!("No operation on a file ended in {}.", units::duration(facts.length()));
        return Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words);
    };
    let share = units::percent(most_ns as f64 / total.max(1) as f64);
    let of_a_thread = units::percent(total as f64 / facts.length().as_nanos().max(1) as f64);
    let sentence = vec![
        Phrase::Plain(format!(
            "{} operations on files took {} ({of_a_thread} of one thread's time); {share} of it is {} of ",
            units::count(count as f64),
            units::nanos(total as f64),
            operation.name(),
        )),
        named(file),
        Phrase::plain("."),
    ];
    Finding::new(rules::TIME, Severity::Info, sentence)
        .on(rows.into_iter().flat_map(|what| (facts.row)(what)).collect())
        .because("operations", Unit::Count, Value::Exact(count))
        .because("total_ns", Unit::Nanos, Value::Exact(total))
}

#[cfg(test)]
mod tests;

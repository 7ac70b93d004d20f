//! Findings: what stalls, how regularly, and which work on files is pointless.

mod stalls;
pub(super) mod thresholds;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use self::thresholds::{LEAST_OPENS, LEAST_SMALL, OPENS_PER_S, SMALL_BYTES, SMALL_PER_S, WRITES_PER_SYNC};
use super::{
    before::Stuck,
    lines::{Line, Lines, What},
    operations::Operation,
    rules,
};
use crate::{
    io_tools::{Label, regular},
    observe::io::Alive,
    report::{Finding, Phrase, RowRef, Severity, Unit, Value},
    text::Text,
    units,
};

/// What findings are made from.
pub(super) struct Facts<'a> {
    pub(super) lines: &'a Lines,
    /// The row of what was done, in the table of files.
    pub(super) row: &'a dyn Fn(&What) -> Vec<RowRef>,
    /// The function that a stack is called from.
    pub(super) caller: &'a dyn Fn(Option<u32>) -> Option<Text>,
    /// The label of a file by its number.
    pub(super) label: &'a dyn Fn(u32) -> Label,
    pub(super) alive: &'a [Alive],
    /// When the observation began, on the monotonic clock in nanoseconds, and when it ended.
    pub(super) span_ns: (u64, u64),
    /// Threads that have been in an operation since before it began.
    pub(super) before: &'a [Stuck],
    /// Whether a thread that is in an operation waits for something else than a file.
    pub(super) waits_elsewhere: &'a dyn Fn(u32) -> bool,
    /// Operations that do so for most of the time for which they wait.
    pub(super) elsewhere: &'a BTreeSet<What>,
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
    let (stalls, others) = stalls::find(facts);
    let mut findings: Vec<Finding> =
        stalls.iter().filter(|stall| stall.period.is_some()).map(|stall| stall.finding(facts)).collect();
    findings.extend(trouble::failures(facts));
    findings.extend(trouble::stuck(facts));
    findings.extend(stalls.iter().filter(|stall| stall.period.is_none()).map(|stall| stall.finding(facts)));
    findings.extend(small_synced_writes(facts));
    let (pointless, usual): (Vec<_>, Vec<_>) =
        reread(facts).into_iter().partition(|finding| finding.severity == Severity::Problem);
    findings.extend(pointless);
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
        // Files without a name may be many.
        if what.operation != Operation::Write || matches!(what.file, Label::Unknown(_)) {
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
/// Where files change without a write that is seen: `/proc`, `/sys`, devices, and memory that processes share (`/dev/shm`).
const LIVE: [&str; 3] = ["/proc/", "/sys/", "/dev/"];

fn is_in(file: &Label, places: &[&str]) -> bool {
    matches!(file, Label::Known(name) if places.iter().any(|place| name.raw().starts_with(place.as_bytes())))
}

/// Whether this changes a file.
fn changes(of: Operation) -> bool {
    use Operation::{Fallocate, Msync, Rename, Truncate, Write};
    matches!(of, Write | Truncate | Fallocate | Msync | Rename)
}

/// A file that is opened and read again and again, and not written by the targets. A thread that works in turns does so for nothing: the file is the
/// same in each turn. Another one may be asked for it each time, as a web server is.
fn reread(facts: &Facts<'_>) -> Vec<Finding> {
    let of = |(what, line): (&What, &Line)| {
        let opens = line.sum.count - line.sum.errors;
        // Files without a name may be many, and one that was replaced meanwhile has something new.
        if matches!(what.file, Label::Unknown(_))
            || line.is_several
            || what.operation != Operation::Open
            || is_in(&what.file, &LIVE)
            || opens < LEAST_OPENS
            || facts.rate(opens) < OPENS_PER_S
        {
            return None;
        }
        let (reads, _) = beside(facts, what, |operation| operation == Operation::Read)?;
        // Another target may change it.
        if reads < opens || facts.lines.keys().any(|of| of.file == what.file && changes(of.operation)) {
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
        if let Some(caller) = (facts.caller)(line.stack) {
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

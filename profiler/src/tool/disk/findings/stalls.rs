//! Threads that wait for files again and again, and how regularly.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use profiler_common::record::NO_STACK;

use super::{
    Facts, named,
    thresholds::{STALL_NS, STALL_SHARE},
};
use crate::{
    io_tools::{Turns, regular},
    observe::io::{Alive, Moment},
    report::{Finding, Phrase, Severity, Unit, Value},
    stats::period::{self, Period, Phase, Verdict},
    tool::disk::{lines::What, operations::Operation, rules},
    units,
};

/// How many combinations of thread, operation and file are searched for a period, of threads that do not work in turns: those with the most time. A
/// search takes a few milliseconds at most ([`period::find`]).
const MOST_SEARCHED: usize = 64;

/// A thread waits for a file.
pub(super) struct Stall<'a> {
    what: &'a What,
    thread: &'a Alive,
    /// If it works in turns.
    turns: Option<Turns>,
    /// Its stalls there.
    count: usize,
    total_ns: u64,
    shortest_ns: u64,
    longest_ns: u64,
    /// The stack with most of the time.
    stack: Option<u32>,
    pub(super) period: Option<Period>,
}

/// Operations in which threads wait: syncs, faults of mapped files, writes, and reads for which a device was asked. Those of threads that work in
/// turns, the worst first, and of each other thread the one with the most time among those that have a period.
pub(super) fn find<'a>(facts: &Facts<'a>) -> (Vec<Stall<'a>>, Vec<Stall<'a>>) {
    let (mut stalls, mut others): (Vec<_>, Vec<_>) =
        candidates(facts).into_iter().partition(|(stall, _)| stall.turns.is_some());
    others.sort_by_key(|(stall, _)| Reverse(stall.total_ns));
    others.truncate(MOST_SEARCHED);
    for (stall, times) in stalls.iter_mut().chain(&mut others) {
        let (begin_ns, end_ns) = facts.span_ns;
        stall.period = match period::find(times, begin_ns, end_ns) {
            Verdict::Periodic(period) => Some(period),
            Verdict::TooFew { .. } | Verdict::NotPeriodic { .. } => None,
        };
    }
    stalls.sort_by_key(|(stall, _)| Reverse((stall.period.is_some(), stall.total_ns)));
    // A save writes, syncs and renames: one of them stands for all.
    let mut seen = BTreeSet::new();
    others.retain(|(stall, _)| stall.period.is_some() && seen.insert(stall.thread.tid));
    let without_times = |of: Vec<(Stall<'a>, Vec<u64>)>| of.into_iter().map(|(stall, _)| stall).collect();
    (without_times(stalls), without_times(others))
}

/// All waits of a thread in one operation on one file, and when they began.
fn candidates<'a>(facts: &Facts<'a>) -> Vec<(Stall<'a>, Vec<u64>)> {
    let mut all = Vec::new();
    let threads: HashMap<(u16, u32), (&Alive, Option<Turns>)> =
        facts.alive.iter().map(|of| ((of.space, of.tid), (of, regular(&of.turns, facts.length())))).collect();
    for (what, line) in facts.lines {
        let is_read = what.operation == Operation::Read;
        if !(what.operation.is_sync()
            || is_read
            || matches!(what.operation, Operation::Write | Operation::Fault))
            || facts.elsewhere.contains(what)
        {
            continue;
        }
        let mut by_thread: BTreeMap<u32, Vec<&Moment>> = BTreeMap::new();
        for moment in line.slow.iter().filter(|moment| moment.waits && (moment.is_fetched || !is_read)) {
            by_thread.entry(moment.tid).or_default().push(moment);
        }
        for (tid, mut own) in by_thread {
            let Some((thread, turns)) = threads.get(&(what.space, tid)) else { continue };
            let of_turn = turns.map_or(0.0, |turns| turns.usual_ns as f64 * STALL_SHARE);
            let least_ns = STALL_NS.max(of_turn as u64);
            own.retain(|moment| moment.duration_ns >= least_ns);
            let durations = || own.iter().map(|moment| moment.duration_ns);
            let (Some(shortest_ns), Some(longest_ns)) = (durations().min(), durations().max()) else {
                continue;
            };
            let stall = Stall {
                what,
                thread,
                turns: *turns,
                count: own.len(),
                total_ns: durations().sum(),
                shortest_ns,
                longest_ns,
                stack: stack_of(&own),
                period: None,
            };
            all.push((stall, own.iter().map(|moment| moment.start_ns).collect()));
        }
    }
    all
}

/// The stack with most of the time, of those that are known.
fn stack_of(moments: &[&Moment]) -> Option<u32> {
    let mut stacks: BTreeMap<u32, u64> = BTreeMap::new();
    for moment in moments.iter().filter(|moment| moment.stack != NO_STACK) {
        *stacks.entry(moment.stack).or_default() += moment.duration_ns;
    }
    stacks.into_iter().max_by_key(|(_, total_ns)| *total_ns).map(|(stack, _)| stack)
}

impl Stall<'_> {
    pub(super) fn finding(&self, facts: &Facts<'_>) -> Finding {
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
        if let Some(caller) = (facts.caller)(self.stack) {
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

//! Turns the counts into parts of the report: findings, ledger, stacks, and threads from which no event came.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    io::Read as _,
};

use profiler_common::{
    ledger::{Class, Ledger as _},
    record::NO_STACK,
    syscalls::{COMPAT, Counter},
};

use super::{
    counted::Counted,
    findings::{Facts, findings},
    rows::{Rows, Who},
    rules,
    slow::Listed,
    tables::{Caller, Single},
};
use crate::{
    capture::cost::threads,
    observe::{Observation, Part, space::Space},
    report::{Finding, Severity, Unit, Value, identity::identify},
    stack::own::{Named, Weight},
    target::{process::threads_of, stat::ticks_before},
    text::Text,
    units,
};

/// The findings, in order.
pub(super) fn said(facts: &Facts<'_>, losses: &[String]) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Some(first) = losses.first() {
        let words = format!("The data are incomplete: {first}.");
        all.push(Finding::plain(rules::INCOMPLETE, Severity::Limit, words));
    } else {
        all.extend(findings(facts));
    }
    all
}

/// Operations that were submitted to rings of io_uring.
pub(super) fn uring(counted: &Counted) -> BTreeMap<(u16, u32), u64> {
    counted.uring.iter().map(|(key, count)| ((key.space as u16, key.operation), *count)).collect()
}

/// Says that io_uring is in use: its operations are not in the tables of calls.
pub(super) fn io_uring(uring: &BTreeMap<(u16, u32), u64>) -> Option<Finding> {
    let all: u64 = uring.values().sum();
    (all > 0).then(|| {
        let words = format!(
            "{} operations went through io_uring: they are counted by kind, and are in no other table.",
            units::count(all as f64)
        );
        Finding::plain(rules::IO_URING, Severity::Info, words).because(
            "operations",
            Unit::Count,
            Value::Exact(all),
        )
    })
}

/// Writes the ledger, and what its losses mean.
pub(super) fn account(counted: &Counted, part: &mut Part, processes: usize) {
    let counters = counted.ledger();
    part.account::<Counter>(&counters);
    let count = |counter: Counter| counters[counter.index()];
    let lost: u64 = Counter::ALL.iter().filter(|c| c.class() == Class::Lost).map(|c| count(*c)).sum();
    let advice = advice(processes);
    if lost > 0 {
        let hits = units::count(lost as f64);
        part.losses.push(format!(
            "{hits} hits were lost because there was no room for so many names of threads and calls (docs/syscalls.md), or the \
             kernel had no memory: {advice}"
        ));
    }
    let more = LOSSES.iter().filter(|(counter, _)| count(*counter) > 0);
    part.losses.extend(
        more.map(|(counter, what)| format!("{} {what}: {advice}", units::count(count(*counter) as f64))),
    );
}

/// What helps against full tables. They have rows by target, thread name and call.
fn advice(processes: usize) -> &'static str {
    match processes {
        0 | 1 => "give its threads fewer different names",
        _ => "observe fewer processes, or give their threads fewer different names",
    }
}

/// Losses that are not hits.
const LOSSES: [(Counter, &str); 2] = [
    (
        Counter::ErrorLost,
        "errors were not counted because the table of errors is full, or the kernel had no memory",
    ),
    (
        Counter::UringLost,
        "operations of io_uring were not counted because their table is full, or the kernel had no memory",
    ),
];

/// Says that calls are missing from the table of callers, if it or the table of stacks had no room. All other tables have them. Calls
/// without a stack are in a row of their own, but not those of `children`.
pub(super) fn callers_lost(counted: &Counted, children: bool) -> Option<Finding> {
    let without_stack = if children { counted.counter(Counter::StackTableFull) } else { 0 };
    let lost = counted.counter(Counter::CallerLost) + without_stack;
    (lost > 0).then(|| {
        let words = format!(
            "{} calls are missing from the table of callers because it is full: --stacks slow takes fewer stacks, and \
             --max-stacks makes room for more. The other tables have all calls.",
            units::count(lost as f64)
        );
        Finding::plain(rules::CALLERS_LOST, Severity::Limit, words)
    })
}

/// Names the stacks that were taken, and adds them to the part.
pub(super) fn stacks(
    listed: &[Listed],
    on: &Observation<'_>,
    counted: &Counted,
    part: &mut Part,
) -> (Vec<Caller>, Vec<Single>) {
    let mut weights: BTreeMap<u32, Weight> = BTreeMap::new();
    for (key, caller) in &counted.callers {
        let weight = weights.entry(key.stack).or_insert(Weight { stack: key.stack, ..Weight::default() });
        weight.things += caller.count;
    }
    for Listed { call: single, .. } in listed {
        weights.entry(single.stack()).or_insert(Weight {
            stack: single.stack(),
            things: 1,
            ..Weight::default()
        });
    }
    let walked = weights.values().map(|weight| (weight.stack, weight.things));
    // A call may have no stack because none was asked for, or because the table was full. Only the latter counts as a failed walk.
    let without = counted.counter(Counter::StackTableFull);
    part.walked = walked.filter(|(stack, _)| *stack != NO_STACK).chain([(NO_STACK, without)]).collect();
    let weights: Vec<Weight> = weights.into_values().collect();
    let named = Named::new(&weights, |number, frames| on.stack_of(number, frames));
    let (found, frames) = named.report(weights.iter().map(|weight| weight.stack));
    let mut places: BTreeMap<u32, usize> = BTreeMap::new();
    for (weight, stack) in weights.iter().zip(found) {
        if let Some(stack) = stack {
            places.insert(weight.stack, part.stacks.len());
            part.stacks.push(stack);
        }
    }
    part.frames = frames;
    identify(&mut part.stacks, &part.frames);
    let place = |stack: u32| places.get(&stack).copied();
    let callers = counted.callers.iter().map(|(key, caller)| Caller {
        space: key.space as u16,
        call: key.call,
        count: caller.count,
        total_ns: caller.total_ns,
        stack: place(key.stack),
        id: place(key.stack).map_or_else(String::new, |at| part.stacks[at].id.clone()),
        name: named.own(key.stack).map(|own| own.label.clone()),
    });
    let singles = listed.iter().map(|Listed { call, path }| Single {
        call: *call,
        path: path.clone(),
        space: call.space(),
        stack: place(call.stack()),
    });
    (callers.collect(), singles.collect())
}

/// The names of all threads, also of those that made no call.
pub(super) fn names(on: &Observation<'_>, rows: &Rows) -> BTreeSet<Text> {
    let alive = on.spaces.iter().filter(|space| space.ended.is_none());
    let now = alive.flat_map(|space| threads_of(space.process.pid())).filter_map(threads::name);
    now.chain(rows.names.values().cloned()).collect()
}

/// Threads that are in a call, and from which no event came, with that call: it began before the observation.
pub(super) fn waiting(on: &Observation<'_>, counted: &Counted) -> Vec<(Who, u64)> {
    let known: HashSet<u32> = counted.threads.iter().map(|thread| thread.tid).collect();
    let began_ticks = ticks_before(on.began.elapsed());
    let alive = on.spaces.iter().filter(|space| space.ended.is_none());
    let of_space = |space: &Space| {
        let waiting = waiting_in(space.process.pid(), &known, began_ticks).into_iter();
        let number = space.number;
        waiting.map(move |(tid, call)| (Who { space: number, tid }, call))
    };
    alive.flat_map(of_space).collect()
}

/// The same for one process. Threads that began after `began_ticks` are left out: their calls may have begun after the counts were read.
fn waiting_in(pid: u32, known: &HashSet<u32>, began_ticks: u64) -> Vec<(u32, u64)> {
    let kind = if is_32_bit(pid) { COMPAT } else { 0 };
    let unknown = threads_of(pid).filter(|tid| !known.contains(tid));
    let in_call = unknown.filter_map(|tid| {
        let text = fs::read_to_string(format!("/proc/{tid}/syscall")).ok()?;
        // The file has `running`, or a number and its arguments; -1 if the thread is in the kernel for another reason.
        let number: u32 = text.split_whitespace().next()?.parse().ok()?;
        Some((tid, kind | u64::from(number)))
    });
    in_call.filter(|(tid, _)| !threads::began_after(*tid, began_ticks)).collect()
}

/// Whether a process runs a 32-bit program, whose calls have the numbers of i386.
fn is_32_bit(pid: u32) -> bool {
    // The magic number, and the class: ELFCLASS32.
    let mut start = [0; 5];
    let read = fs::File::open(format!("/proc/{pid}/exe")).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *b"\x7fELF\x01"
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::unix::net::UnixStream,
        sync::mpsc::channel,
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::target::stat::ticks_now;

    #[test]
    fn a_call_of_a_thread_that_began_later_is_not_from_before_the_start() {
        let began_ticks = ticks_now();
        while ticks_now() <= began_ticks {
            thread::yield_now();
        }
        let (mut end, mut ends) = UnixStream::pair().unwrap();
        let (tell, told) = channel();
        let waits = thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            ends.read_exact(&mut [0]).unwrap();
        });
        let tid = told.recv().unwrap();
        let of = |known: &[u32], began_ticks| {
            let known = known.iter().copied().collect();
            waiting_in(std::process::id(), &known, began_ticks).into_iter().find(|(of, _)| *of == tid)
        };
        let begun = Instant::now();
        // recvfrom; until the thread waits in it, it runs.
        while of(&[], ticks_now()) != Some((tid, 45)) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", of(&[], ticks_now()));
            thread::yield_now();
        }
        assert_eq!((of(&[], began_ticks), of(&[tid], ticks_now())), (None, None));
        end.write_all(&[0]).unwrap();
        waits.join().unwrap();
    }

    #[test]
    fn this_program_is_64_bit() {
        assert!(!is_32_bit(std::process::id()));
        assert!(!is_32_bit(u32::MAX / 2));
    }
}

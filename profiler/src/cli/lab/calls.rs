//! `profiler __calls`

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use profiler::{
    error::Result,
    lab::{
        calls::{Alone, Finished},
        empty_calls::Floor,
    },
    tool::syscalls::probes::Limits,
};
use profiler_common::{
    ledger::Class,
    syscalls::{
        Caller, CallerKey, Cell, Counter, ErrorKey, HAS_ENDED, IN_CALL, Probe, SlowCall, Thread, UringKey,
    },
};
use serde_json::{Value, json};

use super::{Done, args::CallsArgs, observe, print_json, stop::Stop};

/// Interval at which the ring is read.
const PAUSE: Duration = Duration::from_millis(20);

/// Attaches, says so, and waits to be interrupted; then prints what was counted as JSON.
pub(crate) fn run(args: &CallsArgs) -> Done {
    observe::require_root()?;
    if args.floor {
        let floor = Floor::attach()?;
        wait(|| {})?;
        drop(floor);
        return print_json(&json!({}));
    }
    let limits = Limits {
        slots: args.slots,
        threads: args.threads,
        cells: args.cells,
        list_ns: args.slow,
        stacks: args.stacks.into(),
        stack_ns: args.slow,
        ..Limits::default()
    };
    let mut alone = Alone::attach(&args.pid, limits, args.children)?;
    wait(|| alone.drain())?;
    let Finished { counted, slow, verified, entered_threads } = alone.finish()?;
    let verified: BTreeMap<_, _> = verified.into_iter().collect();
    let cells: Vec<Value> = counted.cells.iter().map(|cell| of_cell(cell, &counted.errors)).collect();
    let callers: Vec<Value> = counted.callers.iter().map(of_caller).collect();
    print_json(&json!({
        "cells": cells,
        "threads": counted.threads.iter().map(of_thread).collect::<Vec<_>>(),
        "callers": callers,
        "uring": of_uring(&counted.uring),
        "slow": slow.iter().map(of_slow).collect::<Vec<_>>(),
        "ledger": of_ledger(&counted.ledger()),
        "entered_threads": entered_threads,
        "verified_insns": verified,
    }))
}

/// Says that it is attached, and waits to be interrupted.
fn wait(mut look: impl FnMut()) -> Result<()> {
    observe::event_loop()?.block_on(async {
        let mut signals = Stop::listen(1)?;
        let mut stop = std::pin::pin!(signals.next());
        // Measuring programs wait for this line. If it cannot be written, nobody reads it.
        let _ = writeln!(std::io::stderr(), "attached");
        while tokio::time::timeout(PAUSE, &mut stop).await.is_err() {
            look();
        }
        Ok(())
    })
}

/// By probe and outcome.
fn of_ledger(ledger: &[u64]) -> Value {
    let mut by_probe: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for (counter, count) in Counter::ALL.iter().zip(ledger) {
        by_probe.entry(counter.probe().name()).or_default().insert(counter.name(), *count);
    }
    for probe in Probe::ALL {
        let of = |wanted: fn(Class) -> bool| -> u64 {
            let counters = Counter::ALL.iter().zip(ledger);
            counters.filter(|(c, _)| c.probe() == *probe && wanted(c.class())).map(|(_, count)| count).sum()
        };
        let hits = of(|class| class == Class::Hits);
        let explained = of(|class| !matches!(class, Class::Hits | Class::Quality));
        let lost = of(|class| class == Class::Lost);
        let sums = by_probe.entry(probe.name()).or_default();
        sums.extend([("unaccounted", hits.wrapping_sub(explained)), ("lost", lost)]);
    }
    json!(by_probe)
}

/// Operations by number.
fn of_uring(uring: &[(UringKey, u64)]) -> Value {
    let mut operations: BTreeMap<String, u64> = BTreeMap::new();
    for (key, count) in uring {
        *operations.entry(key.operation.to_string()).or_default() += count;
    }
    json!(operations)
}

fn of_caller((key, caller): &(CallerKey, Caller)) -> Value {
    json!({
        "space": key.space,
        "stack": key.stack,
        "call": key.call,
        "count": caller.count,
        "total_ns": caller.total_ns,
    })
}

fn of_slow(slow: &SlowCall) -> Value {
    json!({
        "tid": slow.tid,
        "call": slow.call,
        "start_ns": slow.start_ns,
        "duration_ns": slow.duration_ns,
        "result": slow.result,
        "argument": slow.argument,
        "stack": slow.head >> 32,
    })
}

fn of_thread(thread: &Thread) -> Value {
    json!({
        "tid": thread.tid,
        "space": thread.space,
        "comm": name(thread.comm),
        "in_call": (thread.state & IN_CALL != 0).then_some(thread.call),
        "waiting": thread.depth,
        "ended": thread.state & HAS_ENDED != 0,
    })
}

fn of_cell(cell: &Cell, errors: &[(ErrorKey, u64)]) -> Value {
    let own = cell.errors.iter().zip(cell.error_counts).filter(|(_, count)| *count > 0);
    let mut failed: BTreeMap<u64, u64> = own.map(|(error, count)| (*error, count)).collect();
    for (key, count) in errors {
        let is_of_cell = (key.space, key.tid, key.call) == (cell.space, cell.tid, cell.call);
        if is_of_cell && (key.tid != 0 || key.comm == cell.comm) {
            *failed.entry(key.error).or_default() += count;
        }
    }
    let buckets = cell.histogram.iter().enumerate().filter(|(_, count)| **count > 0);
    json!({
        "tid": cell.tid,
        "space": cell.space,
        "comm": name(cell.comm),
        "call": cell.call,
        "count": cell.count,
        "total_ns": cell.total_ns,
        "max_ns": cell.max_ns,
        "results": cell.results,
        "ended": cell.ended,
        "under_way": cell.under_way,
        "refused": cell.refused,
        "errors": failed,
        "histogram": buckets.collect::<Vec<_>>(),
    })
}

/// A name as the kernel keeps it.
fn name(comm: [u64; 2]) -> String {
    let bytes: Vec<u8> =
        comm.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

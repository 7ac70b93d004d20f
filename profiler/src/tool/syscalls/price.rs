//! What counting costs the thread that makes a call.

use std::collections::HashMap;

use profiler_common::{
    ledger::Ledger as _,
    syscalls::{Counter, HAS_ENDED, Thread},
};

use super::{
    counted::{Counted, each},
    probes::{Limits, Probes, Stacks},
    sums,
};
use crate::{
    capture::{
        cost::priced::{Paid, Priced},
        object::Maps,
    },
    error::Result,
    observe::call_price::{ByKind, Counting, Dearer, LESS_BUSY, PerCall, Pricing},
};

/// Room for threads and calls while the price is measured. Others are counted without a record of their own, and not judged.
const ROOM: u32 = 2_048;
/// Time for a walk at each call, until it is measured on the target: 16 frames of C++.
const WALK_NS: f64 = 800.0;

impl Counting for Probes {
    fn calls(&self) -> Result<HashMap<u32, ByKind>> {
        let counted = Counted::read(self)?;
        Ok(counted.threads.iter().map(|thread| (thread.tid, [thread.enters, 0])).collect())
    }
}

/// Says how calls are priced. `lists`: whether single calls are listed; `stacks`: which calls are walked.
pub(super) fn with_pricing<T>(lists: bool, stacks: Stacks, then: impl FnOnce(&Pricing<'_>) -> T) -> T {
    let attach = |shared: Maps| -> Result<Box<dyn Counting>> {
        // Where single calls are listed, each call pays for finding its file, however short it is.
        let list_ns = if lists { u64::MAX - 1 } else { u64::MAX };
        let limits = Limits { threads: ROOM, cells: ROOM, max_stacks: 16, list_ns, ..Limits::default() };
        Ok(Box::new(Probes::attach(limits, shared)?))
    };
    let more_ns = match stacks {
        Stacks::All => WALK_NS,
        // So few slow calls are walked that it does not matter.
        Stacks::Slow | Stacks::None => 0.0,
    };
    then(&Pricing { attach: &attach, dearer: Dearer::Nothing, more_ns })
}

/// What would cost less.
pub(super) fn hint(stacks: Stacks) -> &'static str {
    match stacks {
        Stacks::All => "--stacks slow costs less: a walk at every call is most of it",
        Stacks::Slow | Stacks::None => LESS_BUSY,
    }
}

/// What calls have cost each thread so far: counting, and walks.
///
/// # Errors
/// If a map cannot be read.
pub(super) fn paid(probes: &Probes, per_call: PerCall) -> Result<Priced> {
    // Records that were reused no longer have the cost of their thread's walks. The mean of the other threads is used instead.
    let gone = probes.counters()?[Counter::EnterHits.index()];
    let (mut priced, mut of_all) = (Priced { measured: per_call.measured, ..Priced::default() }, (0, 0));
    let mut add = |record: Seen| {
        if record.tid == 0 {
            return;
        }
        of_all = (of_all.0 + record.calls, of_all.1 + record.walk_ns);
        let ns = per_call.of([record.calls, 0]) + record.walk_ns as f64;
        let paid = Paid { space: record.space as u16, tid: record.tid, hits: record.calls, ns };
        if record.state & HAS_ENDED == 0 {
            priced.threads.push(paid);
            priced.processes.insert(record.tgid);
        } else {
            priced.ended.hits += paid.hits;
            priced.ended.ns += paid.ns;
        }
    };
    for (_, thread) in probes.threads.up_to(probes.given_out("NEXT_THREAD")?) {
        // SAFETY: an element of the mapping; any bytes are valid.
        unsafe {
            add(Seen {
                space: (&raw const (*thread).space).read_volatile(),
                tid: (&raw const (*thread).tid).read_volatile(),
                tgid: (&raw const (*thread).tgid).read_volatile(),
                state: (&raw const (*thread).state).read_volatile(),
                calls: (&raw const (*thread).enters).read_volatile(),
                walk_ns: (&raw const (*thread).walk_ns).read_volatile(),
            });
        }
    }
    each(probes, "BEYOND", |_: u32, thread: Thread| {
        let Thread { space, tid, tgid, state, enters: calls, walk_ns, .. } = thread;
        add(Seen { space, tid, tgid, state, calls, walk_ns });
    })?;
    let (calls, walk_ns) = of_all;
    let each_ns = per_call.of([1, 0]) + walk_ns as f64 / calls.max(1) as f64;
    priced.ended.hits += gone;
    priced.ended.ns += gone as f64 * each_ns;
    let [enters, exits] = sums::hits(probes)?;
    priced.hits = enters + exits;
    Ok(priced)
}

/// The fields that are read from the record of a thread.
struct Seen {
    space: u32,
    tid: u32,
    tgid: u32,
    state: u32,
    calls: u64,
    walk_ns: u64,
}

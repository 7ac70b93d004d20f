//! The ledger, and what its losses mean.

use profiler_common::{
    io::{IoCounter, UringRequest},
    ledger::MAX_COUNTERS,
};

use crate::{error::Result, observe::io::Probes, units};

/// The ledger, by the index of each counter.
pub(super) type Counts = [u64; MAX_COUNTERS];

/// The count of a counter.
pub(super) fn of<C: IoCounter>(counts: &Counts, counter: C) -> u64 {
    counts.get(counter.index()).copied().unwrap_or_default()
}

/// The ledger. How many operations of io_uring are under way is known from their table.
pub(super) fn ledger<C: IoCounter>(probes: &Probes) -> Result<Counts> {
    let mut counts: Counts = probes.counters()?;
    let mut under_way = 0;
    probes.each("IO_URING_REQUESTS", |_: u64, _: UringRequest| under_way += 1)?;
    if let Some(count) = counts.get_mut(C::RING_UNDER_WAY.index()) {
        *count = under_way;
    }
    Ok(counts)
}

/// Losses that could change the answer.
pub(super) fn losses<C: IoCounter>(counts: &Counts) -> Vec<String> {
    let words = [
        (
            C::LOST_THREAD,
            "calls were not looked at because there are too many threads: observe fewer processes",
        ),
        (
            C::RING_LOST,
            "operations of io_uring were not counted because there are too many at the same time: observe fewer processes",
        ),
        (C::LOST_CELL, "operations were not counted because the kernel had no memory: free some"),
    ];
    let lost = words.into_iter().map(|(counter, words)| (of(counts, counter), words));
    let lost = lost.filter(|(count, _)| *count > 0);
    lost.map(|(count, words)| format!("{} {words}", units::count(count as f64))).collect()
}

//! The ledger, and what its losses mean.

use profiler_common::{disk::Counter, io::UringRequest, ledger::Ledger as _};

use crate::{error::Result, observe::io::Probes, units};

/// The ledger. How many operations of io_uring are under way is known from their table.
pub(super) fn ledger(probes: &Probes) -> Result<[u64; Counter::COUNT]> {
    let mut counters: [u64; Counter::COUNT] = probes.counters()?;
    let mut under_way = 0;
    probes.each("IO_URING_REQUESTS", |_: u64, _: UringRequest| under_way += 1)?;
    if let Some(counter) = counters.get_mut(Counter::RingUnderWay.index()) {
        *counter = under_way;
    }
    Ok(counters)
}

/// Losses that could change the answer.
pub(super) fn losses(counters: &[u64; Counter::COUNT]) -> Vec<String> {
    let count = |counter: Counter| counters[counter.index()];
    let words = [
        (
            Counter::LostThread,
            "calls were not looked at because there are too many threads: observe fewer processes",
        ),
        (
            Counter::RingLost,
            "operations of io_uring were not counted because there are too many at the same time: observe fewer processes",
        ),
        (Counter::LostCell, "operations were not counted because the kernel had no memory: free some"),
    ];
    let lost = words.into_iter().filter(|(counter, _)| count(*counter) > 0);
    lost.map(|(counter, words)| format!("{} {words}", units::count(count(counter) as f64))).collect()
}

//! What every tool's object counts: the ledger, and hits by thread.

use std::{
    collections::BTreeMap,
    io, thread,
    time::{Duration, Instant},
};

use profiler_common::{
    busiest::ThreadHits,
    ledger::{Class, Counters, Entry, MAX_COUNTERS},
};

use super::object::Object;
use crate::{
    error::{Error, ErrorKind, Result},
    kernel::bpf,
};

/// Hits by thread id, in whole steps.
///
/// # Errors
/// If the map cannot be read.
pub(crate) fn thread_hits(object: &Object) -> Result<Vec<(u32, ThreadHits)>> {
    let mut hits = Vec::new();
    bpf::for_each_element(object.map("THREAD_HITS")?, |tid: u32, n: ThreadHits| hits.push((tid, n)))
        .map_err(|e| unreadable("the hits by thread", e))?;
    Ok(hits)
}

/// The outcome of hits that have not ended yet. User space adds it.
const UNDER_WAY: &str = "under_way";
/// For how long counters are read again, at most, to find each CPU between two hits. A hit takes microseconds, but the processor of a virtual
/// machine may stand still in the middle of it.
const PATIENCE: Duration = Duration::from_millis(250);

/// The ledger's counters, of which the tool has `N`, added up over the CPUs. While the programs run, a hit may have been counted and its
/// outcome not yet: each CPU is read again until its counters add up by `entries`. If these are none, they need not.
///
/// # Errors
/// If the map cannot be read.
pub(crate) fn counters<const N: usize>(object: &Object, entries: &[Entry]) -> Result<[u64; N]> {
    let cpus = aya::util::nr_cpus().map_err(|(_, e)| unreadable("the number of CPUs", e))?;
    let mut read = vec![Counters { of: [0; MAX_COUNTERS] }; cpus];
    let mut settled = vec![None; cpus];
    let begun = Instant::now();
    loop {
        bpf::lookup(object.map("COUNTERS")?, &0u32, read.as_mut_slice())
            .map_err(|e| unreadable("the ledger", e))?;
        for (settled, read) in settled.iter_mut().zip(&read) {
            *settled = settled.or_else(|| adds_up(entries, &read.of).then_some(*read));
        }
        if settled.iter().all(Option::is_some) || begun.elapsed() > PATIENCE {
            break;
        }
        thread::yield_now();
    }
    let mut sum = [0; N];
    for (settled, last) in settled.into_iter().zip(read) {
        for (total, count) in sum.iter_mut().zip(settled.unwrap_or(last).of) {
            *total += count;
        }
    }
    Ok(sum)
}

/// Whether each probe has as many outcomes as hits. A probe with the outcome [`UNDER_WAY`] is left out: its hits may last for any time, so a
/// missing outcome does not mean that a hit is just being counted.
fn adds_up(entries: &[Entry], counts: &[u64]) -> bool {
    let mut left: BTreeMap<&str, u64> = BTreeMap::new();
    let waits = |probe: &str| entries.iter().any(|entry| entry.probe == probe && entry.name == UNDER_WAY);
    for (entry, count) in entries.iter().zip(counts) {
        let left = left.entry(entry.probe).or_default();
        *left = match entry.class {
            Class::Hits => left.wrapping_add(*count),
            Class::Quality => *left,
            _ => left.wrapping_sub(*count),
        };
    }
    left.into_iter().all(|(probe, left)| left == 0 || waits(probe))
}

/// A map that cannot be read.
pub(crate) fn unreadable(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Kernel, format_args!("tried to read {what} from the kernel")).because_of(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_under_way_does_not_add_up() {
        let entry = |probe, class| Entry { name: "", probe, class };
        let entries = [
            entry("one", Class::Hits),
            entry("one", Class::Recorded),
            entry("two", Class::Hits),
            entry("one", Class::Lost),
            entry("two", Class::Filtered),
            entry("two", Class::Quality),
        ];
        assert!(adds_up(&entries, &[3, 2, 5, 1, 5, 9]));
        assert!(!adds_up(&entries, &[4, 2, 5, 1, 5, 9]), "its outcome comes");
        assert!(!adds_up(&entries, &[3, 2, 4, 1, 5, 9]), "the hit was read before");
        assert!(adds_up(&[], &[4, 2]));
    }

    /// A server that always waits for its next request through a ring: nothing is gained by reading again.
    #[test]
    fn a_hit_that_may_be_under_way_for_any_time_is_not_waited_for() {
        let entry = |name, probe, class| Entry { name, probe, class };
        let entries = [
            entry("hits", "call", Class::Hits),
            entry("counted", "call", Class::Recorded),
            entry("hits", "ring", Class::Hits),
            entry("counted", "ring", Class::Recorded),
            entry(UNDER_WAY, "ring", Class::Recorded),
        ];
        assert!(adds_up(&entries, &[3, 3, 8, 5, 0]));
        assert!(!adds_up(&entries, &[3, 2, 8, 5, 0]), "a hit of the other probe is waited for");
    }
}

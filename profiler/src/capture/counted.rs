//! What every tool's object counts: the ledger, and hits by thread.

use std::io;

use profiler_common::{
    busiest::ThreadHits,
    ledger::{Counters, MAX_COUNTERS},
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

/// The ledger's counters, of which the tool has `N`, added up over the CPUs.
///
/// # Errors
/// If the map cannot be read.
pub(crate) fn counters<const N: usize>(object: &Object) -> Result<[u64; N]> {
    let cpus = aya::util::nr_cpus().map_err(|(_, e)| unreadable("the number of CPUs", e))?;
    let mut per_cpu = vec![Counters { of: [0; MAX_COUNTERS] }; cpus];
    let key = 0u32;
    bpf::lookup(object.map("COUNTERS")?, &key, per_cpu.as_mut_slice())
        .map_err(|e| unreadable("the ledger", e))?;
    let mut sum = [0; N];
    for cpu in per_cpu {
        for (total, count) in sum.iter_mut().zip(cpu.of) {
            *total += count;
        }
    }
    Ok(sum)
}

/// A map that cannot be read.
pub(crate) fn unreadable(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Kernel, format_args!("tried to read {what} from the kernel")).because_of(error)
}

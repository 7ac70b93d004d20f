//! The kernel side's maps, read: totals per stack, the ledger.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use memmap2::{MmapOptions, MmapRaw};
use profiler_common::{
    busiest::ThreadHits,
    ledger::{Counters, MAX_COUNTERS},
    memleak::{StackTotals, counters::Counter},
};

use crate::{
    capture::object::Object,
    error::{Error, ErrorKind, Result},
    kernel::bpf,
};

/// The totals of every stack, mapped: reading them is no system call, whatever their number.
#[derive(Debug)]
pub(crate) struct Totals {
    map: MmapRaw,
    stacks: usize,
}

impl Totals {
    pub(crate) fn map(object: &Object, stacks: usize) -> Result<Totals> {
        let bytes = (stacks * size_of::<StackTotals>()).next_multiple_of(4096);
        let map = MmapOptions::new()
            .len(bytes)
            .map_raw_read_only(object.map("TOTALS")?.as_raw_fd())
            .map_err(|e| unreadable("the totals", e))?;
        Ok(Totals { map, stacks })
    }

    /// The totals of a stack as they are now.
    pub(crate) fn of(&self, stack: usize) -> Option<StackTotals> {
        if stack >= self.stacks {
            return None;
        }
        // SAFETY: within the mapping, and any bytes are valid. The kernel side may add meanwhile: each field is read
        // as it is at some moment, which is what totals of a running program are.
        Some(unsafe { self.map.as_ptr().cast::<StackTotals>().add(stack).read_volatile() })
    }
}

/// Hits by thread id, in whole steps.
pub(crate) fn thread_hits(object: &Object) -> Result<Vec<(u32, ThreadHits)>> {
    let mut hits = Vec::new();
    bpf::for_each_element(object.map("THREAD_HITS")?, |tid: u32, n: ThreadHits| hits.push((tid, n)))
        .map_err(|e| unreadable("the hits by thread", e))?;
    Ok(hits)
}

/// The ledger's counters, added up over the CPUs.
pub(crate) fn counters(object: &Object) -> Result<[u64; Counter::COUNT]> {
    let cpus = aya::util::nr_cpus().map_err(|(_, e)| unreadable("the number of CPUs", e))?;
    let mut per_cpu = vec![Counters { of: [0; MAX_COUNTERS] }; cpus];
    let key = 0u32;
    bpf::lookup(object.map("COUNTERS")?, &key, per_cpu.as_mut_slice())
        .map_err(|e| unreadable("the ledger", e))?;
    let mut sum = [0; Counter::COUNT];
    for cpu in per_cpu {
        for (total, count) in sum.iter_mut().zip(cpu.of) {
            *total += count;
        }
    }
    Ok(sum)
}

/// Allocation calls that have begun and not returned, with those whose thread ended inside and was not noticed yet.
pub(crate) fn under_way(counters: &[u64; Counter::COUNT]) -> u64 {
    const ENDED: [Counter; 8] = [
        Counter::ReturnRecorded,
        Counter::ReturnFailed,
        Counter::ReturnReleased,
        Counter::ReturnLostFull,
        Counter::ReturnLostMemory,
        Counter::ReturnLostBusy,
        Counter::ReturnLostAddress,
        Counter::Abandoned,
    ];
    let ended = ENDED.iter().map(|counter| counters[*counter as usize]).sum();
    counters[Counter::EntryBegun as usize].saturating_sub(ended)
}

/// Writes one element.
pub(crate) fn write<K, V>(object: &Object, map: &str, key: &K, value: &V) -> Result<()> {
    let put = |fd: BorrowedFd<'_>| bpf::update(fd, key, value);
    put(object.map(map)?).map_err(|e| {
        Error::new(ErrorKind::Kernel, format_args!("tried to write BPF map {map}")).because_of(e)
    })
}

pub(super) fn unreadable(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Kernel, format_args!("tried to read {what} from the kernel")).because_of(error)
}

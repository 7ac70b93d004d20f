//! The kernel side's maps, read: totals per stack, the ledger.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    sync::atomic::{AtomicU32, Ordering},
};

use memmap2::{MmapOptions, MmapRaw};
use profiler_common::{
    busiest::ThreadHits,
    ledger::{Counters, MAX_COUNTERS},
    memleak::{StackTotals, counters::Counter},
    space::{HOLD_NONE, HOLD_WANTED, MAX_SPACES, Space},
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

/// Writes all that the kernel side knows of an address space. Before anything is attached to its process: later, what the kernel
/// side writes would be undone, see [`set_in_space`].
pub(crate) fn set_space(object: &Object, number: u16, space: &Space) -> Result<()> {
    write(object, "SPACES", &u32::from(number), space)
}

/// Writes a field of what the kernel side knows of an address space, and leaves alone what the kernel side writes meanwhile.
/// `offset` is that of the field, which is a `u32`, in bytes.
pub(crate) fn set_in_space(object: &Object, number: u16, offset: usize, value: u32) -> Result<()> {
    let at = usize::from(number) * size_of::<Space>() + offset;
    assert!(
        u32::from(number) < MAX_SPACES
            && offset < size_of::<Space>()
            && offset.is_multiple_of(size_of::<u32>())
    );
    let map = MmapOptions::new()
        .len((MAX_SPACES as usize * size_of::<Space>()).next_multiple_of(4096))
        .map_raw(object.map("SPACES")?.as_raw_fd())
        .map_err(|e| unreadable("the address spaces", e))?;
    // SAFETY: a field within the mapping, which lives until the end of this function, and nobody else in this process has it.
    let field = unsafe { AtomicU32::from_ptr(map.as_mut_ptr().add(at).cast()) };
    field.store(value, Ordering::Release);
    Ok(())
}

/// What the kernel side knows of an address space.
pub(crate) fn space(object: &Object, number: u16) -> Result<Space> {
    let mut space = [Space { tgid: 0, execs_to_come: 0, replaced: 0, flags: 0, slot: 0, generation: 0 }];
    bpf::lookup(object.map("SPACES")?, &u32::from(number), &mut space)
        .map_err(|e| unreadable("the address spaces", e))?;
    let [space] = space;
    Ok(space)
}

/// Has the kernel side stop the process of an address space at its first call. Before it is let go.
pub(crate) fn want_hold(object: &Object, number: u16) -> Result<()> {
    write(object, "HOLDS", &u32::from(number), &HOLD_WANTED)
}

/// Whether the kernel side is to stop the process of an address space, or has: [`HOLD_WANTED`] and the states behind it.
pub(crate) fn hold(object: &Object, number: u16) -> Result<u64> {
    let mut state = [HOLD_NONE];
    bpf::lookup(object.map("HOLDS")?, &u32::from(number), &mut state)
        .map_err(|e| unreadable("who is stopped", e))?;
    let [state] = state;
    Ok(state)
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

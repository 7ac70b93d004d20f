//! The kernel side's totals per stack, and what follows from them about calls.

use std::os::fd::AsRawFd as _;

use memmap2::{MmapOptions, MmapRaw};
use profiler_common::memleak::{StackTotals, counters::Counter};

use crate::{
    capture::{counted::unreadable, object::Object},
    error::Result,
};

/// The totals of every stack, mapped, so that reading them is not a system call.
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

    /// The present totals of a stack.
    pub(crate) fn of(&self, stack: usize) -> Option<StackTotals> {
        if stack >= self.stacks {
            return None;
        }
        // SAFETY: within the mapping, and any bytes are valid. The kernel side may add meanwhile: each field is read
        // as it is at some moment, which is what totals of a running program are.
        Some(unsafe { self.map.as_ptr().cast::<StackTotals>().add(stack).read_volatile() })
    }
}

/// Allocation calls that have begun and not returned, including those whose thread ended inside, if that was not
/// noticed yet.
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

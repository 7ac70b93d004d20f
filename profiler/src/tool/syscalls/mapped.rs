//! Arrays of the kernel side, mapped: reading them is not a system call.

use std::{
    marker::PhantomData,
    os::fd::AsRawFd as _,
    sync::atomic::{Ordering, fence},
    time::{Duration, Instant},
};

use memmap2::{MmapOptions, MmapRaw};
use profiler_common::syscalls::Thread;

use crate::{
    capture::object::Object,
    error::{Error, ErrorKind, Result},
};

/// How long to wait for a program that is changing the record of a thread. Programs take less than a microsecond, unless a
/// hypervisor preempts this virtual processor.
const PATIENCE: Duration = Duration::from_millis(5);

/// An array of wire types.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    map: MmapRaw,
    entries: u32,
    of: PhantomData<T>,
}

impl<T> Mapped<T> {
    /// Maps an array of this many elements.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn new(object: &Object, name: &str, entries: u32) -> Result<Mapped<T>> {
        const { assert!(size_of::<T>().is_multiple_of(8), "elements of arrays are aligned to 8 bytes") };
        let bytes = (entries as usize * size_of::<T>()).next_multiple_of(4096);
        let map =
            MmapOptions::new().len(bytes).map_raw_read_only(object.map(name)?.as_raw_fd()).map_err(|e| {
                Error::new(ErrorKind::Kernel, format_args!("tried to map BPF map {name}")).because_of(e)
            })?;
        Ok(Mapped { map, entries, of: PhantomData })
    }

    /// A pointer to an element; `None` beyond the last one. The kernel side may write at the same time: see [`settled`].
    pub(super) fn at(&self, index: u32) -> Option<*const T> {
        // SAFETY: within the mapping.
        (index < self.entries).then(|| unsafe { self.map.as_ptr().cast::<T>().add(index as usize) })
    }

    /// Elements from 1 to `last`, as far as the array has them.
    pub(super) fn up_to(&self, last: u64) -> impl Iterator<Item = (u32, *const T)> + use<'_, T> {
        let last = last.min(u64::from(self.entries.saturating_sub(1))) as u32;
        (1..=last).filter_map(|index| Some((index, self.at(index)?)))
    }
}

/// How many programs have begun to change a record, and how many are done.
fn programs(thread: *const Thread) -> (u64, u64) {
    // SAFETY: an element of a mapping. The count of those that are done is read first: if it equals the other, no program was running.
    unsafe {
        let done = (&raw const (*thread).done).read_volatile();
        fence(Ordering::Acquire);
        let begun = [&raw const (*thread).enters, &raw const (*thread).exits, &raw const (*thread).others]
            .map(|counter| counter.read_volatile());
        (begun.into_iter().fold(0, u64::wrapping_add), done)
    }
}

/// Reads while no program changes the record of a thread or its cells, so that what is read is consistent. If there was no such
/// moment, returns the last attempt and `false`.
pub(super) fn settled<T>(thread: *const Thread, read: impl Fn() -> T) -> (T, bool) {
    let began = Instant::now();
    loop {
        let (begun, done) = programs(thread);
        let value = read();
        fence(Ordering::Acquire);
        if begun == done && programs(thread).0 == begun {
            return (value, true);
        }
        if began.elapsed() > PATIENCE {
            return (value, false);
        }
        std::hint::spin_loop();
    }
}

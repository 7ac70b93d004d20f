//! Reading the record of a thread while the kernel side may change it.

use std::{
    sync::atomic::{Ordering, fence},
    time::{Duration, Instant},
};

use profiler_common::syscalls::Thread;

/// How long to wait for a program that is changing the record of a thread. Programs take some microseconds at most, unless a
/// hypervisor preempts this virtual processor.
const PATIENCE: Duration = Duration::from_millis(5);

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

//! The rules of `syscalls`: the stable names of its findings. `docs/syscalls.md` lists them with their thresholds.

use crate::observe::sight::Terms;

/// Where the time in the kernel goes.
pub(super) const TIME: &str = "syscalls.time";
/// No call was seen.
pub(super) const NOTHING_SEEN: &str = "syscalls.nothing_seen";
/// The observation was too short to call anything pointless.
pub(super) const TOO_SHORT: &str = "syscalls.too_short";
/// A target is stopped, or was for a while.
pub(super) const HALTED: &str = "syscalls.halted";
/// Children of the targets do work, and are not observed.
pub(super) const CHILDREN: &str = "syscalls.children";
/// A target has become a program that is not observed.
pub(super) const UNOBSERVED: &str = "syscalls.unobserved";
/// A target ended, or was killed, before the observation did.
pub(super) const ENDED: &str = "syscalls.ended";
/// Losses could change the answer.
pub(super) const INCOMPLETE: &str = "syscalls.incomplete";
/// The table of callers lacks calls.
pub(super) const CALLERS_LOST: &str = "syscalls.callers_incomplete";
/// A thread asks again and again whether something is ready, without waiting.
pub(super) const POLL_SPIN: &str = "syscalls.poll_spin";
/// A thread reads or writes byte by byte.
pub(super) const TINY_TRANSFERS: &str = "syscalls.tiny_transfers";
/// A thread sends many messages one by one in each of its turns.
pub(super) const UNBATCHED_SENDS: &str = "syscalls.unbatched_sends";
/// Nearly all of a thread's calls find nothing to do.
pub(super) const EAGAIN_STORM: &str = "syscalls.eagain_storm";
/// Clocks are read through the kernel.
pub(super) const CLOCK_CALLS: &str = "syscalls.clock_calls";
/// Threads wake each other all the time.
pub(super) const FUTEX_STORM: &str = "syscalls.futex_storm";
/// Files that do not exist are looked up again and again.
pub(super) const MISSING_FILES: &str = "syscalls.missing_files";
/// A thread that sleeps regularly waits for a disk.
pub(super) const SYNC_IN_LOOP: &str = "syscalls.sync_in_loop";
/// io_uring was used: its operations are not in the tables of calls.
pub(super) const IO_URING: &str = "syscalls.io_uring";

/// What is said about targets that are not what the user meant.
pub(super) const TERMS: Terms = Terms {
    nothing: "No system call returned",
    does: "calls",
    did: "called",
    calls: "nothing in the kernel.",
    aged: "it made no calls meanwhile",
    nothing_seen: NOTHING_SEEN,
    halted: HALTED,
    children: CHILDREN,
    unobserved: UNOBSERVED,
    ended: ENDED,
};

/// Every rule.
#[cfg(test)]
pub(super) const ALL: [&str; 18] = [
    TIME,
    NOTHING_SEEN,
    TOO_SHORT,
    HALTED,
    CHILDREN,
    UNOBSERVED,
    ENDED,
    INCOMPLETE,
    CALLERS_LOST,
    POLL_SPIN,
    TINY_TRANSFERS,
    UNBATCHED_SENDS,
    EAGAIN_STORM,
    CLOCK_CALLS,
    FUTEX_STORM,
    MISSING_FILES,
    SYNC_IN_LOOP,
    IO_URING,
];

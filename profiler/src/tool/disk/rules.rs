//! The rules of `disk`: the stable names of its findings. `docs/disk.md` lists them with their thresholds.

use crate::observe::sight::Terms;

/// Where the time in operations on files goes.
pub(super) const TIME: &str = "disk.time";
/// No operation was seen.
pub(super) const NOTHING_SEEN: &str = "disk.nothing_seen";
/// A target is stopped, or was for a while.
pub(super) const HALTED: &str = "disk.halted";
/// Children of the targets do work, and are not observed.
pub(super) const CHILDREN: &str = "disk.children";
/// A target has become a program that is not observed.
pub(super) const UNOBSERVED: &str = "disk.unobserved";
/// A target ended, or was killed, before the observation did.
pub(super) const ENDED: &str = "disk.ended";
/// Losses could change the answer.
pub(super) const INCOMPLETE: &str = "disk.incomplete";
/// Operations on a file stall a thread again and again, on a period.
pub(super) const PERIODIC_STALL: &str = "disk.periodic_stall";
/// Operations on a file take long again and again, on a period, on a thread that does not work in turns.
pub(super) const PERIODIC: &str = "disk.periodic";
/// A thread that works in regular turns waits for a disk.
pub(super) const WAIT_IN_LOOP: &str = "disk.wait_in_loop";
/// A file is synced after each of many small writes.
pub(super) const SMALL_SYNCED_WRITES: &str = "disk.small_synced_writes";
/// A file is opened and read again and again.
pub(super) const REREAD: &str = "disk.reread";
/// No space was left on a device.
pub(super) const FULL: &str = "disk.full";
/// A device reported an error.
pub(super) const ERROR: &str = "disk.io_error";
/// An operation has been in progress for long.
pub(super) const STUCK: &str = "disk.stuck";

/// What is said about targets that are not what the user meant.
pub(super) const TERMS: Terms = Terms {
    nothing: "No operation on a file ended",
    does: "reads and writes",
    did: "read and wrote",
    calls: "nothing in the kernel that works on files.",
    aged: "it read and wrote nothing meanwhile",
    nothing_seen: NOTHING_SEEN,
    halted: HALTED,
    children: CHILDREN,
    unobserved: UNOBSERVED,
    ended: ENDED,
};

/// Every rule.
#[cfg(test)]
pub(super) const ALL: [&str; 15] = [
    TIME,
    NOTHING_SEEN,
    HALTED,
    CHILDREN,
    UNOBSERVED,
    ENDED,
    INCOMPLETE,
    PERIODIC_STALL,
    PERIODIC,
    WAIT_IN_LOOP,
    SMALL_SYNCED_WRITES,
    REREAD,
    FULL,
    ERROR,
    STUCK,
];

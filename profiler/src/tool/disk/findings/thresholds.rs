//! The thresholds of findings. `docs/disk.md` has the same with the reasons.

use std::time::Duration;

/// An operation stalls a thread that works in turns if it takes at least this long, in nanoseconds,
pub(super) const STALL_NS: u64 = 1_000_000;
/// and at least this share of a turn.
pub(super) const STALL_SHARE: f64 = 0.02;
/// An operation that has been in progress for so long is stuck.
pub(in crate::tool::disk) const STUCK_FOR: Duration = Duration::from_secs(5);
/// Syncs of one file are too many if there are at least so many of them,
pub(super) const LEAST_SMALL: u64 = 20;
/// so many per second,
pub(super) const SMALL_PER_S: f64 = 5.0;
/// for writes of at most so many bytes on average,
pub(super) const SMALL_BYTES: f64 = 1_024.0;
/// at most so many of them for each sync.
pub(super) const WRITES_PER_SYNC: f64 = 2.0;
/// A file is opened and read again and again if it is opened at least so often,
pub(super) const LEAST_OPENS: u64 = 10;
/// and so often per second.
pub(super) const OPENS_PER_S: f64 = 2.0;

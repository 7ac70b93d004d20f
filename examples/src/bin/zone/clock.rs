//! The monotonic clock. All processes of a machine read the same one, so a bot can tell how old a message is.

use std::time::Duration;

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

const NS_PER_S: u64 = 1_000_000_000;

/// Nanoseconds since some moment before the start of the machine's programs.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * NS_PER_S + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Sleeps until that time. The deadline is absolute: a turn that takes long does not move those after it.
pub(crate) fn sleep_until(deadline_ns: u64) {
    // A signal wakes the thread early; nothing else fails with a valid time.
    while clock_nanosleep_absolute(ClockId::Monotonic, &timespec(deadline_ns)).is_err() {}
}

/// What `poll` takes for the time until a deadline: zero if it has passed.
pub(crate) fn timeout_until(deadline_ns: u64) -> Timespec {
    timespec(deadline_ns.saturating_sub(now_ns()))
}

/// A duration in nanoseconds; one that does not fit is as good as for ever.
pub(crate) fn ns(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

fn timespec(ns: u64) -> Timespec {
    // Both parts fit: the first is below 2^64 / 10^9, the second below 10^9.
    Timespec { tv_sec: (ns / NS_PER_S) as i64, tv_nsec: (ns % NS_PER_S) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_at_its_deadline_and_not_before() {
        let deadline = now_ns() + 2_000_000;
        sleep_until(deadline);
        assert!(now_ns() >= deadline);
        sleep_until(deadline);
    }

    #[test]
    fn there_is_no_time_until_a_deadline_that_has_passed() {
        let passed = timeout_until(now_ns());
        assert_eq!((passed.tv_sec, passed.tv_nsec), (0, 0));
        assert!(timeout_until(u64::MAX).tv_sec > 0);
    }
}

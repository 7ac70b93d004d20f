//! The thresholds of pointless work, in words. `docs/syscalls.md` has the same with the reasons.

use super::{
    LEAST,
    of_process::{FUTEX_IN_VAIN, FUTEX_PER_S, FUTEX_SHORT, FUTEX_SHORT_NS},
    of_thread::{
        CLOCKS_PER_S, EAGAIN_PER_S, EAGAIN_SHARE, MISSING_LEAST, MISSING_PER_RECEIVED, MISSING_PER_S,
        REGULAR_PER_S, SENDS_PER_S, SENDS_PER_TURN, SHORT, SHORT_NS, SLEEPS_PER_SYNC, SPIN_EMPTY, SPIN_PER_S,
        SYNC_NS, TINY_BYTES, TINY_PER_S, TINY_PER_WAIT, TINY_READ_NS,
    },
};
use crate::{
    tool::syscalls::rules,
    units::{count, duration, nanos, percentage, plain},
};

/// Each rule with its threshold.
pub(in crate::tool::syscalls) fn thresholds() -> [(&'static str, String); 8] {
    let short = format!("{} within {}", percentage(SHORT), nanos(SHORT_NS as f64));
    [
        (
            rules::POLL_SPIN,
            format!("{} polls/s, {} find nothing, {short}", count(SPIN_PER_S), percentage(SPIN_EMPTY)),
        ),
        (
            rules::TINY_TRANSFERS,
            format!(
                "{} transfers/s of {} bytes, {} per wait, reads within {}",
                count(TINY_PER_S),
                plain(TINY_BYTES),
                count(TINY_PER_WAIT),
                nanos(TINY_READ_NS as f64)
            ),
        ),
        (
            rules::UNBATCHED_SENDS,
            format!("{} sends/s, {} per poll or sleep", count(SENDS_PER_S), count(SENDS_PER_TURN)),
        ),
        (
            rules::EAGAIN_STORM,
            format!("{} EAGAIN/s, {} of the calls, {short}", count(EAGAIN_PER_S), percentage(EAGAIN_SHARE)),
        ),
        (rules::CLOCK_CALLS, format!("{}/s of clocks that the vDSO has", count(CLOCKS_PER_S))),
        (
            rules::FUTEX_STORM,
            format!(
                "{}/s in a process, {} in vain, {} within {}",
                count(FUTEX_PER_S),
                percentage(FUTEX_IN_VAIN),
                percentage(FUTEX_SHORT),
                nanos(FUTEX_SHORT_NS as f64)
            ),
        ),
        (
            rules::MISSING_FILES,
            format!(
                "{} ENOENT/s, {} in all, {} for each call that receives something",
                count(MISSING_PER_S),
                count(MISSING_LEAST as f64),
                MISSING_PER_RECEIVED
            ),
        ),
        (
            rules::SYNC_IN_LOOP,
            format!(
                "{} sleeps/s, {} per sync, one of {}",
                count(REGULAR_PER_S),
                SLEEPS_PER_SYNC,
                nanos(SYNC_NS as f64)
            ),
        ),
    ]
}

/// What holds for all of them.
pub(in crate::tool::syscalls) fn common() -> String {
    format!("by a thread, in {} at least", duration(LEAST))
}

//! Which calls are slow, judged by the durations of all; and the single calls that are listed.

use std::cmp::Reverse;

use profiler_common::{
    histogram::{self, BUCKETS},
    syscalls::{Cell, SharedKey, SlowCall},
};

use super::{counted::each, kinds::is_wait, probes::Probes};
use crate::error::Result;

/// How many single calls of those that do not wait are kept: the longest.
const MOST_THAT_WORK: usize = 1_000;
/// The same for calls that wait. They are kept apart because they are longer than others, and mean less.
const MOST_THAT_WAIT: usize = 100;

/// A listed single call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) call: SlowCall,
    /// The path that it names, if any.
    pub(super) path: Box<[u8]>,
}

/// The listed single calls: first the longest of those that do not wait, then the longest of those that do.
#[derive(Debug, Default)]
pub(super) struct Singles {
    pub(super) kept: Vec<Listed>,
    /// Calls that were left out because others are longer.
    pub(super) left_out: LeftOut,
}

/// Numbers of calls that are not listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) work: u64,
    pub(super) wait: u64,
}

impl Singles {
    /// Adds a call, which may be one of the longest.
    pub(super) fn take(&mut self, call: SlowCall, path: &[u8]) {
        self.kept.push(Listed { call, path: path.into() });
        // Not at each call: that would sort the list each time.
        if self.kept.len() >= 2 * (MOST_THAT_WORK + MOST_THAT_WAIT) {
            self.keep_longest();
        }
    }

    /// Drops all but the longest, and sorts the rest.
    pub(super) fn keep_longest(&mut self) {
        self.kept.sort_by_key(|Listed { call, .. }| (is_wait(call.call), Reverse(call.duration_ns)));
        let waits = self.kept.split_off(self.kept.partition_point(|one| !is_wait(one.call.call)));
        self.left_out.work += self.kept.len().saturating_sub(MOST_THAT_WORK) as u64;
        self.left_out.wait += waits.len().saturating_sub(MOST_THAT_WAIT) as u64;
        self.kept.truncate(MOST_THAT_WORK);
        self.kept.extend(waits.into_iter().take(MOST_THAT_WAIT));
    }
}

/// Durations of all calls so far, by bucket: of those that do not wait, and of those that do. Calls that return during the read
/// may or may not be included.
pub(super) fn durations(probes: &Probes) -> Result<[Vec<u64>; 2]> {
    let mut durations = [const { vec![] }; 2].map(|_: Vec<u64>| vec![0; BUCKETS]);
    let mut add = |call: u64, histogram: &[u64; BUCKETS]| {
        let [works, waits] = &mut durations;
        let sums = if is_wait(call) { waits } else { works };
        sums.iter_mut().zip(histogram).for_each(|(sum, more)| *sum += more);
    };
    for (_, cell) in probes.cells.up_to(probes.given_out("NEXT_CELL")?) {
        // SAFETY: an element of the mapping; any bytes are valid for a wire type.
        unsafe {
            add((&raw const (*cell).call).read_volatile(), &(&raw const (*cell).histogram).read_volatile())
        };
    }
    each(probes, "SHARED", |key: SharedKey, cell: Cell| add(key.call, &cell.histogram))?;
    Ok(durations)
}

/// The least length that at most `most` calls reached since the last look. `now` and `before` count calls by bucket of duration.
pub(super) fn slow_from(now: &[u64], before: &[u64], most: u64) -> u64 {
    let mut left = most;
    let mut slow = 0;
    for (index, now) in now.iter().enumerate().rev() {
        let new = now.saturating_sub(before.get(index).copied().unwrap_or(0));
        if new > left {
            slow = index + 1;
            break;
        }
        left -= new;
    }
    histogram::first(histogram::GROUPING_POWER, slow).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(call: u64, duration_ns: u64) -> SlowCall {
        // SAFETY: any bytes are valid for a wire type.
        SlowCall { call, duration_ns, ..unsafe { std::mem::zeroed() } }
    }

    #[test]
    fn calls_that_wait_take_no_room_from_calls_that_work() {
        // clock_nanosleep, and fsync.
        let [sleep, sync] = [230, 74];
        let mut singles = Singles::default();
        for turn in 0..5_000 {
            singles.take(call(sleep, 50_000_000 + turn), b"");
            if turn % 50 == 0 {
                singles.take(call(sync, 1_000_000 + turn), b"");
            }
        }
        singles.keep_longest();
        let kept = || singles.kept.iter().map(|one| one.call);
        let of = |number| kept().filter(move |call| call.call == number).map(|call| call.duration_ns);
        assert_eq!((of(sync).count(), of(sleep).count()), (100, MOST_THAT_WAIT));
        assert_eq!(kept().next().map(|call| (call.call, call.duration_ns)), Some((sync, 1_004_950)));
        assert_eq!(of(sleep).min(), Some(50_004_900), "the longest");
        assert_eq!(singles.left_out, LeftOut { work: 0, wait: 4_900 });
        (0..3_000).for_each(|turn| singles.take(call(sync, turn), b""));
        singles.keep_longest();
        assert_eq!((singles.kept.len(), singles.left_out), (1_100, LeftOut { work: 2_100, wait: 4_900 }));
    }

    #[test]
    fn the_limit_lets_through_as_many_calls_as_wanted() {
        let mut before = vec![0; BUCKETS];
        before[histogram::bucket(1 << 20)] = 500;
        let mut now = before.clone();
        assert_eq!(slow_from(&now, &before, 100), 0, "none came since");
        now[histogram::bucket(1 << 10)] += 90;
        assert_eq!(slow_from(&now, &before, 100), 0, "few came since");
        now[histogram::bucket(1 << 14)] += 20;
        assert_eq!(slow_from(&now, &before, 100), (1 << 10) + (1 << 7), "those of the next bucket on");
    }
}

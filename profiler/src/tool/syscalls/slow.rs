//! Which calls are slow, by the durations of all.

use profiler_common::{
    histogram::{self, BUCKETS},
    syscalls::{Cell, SharedKey},
};

use super::{counted::each, kinds::is_wait, probes::Probes};
use crate::error::Result;

/// Durations of all calls so far, by bucket: of those that work, and of those that wait. Calls that return meanwhile may or may not be
/// among them.
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

/// The length from which on at most `most` of the calls are that came since the last look. `now` and `before` count calls by
/// bucket of their duration.
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

    #[test]
    fn as_many_calls_are_slow_as_are_to_be() {
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

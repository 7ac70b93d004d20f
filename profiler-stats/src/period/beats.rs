//! From the times of calls to beats: a stall that consists of several calls is one.

use super::MOST_BEATS;

/// A time that follows the one before by less than this part of the mean gap between beats belongs to the same beat. It is below the
/// jitter that is asked about, so that no two beats of a period are merged.
const BURST_PART: u128 = 10;
/// Times closer than this are always one beat: clocks resolve 1 ns, and gaps of few of these look regular.
const LEAST_GAP_NS: u64 = 1_000;
/// Merging lengthens the mean gap, so it is repeated until nothing changes: 5 to 10 times for any of the simulated series. The bound is
/// for times that somebody made up.
const MOST_ROUNDS: usize = 32;

/// The last beats of a series.
pub(super) struct Beats {
    /// When each began, ascending.
    times_ns: Vec<u64>,
    /// The same in mean gaps from the first.
    places: Vec<f64>,
    /// Times that were merged into these.
    pub(super) merged: usize,
    /// Times before the first of these.
    pub(super) older: usize,
}

impl Beats {
    /// Of times in any order.
    pub(super) fn of(times_ns: &[u64]) -> Beats {
        let mut sorted = times_ns.to_vec();
        sorted.sort_unstable();
        let mut merged = sorted.clone();
        for _ in 0..MOST_ROUNDS {
            let before = merged.len();
            merge(&mut merged);
            if merged.len() == before {
                break;
            }
        }
        let times_ns = merged.split_off(merged.len().saturating_sub(MOST_BEATS));
        let older = times_ns.first().map_or(0, |first| sorted.partition_point(|time| time < first));
        let merged = sorted.len() - older - times_ns.len();
        let mut beats = Beats { places: Vec::new(), times_ns, merged, older };
        let (unit_ns, first) = (beats.unit_ns(), beats.time_ns(0));
        beats.places = beats.times_ns.iter().map(|time| (time - first) as f64 / unit_ns).collect();
        beats
    }

    /// How many there are: at most [`MOST_BEATS`].
    pub(super) fn count(&self) -> usize {
        self.times_ns.len()
    }

    /// When they began, in mean gaps from the first.
    pub(super) fn places(&self) -> &[f64] {
        &self.places
    }

    /// The mean gap; 1 if there is none.
    pub(super) fn unit_ns(&self) -> f64 {
        match (self.times_ns.first(), self.times_ns.last()) {
            (Some(first), Some(last)) if last > first => (last - first) as f64 / (self.count() - 1) as f64,
            _ => 1.0,
        }
    }

    /// When the beat with this index began; 0 if there is none.
    pub(super) fn time_ns(&self, index: usize) -> u64 {
        self.times_ns.get(index).copied().unwrap_or(0)
    }
}

/// Leaves of each burst its first time.
fn merge(times_ns: &mut Vec<u64>) {
    let (Some(&first), Some(&last)) = (times_ns.first(), times_ns.last()) else { return };
    let span = u128::from(last - first);
    let gaps = (times_ns.len() - 1) as u128;
    let mut before = None;
    times_ns.retain(|&time| {
        let follows = before.is_some_and(|before| {
            let gap = time - before;
            gap < LEAST_GAP_NS || u128::from(gap) * gaps * BURST_PART < span
        });
        before = Some(time);
        !follows
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_stall_are_one_beat() {
        let times: Vec<u64> =
            (0..7).flat_map(|beat| [0, 20, 45, 60].map(|call| beat * 1_000_000 + call * 1_000)).collect();
        let beats = Beats::of(&times);
        assert_eq!((beats.count(), beats.merged, beats.older), (7, 21, 0));
        assert_eq!(beats.places(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((beats.unit_ns(), beats.time_ns(3)), (1e6, 3_000_000));
    }

    #[test]
    fn even_times_are_not_merged_however_close() {
        let times: Vec<u64> = (0..50).map(|index| 5 + index * 1_000).collect();
        assert_eq!((Beats::of(&times).count(), Beats::of(&times).merged), (50, 0));
        let closer: Vec<u64> = times.iter().map(|time| time / 2).collect();
        assert_eq!(Beats::of(&closer).count(), 1);
    }

    #[test]
    fn only_the_last_beats_are_kept_and_the_others_counted() {
        let times: Vec<u64> = (0..1_000).flat_map(|beat| [beat * 1_000_000, beat * 1_000_000 + 9]).collect();
        let beats = Beats::of(&times);
        assert_eq!((beats.count(), beats.merged, beats.older), (256, 256, 2 * 744));
        assert_eq!(beats.time_ns(0), 744_000_000);
    }

    #[test]
    fn no_time_and_one_time_are_no_gap() {
        for times in [&[][..], &[u64::MAX], &[7; 100]] {
            let beats = Beats::of(times);
            assert_eq!((beats.count(), beats.unit_ns()), (times.len().min(1), 1.0));
        }
    }
}

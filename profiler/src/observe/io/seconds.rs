//! Sums by second, for series in reports.

use std::{collections::BTreeMap, io, time::Duration};

use profiler_common::io::{IoSecond, SECOND_OPERATIONS, SECONDS};

use super::probes::Probes;
use crate::{
    error::{Error, ErrorKind, Result},
    report::{Series, Unit},
};

/// Most values of a series. A longer observation has values for longer intervals.
const MOST_VALUES: usize = 600;
const NS_PER_S: u64 = 1_000_000_000;

/// Sums over the operations of one kind in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Second {
    pub(crate) count: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) total_ns: u64,
    pub(crate) max_ns: u64,
}

impl Second {
    fn and(self, other: Second) -> Second {
        Second {
            count: self.count + other.count,
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
            total_ns: self.total_ns + other.total_ns,
            max_ns: self.max_ns.max(other.max_ns),
        }
    }
}

fn unreadable(cause: io::Error) -> Error {
    Error::new(ErrorKind::Kernel, "tried to read the sums by second").because_of(cause)
}

/// The newest second that the CPUs have in one place, and its sums over all of them. What others still have there from before was read when
/// it was new.
fn newest(of_cpus: &[IoSecond]) -> Option<(u64, Second)> {
    let used = || of_cpus.iter().filter(|of| of.count > 0);
    let newest = used().map(|of| of.second).max()?;
    let sums = used().filter(|of| of.second == newest).map(|of| {
        let IoSecond { second: _, count, messages, bytes, total_ns, max_ns } = *of;
        Second { count, messages, bytes, total_ns, max_ns }
    });
    Some((newest, sums.reduce(Second::and)?))
}

/// What happened in each second. Seconds that are long over are kept together, so that there is a bounded number of them.
#[derive(Debug)]
pub(crate) struct Seconds {
    /// The last seconds by operation and second of the monotonic clock, as they were last read.
    recent: BTreeMap<(u32, u64), Second>,
    /// Earlier ones by operation and interval of `step` seconds.
    earlier: BTreeMap<(u32, u64), Second>,
    step: u64,
    /// Seconds before this one are among the earlier ones.
    settled: u64,
    /// The second of the monotonic clock in which the observation began: the first interval begins there.
    first: u64,
}

impl Default for Seconds {
    fn default() -> Seconds {
        Seconds { recent: BTreeMap::new(), earlier: BTreeMap::new(), step: 1, settled: 0, first: 0 }
    }
}

impl Seconds {
    /// Takes the seconds that the kernel side has. To be called before it reuses their places: it keeps [`SECONDS`]. `began_ns`: when the
    /// observation began.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn look(&mut self, probes: &Probes, began_ns: u64) -> Result<()> {
        self.first = began_ns / NS_PER_S;
        const NOTHING: IoSecond =
            IoSecond { second: 0, count: 0, messages: 0, bytes: 0, total_ns: 0, max_ns: 0 };
        let mut read = vec![NOTHING; aya::util::nr_cpus().map_err(|(_, e)| unreadable(e))?];
        for place in 0..(SECONDS * SECOND_OPERATIONS) as u32 {
            probes.read("IO_SECONDS", &place, &mut read)?;
            if let Some((second, sums)) = newest(&read) {
                self.take(place % SECOND_OPERATIONS as u32, second, sums);
            }
        }
        self.settle();
        Ok(())
    }

    fn take(&mut self, operation: u32, second: u64, sums: Second) {
        if second >= self.settled {
            self.recent.insert((operation, second), sums);
        }
    }

    /// Moves seconds that will not be read again to the earlier ones, and joins these if there are many.
    fn settle(&mut self) {
        let newest = self.recent.keys().map(|(_, second)| *second).max().unwrap_or_default();
        self.settled = self.settled.max(newest.saturating_sub(SECONDS as u64 - 1));
        let (settled, step) = (self.settled, self.step);
        let (over, recent): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.recent).into_iter().partition(|((_, second), _)| *second < settled);
        self.recent = recent;
        for ((operation, second), sums) in over {
            let at = second.saturating_sub(self.first) / step;
            let interval = self.earlier.entry((operation, at)).or_default();
            *interval = interval.and(sums);
        }
        let intervals = |of: &BTreeMap<(u32, u64), Second>| {
            let (first, last) = (of.keys().map(|(_, at)| *at).min(), of.keys().map(|(_, at)| *at).max());
            first.zip(last).map_or(0, |(first, last)| last - first)
        };
        while intervals(&self.earlier) > 2 * MOST_VALUES as u64 {
            self.step *= 2;
            for ((operation, at), sums) in std::mem::take(&mut self.earlier) {
                let interval = self.earlier.entry((operation, at / 2)).or_default();
                *interval = interval.and(sums);
            }
        }
    }

    /// All intervals, with the second of the observation in which each begins. What the kernel side counted in the
    /// second before the observation began is added to its first second.
    fn all(&self) -> impl Iterator<Item = (u32, u64, Second)> {
        let earlier = self.earlier.iter().map(|((of, at), sums)| (*of, at * self.step, *sums));
        let recent = self.recent.iter();
        earlier.chain(recent.map(|((of, second), sums)| (*of, second.saturating_sub(self.first), *sums)))
    }

    /// The series of an operation, of what `value` makes of the sums of an interval. The observation began at this time of the monotonic
    /// clock, and has lasted so long.
    pub(crate) fn series(
        &self,
        operations: &[u32],
        name: &str,
        unit: Unit,
        began_ns: u64,
        lasted: Duration,
        value: impl Fn(Second, f64) -> f64,
    ) -> Series {
        let end_ns = began_ns + lasted.as_nanos() as u64;
        let seconds = end_ns / NS_PER_S - self.first + 1;
        // A multiple of `self.step`, so that each value has the same number of earlier intervals.
        let step = seconds.div_ceil(MOST_VALUES as u64).next_multiple_of(self.step);
        let mut values = vec![Second::default(); seconds.div_ceil(step) as usize];
        for (_, second, sums) in self.all().filter(|(of, ..)| operations.contains(of)) {
            if let Some(interval) = values.get_mut((second / step) as usize) {
                *interval = interval.and(sums);
            }
        }
        // The first and the last value are of a part of their interval.
        let covered = |at: usize| {
            let begin_ns = (self.first + at as u64 * step) * NS_PER_S;
            let covered_ns = end_ns.min(begin_ns + step * NS_PER_S).saturating_sub(began_ns.max(begin_ns));
            // In less than a tenth of a second, a rate is a matter of chance.
            (covered_ns.max(NS_PER_S / 10)) as f64 / NS_PER_S as f64
        };
        Series {
            name: name.to_owned(),
            unit,
            start_ns: 0,
            step_ns: step * NS_PER_S,
            values: values.into_iter().enumerate().map(|(at, sums)| Some(value(sums, covered(at)))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_that_of_all_processors() {
        let of =
            |second, count| IoSecond { second, count, messages: 1, bytes: 2, total_ns: 3, max_ns: count };
        let sums = Second { count: 12, messages: 2, bytes: 4, total_ns: 6, max_ns: 7 };
        // One is idle, and one has not had the place since it was last used.
        assert_eq!(newest(&[of(165, 5), of(0, 0), of(101, 9), of(165, 7)]), Some((165, sums)));
        assert_eq!(newest(&[of(0, 0); 2]), None);
    }

    #[test]
    fn a_series_has_a_value_for_each_second_and_a_bounded_number_of_them() {
        let mut seconds = Seconds { first: 100, ..Seconds::default() };
        let one = Second { count: 3, messages: 3, bytes: 30, total_ns: 300, max_ns: 200 };
        seconds.take(2, 101, one);
        seconds.take(2, 102, Second { max_ns: 900, ..one });
        seconds.take(3, 101, one);
        let of = |lasted| {
            let began_ns = 100 * NS_PER_S;
            let lasted = Duration::from_secs(lasted);
            let rate = |second: Second, length: f64| second.count as f64 / length;
            (
                seconds.series(&[2, 3], "operations", Unit::PerSecond, began_ns, lasted, rate),
                seconds
                    .series(&[2], "longest", Unit::Nanos, began_ns, lasted, |second, _| second.max_ns as f64),
            )
        };
        let (rates, longest) = of(3);
        assert_eq!(rates.values, [Some(0.0), Some(6.0), Some(3.0), Some(0.0)]);
        assert_eq!(longest.values, [Some(0.0), Some(200.0), Some(900.0), Some(0.0)]);
        let (rates, longest) = of(3_000);
        assert!(rates.values.len() <= MOST_VALUES && rates.step_ns == 6 * NS_PER_S, "{}", rates.values.len());
        assert_eq!((rates.values[0], longest.values[0]), (Some(9.0 / 6.0), Some(900.0)));
    }

    #[test]
    fn seconds_are_kept_together_when_there_are_many_and_none_is_lost_or_counted_twice() {
        let mut seconds = Seconds::default();
        const LAST: u64 = 20_000;
        for second in 1_000..LAST {
            // Each second is read several times, the last time when it is over.
            for before in (0..3).rev() {
                seconds.take(1, second - before, Second { count: 2, ..Second::default() });
            }
            seconds.settle();
        }
        assert!(seconds.recent.len() + seconds.earlier.len() < 3 * MOST_VALUES, "{}", seconds.earlier.len());
        let all: u64 = seconds.all().map(|(_, _, sums)| sums.count).sum();
        assert_eq!(all, 2 * (LAST - 998));
    }

    /// Each value must be made of the same number of intervals.
    #[test]
    fn a_constant_rate_is_a_straight_line_however_long_it_lasts() {
        const FIRST: u64 = 1_001;
        const RATE: u64 = 10;
        for lasted in [700, 1_500, 1_800, 3_600, 5_003, 9_999] {
            let mut seconds = Seconds { first: FIRST, ..Seconds::default() };
            // It begins and ends in the middle of a second.
            let (began_ns, lasted_ns) = (FIRST * NS_PER_S + NS_PER_S / 2, lasted * NS_PER_S);
            for second in FIRST..=FIRST + lasted {
                let is_half = second == FIRST || second == FIRST + lasted;
                let count = if is_half { RATE / 2 } else { RATE };
                seconds.take(1, second, Second { count, ..Second::default() });
                seconds.settle();
            }
            let lasted = Duration::from_nanos(lasted_ns);
            let of = seconds.series(&[1], "operations", Unit::PerSecond, began_ns, lasted, |of, length| {
                of.count as f64 / length
            });
            let flat = |rate: &Option<f64>| rate.is_some_and(|rate| (rate - RATE as f64).abs() < 1e-9);
            assert!(of.values.iter().all(flat), "{lasted:?}: {:?}", of.values);
            assert!(of.values.len() <= MOST_VALUES, "{lasted:?}: {}", of.values.len());
        }
    }
}

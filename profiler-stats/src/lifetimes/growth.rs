//! Do the survivors of a stack keep growing in number, and how fast in bytes?
//!
//! Items that are never released are a leak only if ever more of them come. Tables filled at start and caches that
//! have filled up also keep everything, but their old items were all born early. So the births of old items are
//! looked at over the period in which an item could be born and be old now.

use profiler_common::age;

use super::hazard::UNITS_PER_HOUR;
use super::rows::{BIRTH_SLICES, StackRow, Window};
use super::survival::Curve;
use super::survivors::Survivors;
use crate::estimate::Estimate;
use crate::interval::{ALPHA, at_least, normal, poisson_lower, poisson_upper};

/// Items count as half-old from this part of the age on: what is in use for a moment is younger.
pub(super) const HALF_OLD: f64 = 1.0 / 3.0;
/// The later half must bring at least this share of what the earlier half brought.
const LEAST_RATIO: f64 = 0.2;
/// Fewer births of survivors than this in the later half are not growth to speak of.
pub(super) const LEAST_LATE: u64 = 5;
/// Births less than this part of the age apart came at one moment, when it is asked whether there were several.
const MOMENT: f64 = 1.0 / 16.0;
/// Moments of births that growth takes. With fewer, every beat that comes or does not would change the answer.
const LEAST_MOMENTS: usize = 5;
/// Chance of taking a slowing to a fifth for a stop.
const SLOWED_TAIL: f64 = 0.01;
/// The same where a leak was proved before: there are many looks, and each would have its chance.
const SLOWED_AFTER_LEAK_TAIL: f64 = 1e-4;
/// Chance of error where "probably" is enough.
pub(super) const PROBABLY: f64 = 0.2;
/// Fewer items than this and their bytes are not near to normal.
const FEW: u64 = 10;

/// What the births of old items say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// They go on to the end.
    Continues,
    /// They have ended, or nearly so.
    Stopped,
    /// Too few, or in too few places, to say.
    Unclear,
}

/// Do births of items that grow old continue? `was_leak`: an earlier look has proved that they did.
#[cfg(test)]
pub(super) fn growth(row: &StackRow, window: &Window, was_leak: bool) -> Growth {
    growth_within(row, window, was_leak, ALPHA)
}

/// The same with another chance than [`ALPHA`] of saying that they do where they do not.
pub(super) fn growth_within(row: &StackRow, window: &Window, was_leak: bool, alpha: f64) -> Growth {
    if window.length_units <= window.older_units {
        return Growth::Unclear;
    }
    let late_total: u64 = row.births.split_at(BIRTH_SLICES / 2).1.iter().sum();

    // Items born too late to be old yet must go on where the late births end.
    let younger = row.live.saturating_sub(row.old);
    let older = window.older_units as f64;
    let half = window.length_units.saturating_sub(window.older_units) as f64 / 2.0;
    let clump = clump(row, window);
    let tail = if was_leak { SLOWED_AFTER_LEAK_TAIL } else { SLOWED_TAIL };
    let ended = slowed(late_total, younger, older / (half + older), clump, tail)
        || (row.old > 0 && row.arrivals.ended(window, was_leak));

    let pace = Pace::of(row, window);
    if pace.later >= LEAST_LATE && pace.is_kept(alpha) && spread_out(row, window) && !ended {
        Growth::Continues
    } else if ended || faded(row, window, clump, tail) {
        Growth::Stopped
    } else {
        Growth::Unclear
    }
}

/// True if births of the later half are probably less than a fifth as frequent as before. Births of one slot are one event:
/// how unevenly these come does not matter here, since slackening is uneven, too.
pub(super) fn slackens(row: &StackRow, window: &Window) -> bool {
    Pace::of(row, window).slackens(together(row, window))
}

/// True if births since are at least a fifth as frequent as in the whole earlier half, what was loaded at once included,
/// with this chance of error. So many tables that each get an entry now and then are not leak.
pub(super) fn outpaces_the_start(row: &StackRow, window: &Window, tail: f64) -> bool {
    let early = row.births.split_at(BIRTH_SLICES / 2).0.iter().sum();
    Pace { early, ..Pace::of(row, window) }.is_kept(tail)
}

/// How many births there were in the earlier half, and how many since.
pub(super) struct Pace {
    /// Without the fullest slice: what is loaded at once, at start say, must not hide a leak of the same stack.
    pub(super) early: u64,
    /// What is half-old and will get old counts as late: right after the age asked about, the later half is shorter than a
    /// beat.
    pub(super) later: u64,
    /// The share of the time that is late.
    pub(super) late_share: f64,
}

impl Pace {
    fn of(row: &StackRow, window: &Window) -> Pace {
        let older = window.older_units as f64;
        let half = window.length_units.saturating_sub(window.older_units) as f64 / 2.0;
        let (early, late) = row.births.split_at(BIRTH_SLICES / 2);
        let late_units = half + older * (1.0 - HALF_OLD);
        let early_units = half * (early.len() - 1) as f64 / early.len() as f64;
        Pace {
            early: early.iter().sum::<u64>() - early.iter().max().copied().unwrap_or(0),
            later: late.iter().sum::<u64>() + getting_old(row, window),
            late_share: late_units / (late_units + early_units),
        }
    }

    /// True if births since are probably less than a fifth as frequent; those that came together, as many as on average, are one.
    pub(super) fn slackens(&self, together: f64) -> bool {
        slowed(self.early, self.later, self.late_share, together, PROBABLY)
    }

    /// True if births since are at least a fifth as frequent as in the earlier half, with this chance of error.
    pub(super) fn is_kept(&self, tail: f64) -> bool {
        at_least(self.later, self.later + self.early, fair_share(self.late_share)) <= tail
    }
}

/// True if hardly any births followed those of the earlier half, neither in the later one nor since.
fn faded(row: &StackRow, window: &Window, clump: f64, tail: f64) -> bool {
    let older = window.older_units as f64;
    let half = (window.length_units as f64 - older) / 2.0;
    if 2.0 * half < older {
        return false;
    }
    let rest = older * (1.0 - HALF_OLD);
    let (early, late) = row.births.split_at(BIRTH_SLICES / 2);
    let later = late.iter().sum::<u64>() + half_old(row, window);
    slowed(early.iter().sum(), later, (half + rest) / (2.0 * half + rest), clump, tail)
}

/// Live items of a third of the age and more that are not old yet, to the bin.
fn half_old(row: &StackRow, window: &Window) -> u64 {
    let older = window.older_units as f64;
    let bins = (0..age::BINS).filter(|&bin| age::start(bin) as f64 >= HALF_OLD * older);
    bins.map(|bin| row.lifetimes.live[bin] + row.later_parts[bin]).sum::<u64>().saturating_sub(row.old)
}

/// How many of these will get old, if items go on being released as they were: the entries of a cache that is emptied before
/// the age asked about are not the next of a table's.
fn getting_old(row: &StackRow, window: &Window) -> u64 {
    let half_old = half_old(row, window);
    if half_old == 0 {
        return 0;
    }
    // What was loaded at once says nothing of how long others live.
    let mut lent = Survivors::beyond(row, window, window.older_units).map_or(0, |all| all.lent());
    let mut lifetimes = row.lifetimes.clone();
    for live in lifetimes.live.iter_mut().rev() {
        let taken = lent.min(*live);
        (*live, lent) = (*live - taken, lent - taken);
    }
    let survival = |units: u64| Curve::to(&lifetimes, units).survival();
    let old = survival(window.older_units);
    let youngest = HALF_OLD * window.older_units as f64;
    let bins = (0..age::BINS)
        .filter(|&bin| age::start(bin) as f64 >= youngest && age::start(bin) < window.older_units);
    let expected: f64 = bins
        .map(|bin| {
            let now = survival(age::start(bin).midpoint(age::start(bin + 1)));
            let live = row.lifetimes.live[bin] + row.later_parts[bin];
            if now > 0.0 { live as f64 * (old / now).min(1.0) } else { 0.0 }
        })
        .sum();
    half_old.min(expected.round() as u64)
}

/// The share of births that falls into a period, `late_share` of the whole, if births there are a fifth as frequent.
fn fair_share(late_share: f64) -> f64 {
    LEAST_RATIO * late_share / (LEAST_RATIO * late_share + (1.0 - late_share))
}

/// Births that come together, on average: in one slot, or as unevenly as if they did.
fn clump(row: &StackRow, window: &Window) -> f64 {
    dispersion(&row.births).max(together(row, window))
}

/// Births of one slot, on average. They are one event: a load at start is many, and one beat of a leak is not.
pub(super) fn together(row: &StackRow, window: &Window) -> f64 {
    let events = row.arrivals.events(window.older_units, window).max(1);
    (row.old as f64 / events as f64).max(1.0)
}

/// The index of dispersion of the slices, from the start to the last birth. The fullest slice of the earlier half is
/// left out here too: after one load at start everything else would pass for noise.
fn dispersion(births: &[u64; BIRTH_SLICES]) -> f64 {
    let last = births.iter().rposition(|&births| births > 0).unwrap_or(0);
    let fullest = (0..BIRTH_SLICES / 2).max_by_key(|&slice| births[slice]);
    let rest = || (0..=last).filter(|&slice| Some(slice) != fullest).map(|slice| births[slice] as f64);
    let n = rest().count() as f64;
    if n < 2.0 {
        return 1.0;
    }
    let mean = rest().sum::<f64>() / n;
    let variance = rest().map(|births| (births - mean).powi(2)).sum::<f64>() / (n - 1.0);
    if mean > 0.0 { (variance / mean).max(1.0) } else { 1.0 }
}

/// True if `late` births, in clumps, are less than a fifth as frequent as `early` ones, with this chance of error.
fn slowed(early: u64, late: u64, late_share: f64, clump: f64, tail: f64) -> bool {
    let (early, late) = ((early as f64 / clump).ceil() as u64, (late as f64 / clump).ceil() as u64);
    1.0 - at_least(late + 1, early + late, fair_share(late_share)) < tail
}

/// One burst of acquisitions is not growth: births that are half-old came at several moments, and two of these are in
/// the later half or since.
fn spread_out(row: &StackRow, window: &Window) -> bool {
    let older = window.older_units as f64;
    let youngest = (older * HALF_OLD) as u64;
    let late = window.older_units + (window.length_units - window.older_units) / 2;
    spread_between(row, window, youngest, late)
}

/// The same of items that are at least as old as `youngest`; those born since `late`, as an age too, are the later ones.
pub(super) fn spread_between(row: &StackRow, window: &Window, youngest: u64, late: u64) -> bool {
    let moment = (window.older_units as f64 * MOMENT).max(1.0) as u64;
    let moments = |oldest: u64| row.arrivals.moments(youngest..=oldest, moment, window);
    moments(u64::MAX) >= LEAST_MOMENTS && moments(late) >= 2
}

/// Growth of the bytes in items older than the age asked about, per hour of the time in which such items could be
/// born; missing if the observation is not longer than that age.
///
/// The interval is that of a compound Poisson total, `1.96 sqrt(sum of size^2)`; for few items the exact one of
/// their number, times their mean size. In a sampled run the variance of the drawing is added.
pub(super) fn bytes_per_hour(row: &StackRow, window: &Window) -> Option<Estimate> {
    let eligible = window.length_units.checked_sub(window.older_units).filter(|&units| units > 0)?;
    let hours = eligible as f64 / UNITS_PER_HOUR;
    let (bytes, drawing) = match &row.weighted {
        Some(weighted) => weighted.old_bytes,
        None => ((row.old_bytes - row.old_inherited_bytes) as f64, 0.0),
    };
    let (low, high) = if row.old < FEW {
        let mean = if row.old > 0 { bytes / row.old as f64 } else { mean_bytes(row) };
        let count = row.old as f64;
        (poisson_lower(count, ALPHA / 2.0) * mean, poisson_upper(count, ALPHA / 2.0) * mean)
    } else {
        let spread = normal(ALPHA / 2.0) * (row.old_bytes_squared + drawing).sqrt();
        ((bytes - spread).max(0.0), bytes + spread)
    };
    Some(Estimate {
        value: bytes / hours,
        low: low.min(bytes) / hours,
        high: Some(high.max(bytes) / hours),
        exact: row.weighted.is_none(),
    })
}

/// Bytes that one counted item stands for, over all items of the stack.
fn mean_bytes(row: &StackRow) -> f64 {
    let bytes = row.weighted.as_ref().map_or(row.acquired_bytes as f64, |weighted| weighted.acquired_bytes.0);
    if row.acquired > 0 { bytes / row.acquired as f64 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::rows::Weighted;
    use super::*;

    /// Watched for four ages, the age being an hour.
    fn window() -> Window {
        let older_units = UNITS_PER_HOUR as u64;
        Window { length_units: 4 * older_units, older_units }
    }

    /// `younger` items are live that are not old yet, born evenly since.
    fn births(births: [u64; BIRTH_SLICES], younger: u64) -> StackRow {
        let old = births.iter().sum();
        let mut row = StackRow { old, live: old + younger, births, ..StackRow::default() };
        let (window, slot) = (window(), window().slot_units());
        let mut born = |count: u64, from: f64, to: f64| {
            for i in 0..count {
                let birth = from + (to - from) * (i as f64 + 0.5) / count as f64;
                row.arrivals.mark(((4.0 - birth) * window.older_units as f64) as u64, slot);
            }
        };
        for (slice, &count) in births.iter().enumerate() {
            let at = |slice: usize| 3.0 * slice as f64 / BIRTH_SLICES as f64;
            born(count, at(slice), at(slice + 1));
        }
        born(younger, 3.0, 4.0);
        row
    }

    #[test]
    fn steady_births_continue() {
        assert_eq!(growth(&births([3; 16], 16), &window(), false), Growth::Continues);
        assert_eq!(
            growth(&births([0, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3], 16), &window(), false),
            Growth::Continues
        );
    }

    #[test]
    fn bursts_continue() {
        let every_fourth = [0, 40, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0];
        assert_eq!(growth(&births(every_fourth, 40), &window(), false), Growth::Continues);
    }

    #[test]
    fn a_load_at_start_does_not_hide_what_follows() {
        assert_eq!(
            growth(&births([500, 3, 3, 2, 3, 4, 3, 3, 3, 3, 2, 3, 5, 3, 3, 2], 16), &window(), false),
            Growth::Continues
        );
        assert_eq!(
            growth(&births([500, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0), &window(), false),
            Growth::Stopped
        );
    }

    #[test]
    fn a_cache_that_has_filled_has_stopped() {
        assert_eq!(
            growth(&births([9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0), &window(), false),
            Growth::Stopped
        );
        assert_eq!(
            growth(&births([9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0], 0), &window(), false),
            Growth::Stopped
        );
        // It filled until nothing old could be born any more, but nothing younger is there.
        assert_eq!(growth(&births([9; 16], 0), &window(), false), Growth::Stopped);
    }

    #[test]
    fn one_late_burst_is_unclear() {
        let mut burst = births([0; BIRTH_SLICES], 0);
        (burst.births[13], burst.old, burst.live) = (300, 300, 300);
        burst.arrivals.mark(window().older_units * 3 / 2, window().slot_units());
        assert_eq!(growth(&burst, &window(), false), Growth::Unclear);
        assert_eq!(growth(&births([0; 16], 5), &window(), false), Growth::Unclear);
        assert_eq!(
            growth(&births([9; 16], 9), &Window { length_units: 9, older_units: 9 }, false),
            Growth::Unclear
        );
    }

    fn close(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-3, "got {got}, want {want}");
    }

    #[test]
    fn bytes_per_hour_of_opportunity() {
        let row = StackRow { old: 100, old_bytes: 300_000, old_bytes_squared: 9e8, ..StackRow::default() };
        let growth = bytes_per_hour(&row, &window()).unwrap();
        close(growth.value, 100_000.0);
        close(growth.low, (300_000.0 - 1.96 * 30_000.0) / 3.0);
        close(growth.high.unwrap(), (300_000.0 + 1.96 * 30_000.0) / 3.0);
        assert!(growth.exact);

        let weighted = Weighted { old_bytes: (330_000.0, 16e8), ..Weighted::default() };
        let growth = bytes_per_hour(&StackRow { weighted: Some(weighted), ..row }, &window()).unwrap();
        close(growth.value, 110_000.0);
        close(growth.low, (330_000.0 - 1.96 * 50_000.0) / 3.0);
        assert!(!growth.exact);
    }

    #[test]
    fn few_items_have_poisson_limits() {
        let row = StackRow { old: 4, old_bytes: 4_000, old_bytes_squared: 4e6, ..StackRow::default() };
        let growth = bytes_per_hour(&row, &window()).unwrap();
        close(growth.low, 1_089.9 / 3.0);
        close(growth.high.unwrap(), 10_242.0 / 3.0);

        let none = StackRow { acquired: 50, acquired_bytes: 5_000, ..StackRow::default() };
        let growth = bytes_per_hour(&none, &window()).unwrap();
        assert_eq!((growth.value, growth.low), (0.0, 0.0));
        close(growth.high.unwrap(), 368.9 / 3.0);
    }

    #[test]
    fn without_opportunity_there_is_no_growth() {
        let window = Window { length_units: 1_000, older_units: 1_000 };
        assert_eq!(bytes_per_hour(&StackRow::default(), &window), None);
    }
}

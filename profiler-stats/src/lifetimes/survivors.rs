//! The items of a stack that have outlived an age: do ever more of them come, and how fast?
//!
//! A place may hold a cache, a table that was filled once, and a leak. Beyond the age at which the cache has released its
//! entries, table and leak are left, and of these only the leak goes on. So growth is looked at among those items that
//! are kept, in the time in which such items could be born. And what was loaded at once must not lend its long time
//! without releases to others that come and go: of what an early slice of that time brought, no more counts as watched than
//! the fullest of the later half.

use super::growth::{LEAST_LATE, Pace, spread_between, together};
use super::hazard::UNITS_PER_HOUR;
use super::rows::{BIRTH_SLICES, StackRow, Window};
use crate::estimate::Estimate;
use crate::interval::{ALPHA, normal};

/// The items older than some age, which is not below the one asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survivors<'a> {
    row: &'a StackRow,
    window: &'a Window,
    /// They were born in this many slices, the first ones.
    slices: usize,
}

/// What the sentences say of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// They are older than this, in age units.
    pub from_units: u64,
    /// How many they are; of a sampled run, the drawn ones.
    pub items: u64,
    /// Their bytes; of a sampled run, the estimate.
    pub bytes: f64,
    /// Items that were released at the age asked about or later, and earlier than those of `from_units`.
    pub released_before: u64,
}

impl<'a> Survivors<'a> {
    /// Those older than `units`, to the next slice, or than the age asked about; nothing if there is no time to compare
    /// in which they could be born.
    pub(super) fn beyond(row: &'a StackRow, window: &'a Window, units: u64) -> Option<Survivors<'a>> {
        let eligible = window.length_units.checked_sub(window.older_units).filter(|&units| units > 0)?;
        let span = window.length_units.checked_sub(units.max(window.older_units))?;
        let slices = (u128::from(span) * BIRTH_SLICES as u128 / u128::from(eligible)) as usize;
        (slices >= 2).then_some(Survivors { row, window, slices })
    }

    /// True if they are all items older than the age asked about.
    pub(super) fn are_all(&self) -> bool {
        self.slices == BIRTH_SLICES
    }

    /// Length of a slice, in age units.
    fn slice_units(&self) -> f64 {
        self.window.length_units.saturating_sub(self.window.older_units) as f64 / BIRTH_SLICES as f64
    }

    /// The age, in units, of the youngest that was born in the first `slices` slices.
    fn age_after(&self, slices: usize) -> u64 {
        (self.window.length_units as f64 - self.slice_units() * slices as f64).ceil() as u64
    }

    /// The age that all of them have reached, in units.
    pub(super) fn least_units(&self) -> u64 {
        if self.are_all() { self.window.older_units } else { self.age_after(self.slices) }
    }

    /// Births of the earlier and the later half of the slices.
    fn halves(&self) -> (&[u64], &[u64]) {
        self.row.births[..self.slices].split_at(self.slices / 2)
    }

    /// Items born in a slice; the later parts of one that grew are none, and are not watched apart from it.
    fn items(&self, slice: usize) -> u64 {
        self.row.births[slice].saturating_sub(self.row.later_births[slice])
    }

    /// Births of the later half.
    pub(super) fn late(&self) -> u64 {
        self.halves().1.iter().sum()
    }

    /// What the early slices brought beyond the fullest of the later half, by slice.
    fn excess(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let half = self.slices / 2;
        let fullest = (half..self.slices).map(|slice| self.items(slice)).max().unwrap_or(0);
        (0..half)
            .map(move |slice| (slice, self.items(slice).saturating_sub(fullest)))
            .filter(|(_, more)| *more > 0)
    }

    /// The time, in item units, that this excess was live beyond `units`: it is lent, and does not count.
    pub(super) fn lent_units(&self, units: u64) -> f64 {
        self.excess().map(|(slice, more)| more as f64 * self.watched_units(slice, units)).sum()
    }

    /// The same of what was loaded at once alone: what the fullest of the early slices brought beyond any other.
    pub(super) fn lent_at_once_units(&self, units: u64) -> f64 {
        let fullest = (0..self.slices / 2).max_by_key(|&slice| self.items(slice)).unwrap_or(0);
        let others = (0..self.slices).filter(|&slice| slice != fullest);
        let next = others.map(|slice| self.items(slice)).max().unwrap_or(0);
        let more = self.items(fullest).saturating_sub(next);
        more as f64 * self.watched_units(fullest, units)
    }

    /// How long an item born at the start of a slice was watched beyond `units`.
    fn watched_units(&self, slice: usize, units: u64) -> f64 {
        (self.window.length_units as f64 - self.slice_units() * slice as f64 - units as f64).max(0.0)
    }

    /// Items of the excess.
    pub(super) fn lent(&self) -> u64 {
        self.excess().map(|(_, more)| more).sum()
    }

    /// True if ever more of them come, wrong with the chance `alpha`: as of all old items, but without those that are too
    /// young to tell.
    /// `was_leak`: an earlier look has proved that they came.
    pub(super) fn grow(&self, was_leak: bool, alpha: f64) -> bool {
        let pace = self.pace();
        pace.later >= LEAST_LATE
            && pace.is_kept(alpha)
            && spread_between(self.row, self.window, self.least_units(), self.age_after(self.slices / 2))
            && !self.have_ended(was_leak)
    }

    /// True unless they have stopped coming, or come probably less than a fifth as often as before.
    pub(super) fn may_grow(&self) -> bool {
        self.late() > 0 && !self.have_ended(true) && !self.pace().slackens(together(self.row, self.window))
    }

    fn pace(&self) -> Pace {
        let (early, late) = self.halves();
        Pace {
            early: early.iter().sum::<u64>() - early.iter().max().copied().unwrap_or(0),
            later: late.iter().sum(),
            late_share: late.len() as f64 / (late.len() + early.len() - 1) as f64,
        }
    }

    /// True if they have certainly stopped coming.
    pub(super) fn have_ended(&self, was_leak: bool) -> bool {
        self.row.arrivals.silent_from(self.least_units(), self.window, was_leak)
    }

    /// How many they are, and what they hold. `released` tells how many items were released before they got so old.
    pub(super) fn kept(&self, released_before: u64) -> Kept {
        let items = self.row.births[..self.slices].iter().sum();
        Kept { from_units: self.least_units(), items, bytes: self.bytes(), released_before }
    }

    fn bytes(&self) -> f64 {
        self.row.birth_bytes[..self.slices].iter().sum()
    }

    /// Their growth in bytes per hour of the time in which they could be born. The interval is that of a compound Poisson
    /// total.
    pub(super) fn bytes_per_hour(&self) -> Estimate {
        let hours = self.slice_units() * self.slices as f64 / UNITS_PER_HOUR;
        let spread: f64 = self.row.birth_variances[..self.slices].iter().sum();
        let (bytes, half) = (self.bytes(), normal(ALPHA / 2.0) * spread.sqrt());
        Estimate {
            value: bytes / hours,
            low: (bytes - half).max(0.0) / hours,
            high: Some((bytes + half) / hours),
            exact: self.row.weighted.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLDER: u64 = 1 << 20;
    /// A slice is an eighth of an age, 2^17 units.
    const WINDOW: Window = Window { length_units: 3 * OLDER, older_units: OLDER };

    fn row(births: [u64; BIRTH_SLICES]) -> StackRow {
        let mut row = StackRow::default();
        for (slice, count) in births.into_iter().enumerate() {
            for item in 0..count {
                let birth = (slice as u64 * (OLDER >> 3)) + (item * 2 + 1) * (OLDER >> 3) / (2 * count);
                row.acquire(WINDOW.length_units - birth, 1_000 * OLDER, &WINDOW);
            }
        }
        assert_eq!(row.births, births);
        row
    }

    #[test]
    fn of_a_later_age_those_are_left_that_were_born_early() {
        let row = row([2; BIRTH_SLICES]);
        let beyond = |ages: f64| Survivors::beyond(&row, &WINDOW, (ages * OLDER as f64) as u64);
        let all = beyond(0.7).unwrap();
        assert!(all.are_all() && all.least_units() == OLDER && all.late() == 16);
        // Those older than 1.55 ages were born in the first 1.45, which are 11 whole slices.
        let some = beyond(1.55).unwrap();
        assert_eq!((some.are_all(), some.slices, some.least_units()), (false, 11, OLDER * 13 / 8));
        let kept = some.kept(5);
        assert_eq!((kept.items, kept.bytes, kept.released_before), (22, 2_200.0, 5));
        let per_unit = some.bytes_per_hour();
        assert!((per_unit.value * (11.0 * (OLDER >> 3) as f64 / UNITS_PER_HOUR) - 2_200.0).abs() < 1e-6);
        assert!(per_unit.low > 0.0 && per_unit.high.unwrap() < 2.0 * per_unit.value);
        assert!(beyond(2.8).is_none() && beyond(9.0).is_none(), "no time to compare");
        let short = Window { length_units: OLDER, older_units: OLDER };
        assert!(Survivors::beyond(&row, &short, OLDER).is_none());
    }

    #[test]
    fn what_came_faster_early_lends_no_time() {
        let table = row([90, 30, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]);
        let all = Survivors::beyond(&table, &WINDOW, 0).unwrap();
        assert_eq!(all.lent(), 86 + 26);
        let slice = (OLDER >> 3) as f64;
        let from = WINDOW.length_units as f64 - OLDER as f64;
        assert_eq!(all.lent_units(OLDER), 86.0 * from + 26.0 * (from - slice));
        assert_eq!(all.lent_at_once_units(OLDER), 60.0 * from);
        let even = row([3; BIRTH_SLICES]);
        assert_eq!(Survivors::beyond(&even, &WINDOW, 0).unwrap().lent(), 0);
    }

    #[test]
    fn what_stays_must_keep_coming() {
        let at = |births: [u64; BIRTH_SLICES], ages: f64| {
            let row = row(births);
            let survivors = Survivors::beyond(&row, &WINDOW, (ages * OLDER as f64) as u64).unwrap();
            (survivors.grow(false, ALPHA), survivors.may_grow())
        };
        assert_eq!(at([3; BIRTH_SLICES], 1.5), (true, true));
        // Filled in half an age; what is younger than 1.5 ages will still be released.
        assert_eq!(at([20, 20, 20, 20, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3], 1.5), (false, false));
        assert!(!at([20, 20, 20, 20, 1, 0, 1, 0, 1, 0, 1, 0, 3, 3, 3, 3], 1.5).0);
    }
}

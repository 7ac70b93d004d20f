//! Live items, added to what their stack did.

use profiler_common::age;

use super::{
    moments::Moment,
    rows::{BIRTH_SLICES, StackRow, Weighted},
};
use crate::drawing::stands_for;

/// A live item, or a part of one that grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its size.
    pub size_bytes: u64,
    /// When it was acquired, in age units since the start of the clock.
    pub born_units: u32,
    /// Whether it is the oldest part of its stack in the item. The others are not items.
    pub oldest: bool,
    /// Whether some of its bytes may have been there before the observation.
    pub inherited: bool,
}

impl Live {
    /// An item that never grew.
    #[cfg(any(test, feature = "lab"))]
    pub fn alone(size_bytes: u64, born_units: u32) -> Live {
        Live { size_bytes, born_units, oldest: true, inherited: false }
    }
}

impl StackRow {
    /// Adds a live item. `slot_units` is [`Window::slot_units`](super::rows::Window::slot_units) of the moment's window.
    pub fn add_live(&mut self, live: &Live, moment: &Moment, slot_units: u64) {
        let age_units = moment.now_units.saturating_sub(u64::from(live.born_units));
        let bin = age::bin(u32::try_from(age_units).unwrap_or(u32::MAX));
        let old = age_units >= moment.older_units;
        self.live += 1;
        self.live_bytes += live.size_bytes;
        let slice = slice(live.born_units.into(), moment);
        let (size, stands_for) = (live.size_bytes as f64, stands_for_in(moment, live.size_bytes));
        if live.oldest {
            self.lifetimes.live[bin] += 1;
            self.lifetimes.live_age_units[bin] += age_units;
        } else {
            self.later_parts[bin] += 1;
            self.later_births[slice] += u64::from(old);
            self.oldest_later_units = self.oldest_later_units.max(age_units);
        }
        if old {
            self.old += 1;
            self.old_bytes += live.size_bytes;
        }
        if live.inherited {
            self.inherited_bytes += size * stands_for;
        }
        if live.inherited && moment.sample_bytes.is_none() {
            // Not known when it came: it tells nothing of growth.
            self.old_inherited_bytes += if old { live.size_bytes } else { 0 };
            self.inherited_births[slice] += u64::from(old);
        } else {
            self.arrivals.mark(age_units, slot_units);
            if old {
                self.old_bytes_squared += size * size * stands_for;
                self.births[slice] += 1;
                self.birth_bytes[slice] += size * stands_for;
                // Of a compound Poisson total, and of the drawing.
                self.birth_variances[slice] += size * size * stands_for * stands_for;
            }
        }
        if let (Some(mean), Some(weighted)) = (moment.sample_bytes, &mut self.weighted) {
            weigh(weighted, live.size_bytes as f64, mean as f64, old);
        }
    }
}

/// The slice of the eligible period that an old item was born in.
fn slice(born_units: u64, moment: &Moment) -> usize {
    let eligible = moment.window().length_units.saturating_sub(moment.older_units).max(1);
    let since = born_units.saturating_sub(moment.began_units);
    ((since * BIRTH_SLICES as u64 / eligible) as usize).min(BIRTH_SLICES - 1)
}

/// Horvitz-Thompson: a drawn item stands for 1/p items, with variance (1 - p) / p^2.
fn weigh(weighted: &mut Weighted, size: f64, mean: f64, old: bool) {
    let weight = stands_for(size, mean);
    let variance = weight * (weight - 1.0);
    let add = |(estimate, spread): &mut (f64, f64), by: f64| {
        *estimate += weight * by;
        *spread += variance * by * by;
    };
    add(&mut weighted.live, 1.0);
    add(&mut weighted.live_bytes, size);
    if old {
        add(&mut weighted.old, 1.0);
        add(&mut weighted.old_bytes, size);
    }
}

/// How many items of this size a recorded one stands for.
fn stands_for_in(moment: &Moment, size_bytes: u64) -> f64 {
    moment.sample_bytes.map_or(1.0, |mean| stands_for(size_bytes as f64, mean as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Moment = Moment { began_units: 100, now_units: 1700, older_units: 600, sample_bytes: None };

    #[test]
    fn later_parts_are_births_and_no_items() {
        let mut row = StackRow::default();
        for (born_units, oldest) in [(200, true), (300, false), (1600, false)] {
            row.add_live(&Live { oldest, ..Live::alone(10, born_units) }, &MOMENT, 1);
        }
        assert_eq!((row.live, row.old, row.old_bytes), (3, 2, 20));
        assert_eq!((row.lifetimes.live.iter().sum::<u64>(), row.later_parts.iter().sum::<u64>()), (1, 2));
        assert_eq!(row.births.iter().sum::<u64>(), 2);
    }

    #[test]
    fn what_may_have_been_there_before_is_no_growth() {
        let mut row = StackRow::default();
        row.add_live(&Live { inherited: true, ..Live::alone(1_000, 200) }, &MOMENT, 1);
        row.add_live(&Live::alone(10, 300), &MOMENT, 1);
        assert_eq!((row.old_bytes, row.old_inherited_bytes), (1_010, 1_000));
        assert_eq!((row.births.iter().sum::<u64>(), row.old_bytes_squared), (1, 100.0));
    }

    #[test]
    fn live_items_are_sorted_by_age_and_birth() {
        let mut row = StackRow::default();
        for (born_units, size_bytes) in [(100, 10), (1099, 20), (1101, 40), (1700, 80)] {
            row.add_live(&Live::alone(size_bytes, born_units), &MOMENT, 1);
        }
        assert_eq!((row.live, row.live_bytes, row.old, row.old_bytes), (4, 150, 2, 30));
        assert_eq!((row.births[0], row.births[BIRTH_SLICES - 1]), (1, 1));
        assert_eq!((row.birth_bytes[0], row.birth_bytes[BIRTH_SLICES - 1]), (10.0, 20.0));
        assert_eq!((row.birth_variances[0], row.birth_variances[BIRTH_SLICES - 1]), (100.0, 400.0));
        assert_eq!(row.lifetimes.live.iter().sum::<u64>(), 4);
        assert_eq!(row.lifetimes.live_age_units.iter().sum::<u64>(), 1600 + 601 + 599);
    }

    #[test]
    fn a_drawn_item_stands_for_all_of_its_size() {
        let mut weighted = Weighted::default();
        weigh(&mut weighted, 1.0, 1000.0, true);
        assert!((weighted.live.0 - 1000.5).abs() < 0.1, "{weighted:?}");
        let mut large = Weighted::default();
        weigh(&mut large, 1e6, 1000.0, false);
        assert!((large.live_bytes.0 - 1e6).abs() < 1e-3 && large.live_bytes.1 < 1e-3);
        assert_eq!(large.old, (0.0, 0.0));
    }
}

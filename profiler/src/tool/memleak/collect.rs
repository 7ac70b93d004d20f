//! From the kernel side's maps to rows: the only step that sees wire types.

use profiler_common::{
    memleak::{StackTotals, age, counters::Counter, sampling::WEIGHT_ONE},
    space::key_space,
};

use super::{
    blocks::{Blocks, Live},
    rows::{BIRTH_SLICES, Observed, StackRow, Weighted, Window},
    totals::{self, Totals},
};
use crate::{capture::object::Object, error::Result};

/// Everything the kernel side knows at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// One row per stack that allocated.
    pub(crate) rows: Vec<StackRow>,
    /// The ledger.
    pub(crate) counters: [u64; Counter::COUNT],
}

/// When the snapshot is taken, and what it is to be read for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Age units from the kernel side's start to the beginning of the observation.
    pub(crate) began_units: u64,
    /// Age units from the kernel side's start to now.
    pub(crate) now_units: u64,
    /// The age asked about.
    pub(crate) older_units: u64,
    /// Mean gap of a sampled run.
    pub(crate) sample_bytes: Option<u64>,
}

impl Moment {
    /// The window that verdicts are given for.
    pub(crate) fn window(&self) -> Window {
        Window {
            length_units: self.now_units.saturating_sub(self.began_units),
            older_units: self.older_units,
        }
    }
}

/// The moment of the whole observation, and those of address spaces that have ended or began later.
#[derive(Debug)]
pub(crate) struct Moments {
    pub(crate) whole: Moment,
    /// By number of the space.
    of_spaces: Vec<Option<(Moment, Observed)>>,
}

impl Moments {
    pub(crate) fn new(whole: Moment) -> Moments {
        Moments { whole, of_spaces: Vec::new() }
    }

    /// Of a space that was not observed all the time. If it has `ended`, `moment` is its end.
    pub(crate) fn set(&mut self, space: u16, moment: Moment, ended: bool) {
        let place = usize::from(space);
        if self.of_spaces.len() <= place {
            self.of_spaces.resize(place + 1, None);
        }
        if let Some(of_space) = self.of_spaces.get_mut(place) {
            *of_space = Some((moment, Observed { length_units: moment.window().length_units, ended }));
        }
    }

    /// The moment of a space, and its time where that is one of its own.
    pub(super) fn of(&self, space: u16) -> (&Moment, Option<Observed>) {
        match self.of_spaces.get(usize::from(space)) {
            Some(Some((moment, observed))) => (moment, Some(*observed)),
            _ => (&self.whole, None),
        }
    }
}

/// Reads the maps. `space_of` tells the space of a stack.
pub(crate) fn snapshot(
    object: &Object,
    totals: &Totals,
    blocks: &Blocks,
    stacks: usize,
    moments: &Moments,
    space_of: impl Fn(u32) -> Option<u16>,
) -> Result<Snapshot> {
    let mut rows: Vec<Option<Box<StackRow>>> = (0..stacks.max(1)).map(|_| None).collect();
    for (stack, slot) in rows.iter_mut().enumerate() {
        let Some(total) = totals.of(stack).filter(|t| t.allocs != 0) else { continue };
        let observed = space_of(stack as u32).and_then(|space| moments.of(space).1);
        *slot = Some(Box::new(StackRow { observed, ..row(stack as u32, &total, &moments.whole) }));
    }
    blocks.for_each_placed(object, |key, live| {
        let stack = live.block.stack;
        if let Some(slot) = rows.get_mut(stack as usize) {
            let row = slot.get_or_insert_with(|| Box::new(StackRow { stack, ..StackRow::default() }));
            let (moment, observed) = moments.of(key_space(key));
            row.observed = observed;
            add_live(row, &live, moment, moment.window().slot_units());
        }
    })?;
    let counters = totals::counters(object)?;
    Ok(Snapshot { rows: rows.into_iter().flatten().map(|row| *row).collect(), counters })
}

fn row(stack: u32, total: &StackTotals, moment: &Moment) -> StackRow {
    let mut row =
        StackRow { stack, allocs: total.allocs, alloc_bytes: total.alloc_bytes, ..StackRow::default() };
    row.lifetimes.died = total.died;
    row.merged = total.merged;
    if moment.sample_bytes.is_some() {
        let unit = WEIGHT_ONE as f64;
        let (count, variance) = (total.weight as f64 / unit, total.weight_variance as f64 / unit);
        let bytes = total.weight_bytes as f64;
        let mean_size = if count > 0.0 { bytes / count } else { 0.0 };
        row.weighted = Some(Weighted {
            allocs: (count, variance),
            alloc_bytes: (bytes, variance * mean_size * mean_size),
            ..Weighted::default()
        });
    }
    row
}

pub(super) fn add_live(row: &mut StackRow, live: &Live, moment: &Moment, slot_units: u64) {
    let block = &live.block;
    let age_units = moment.now_units.saturating_sub(u64::from(block.born_units));
    let bin = age::bin(u32::try_from(age_units).unwrap_or(u32::MAX));
    let old = age_units >= moment.older_units;
    row.live += 1;
    row.live_bytes += block.size_bytes;
    let slice = slice(block.born_units.into(), moment);
    let (size, stands_for) = (block.size_bytes as f64, stands_for_in(moment, block.size_bytes));
    if live.oldest {
        row.lifetimes.live[bin] += 1;
        row.lifetimes.live_age_units[bin] += age_units;
    } else {
        row.later_parts[bin] += 1;
        row.later_births[slice] += u64::from(old);
        row.oldest_later_units = row.oldest_later_units.max(age_units);
    }
    if old {
        row.old += 1;
        row.old_bytes += block.size_bytes;
    }
    if live.inherited {
        row.reallocated_bytes += size * stands_for;
    }
    if live.inherited && moment.sample_bytes.is_none() {
        // Not known when it came: it tells nothing of growth.
        row.old_inherited_bytes += if old { block.size_bytes } else { 0 };
        row.inherited_births[slice] += u64::from(old);
    } else {
        row.arrivals.mark(age_units, slot_units);
        if old {
            row.old_bytes_squared += size * size * stands_for;
            row.births[slice] += 1;
            row.birth_bytes[slice] += size * stands_for;
            // Of a compound Poisson total, and of the drawing.
            row.birth_variances[slice] += size * size * stands_for * stands_for;
        }
    }
    if let (Some(mean), Some(weighted)) = (moment.sample_bytes, &mut row.weighted) {
        weigh(weighted, block.size_bytes as f64, mean as f64, old);
    }
}

/// The slice of the eligible period that an old block was born in.
fn slice(born_units: u64, moment: &Moment) -> usize {
    let eligible = moment.window().length_units.saturating_sub(moment.older_units).max(1);
    let since = born_units.saturating_sub(moment.began_units);
    ((since * BIRTH_SLICES as u64 / eligible) as usize).min(BIRTH_SLICES - 1)
}

/// Horvitz-Thompson: a drawn block stands for 1/p blocks, with variance (1 - p) / p^2.
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

/// How many blocks of this size a recorded one stands for.
fn stands_for_in(moment: &Moment, size_bytes: u64) -> f64 {
    moment.sample_bytes.map_or(1.0, |mean| stands_for(size_bytes as f64, mean as f64))
}

/// How many blocks of this size a drawn one stands for: one over the probability that it is drawn.
pub(super) fn stands_for(size_bytes: f64, mean_bytes: f64) -> f64 {
    1.0 / -(-size_bytes.max(1.0) / mean_bytes).exp_m1()
}

/// The weight of a block of this size, as the kernel side keeps it.
pub(crate) fn weight(size_bytes: f64, mean_bytes: f64) -> u64 {
    (stands_for(size_bytes, mean_bytes) * WEIGHT_ONE as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use profiler_common::memleak::Block;

    use super::*;

    const MOMENT: Moment = Moment { began_units: 100, now_units: 1700, older_units: 600, sample_bytes: None };

    fn live(size_bytes: u64, born_units: u32) -> Live {
        Live::alone(Block { size_bytes, born_units, stack: 0 })
    }

    #[test]
    fn later_parts_are_births_and_no_blocks() {
        let mut row = StackRow::default();
        for (born_units, oldest) in [(200, true), (300, false), (1600, false)] {
            add_live(&mut row, &Live { oldest, ..live(10, born_units) }, &MOMENT, 1);
        }
        assert_eq!((row.live, row.old, row.old_bytes), (3, 2, 20));
        assert_eq!((row.lifetimes.live.iter().sum::<u64>(), row.later_parts.iter().sum::<u64>()), (1, 2));
        assert_eq!(row.births.iter().sum::<u64>(), 2);
    }

    #[test]
    fn what_may_have_been_there_before_is_no_growth() {
        let mut row = StackRow::default();
        add_live(&mut row, &Live { inherited: true, ..live(1_000, 200) }, &MOMENT, 1);
        add_live(&mut row, &live(10, 300), &MOMENT, 1);
        assert_eq!((row.old_bytes, row.old_inherited_bytes), (1_010, 1_000));
        assert_eq!((row.births.iter().sum::<u64>(), row.old_bytes_squared), (1, 100.0));
    }

    #[test]
    fn live_blocks_are_sorted_by_age_and_birth() {
        let mut row = StackRow::default();
        for (born_units, size_bytes) in [(100, 10), (1099, 20), (1101, 40), (1700, 80)] {
            add_live(&mut row, &live(size_bytes, born_units), &MOMENT, 1);
        }
        assert_eq!((row.live, row.live_bytes, row.old, row.old_bytes), (4, 150, 2, 30));
        assert_eq!((row.births[0], row.births[BIRTH_SLICES - 1]), (1, 1));
        assert_eq!((row.birth_bytes[0], row.birth_bytes[BIRTH_SLICES - 1]), (10.0, 20.0));
        assert_eq!((row.birth_variances[0], row.birth_variances[BIRTH_SLICES - 1]), (100.0, 400.0));
        assert_eq!(row.lifetimes.live.iter().sum::<u64>(), 4);
        assert_eq!(row.lifetimes.live_age_units.iter().sum::<u64>(), 1600 + 601 + 599);
    }

    #[test]
    fn a_space_that_was_not_there_all_the_time_has_a_moment_of_its_own() {
        let mut moments = Moments::new(MOMENT);
        let ended = Moment { now_units: 900, ..MOMENT };
        moments.set(3, ended, true);
        let (moment, observed) = moments.of(3);
        assert_eq!(observed, Some(Observed { length_units: 800, ended: true }));
        // Its blocks are as old as they were at its end.
        let mut row = StackRow::default();
        add_live(&mut row, &live(10, 400), moment, 1);
        assert_eq!((row.old, row.lifetimes.live_age_units.iter().sum::<u64>()), (0, 500));
        for other in [2, 4] {
            assert_eq!((moments.of(other).0.now_units, moments.of(other).1), (1700, None));
        }
    }

    #[test]
    fn a_drawn_block_stands_for_all_of_its_size() {
        let mut weighted = Weighted::default();
        weigh(&mut weighted, 1.0, 1000.0, true);
        assert!((weighted.live.0 - 1000.5).abs() < 0.1, "{weighted:?}");
        let mut large = Weighted::default();
        weigh(&mut large, 1e6, 1000.0, false);
        assert!((large.live_bytes.0 - 1e6).abs() < 1e-3 && large.live_bytes.1 < 1e-3);
        assert_eq!(large.old, (0.0, 0.0));
        assert_eq!(weight(1e9, 1000.0), WEIGHT_ONE);
    }
}

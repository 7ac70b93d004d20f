//! From the kernel side's maps to rows: the only step that sees wire types.

use profiler_common::{
    ledger::Ledger,
    memleak::{StackTotals, counters::Counter, sampling::WEIGHT_ONE},
    space::key_space,
};

use super::{blocks::Blocks, totals::Totals};
use crate::{
    capture::{counted::counters, object::Object},
    error::Result,
    stats::{
        drawing::stands_for,
        lifetimes::{
            moments::{Moment, Moments},
            rows::{StackRow, Weighted},
        },
    },
};

/// Everything the kernel side knows at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// One row per stack that allocated.
    pub(crate) rows: Vec<StackRow>,
    /// The ledger.
    pub(crate) counters: [u64; Counter::COUNT],
}

/// Reads the maps. `space_of`: the space of a stack.
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
        let stack = live.stack;
        if let Some(slot) = rows.get_mut(stack as usize) {
            let row = slot.get_or_insert_with(|| Box::new(StackRow { stack, ..StackRow::default() }));
            let (moment, observed) = moments.of(key_space(key));
            row.observed = observed;
            row.add_live(&live.part, moment, moment.window().slot_units());
        }
    })?;
    let counters = counters(object, <Counter as Ledger>::ENTRIES)?;
    Ok(Snapshot { rows: rows.into_iter().flatten().map(|row| *row).collect(), counters })
}

fn row(stack: u32, total: &StackTotals, moment: &Moment) -> StackRow {
    let mut row =
        StackRow { stack, acquired: total.allocs, acquired_bytes: total.alloc_bytes, ..StackRow::default() };
    row.lifetimes.died = total.died;
    row.merged = total.merged;
    if moment.sample_bytes.is_some() {
        let unit = WEIGHT_ONE as f64;
        let (count, variance) = (total.weight as f64 / unit, total.weight_variance as f64 / unit);
        let bytes = total.weight_bytes as f64;
        let mean_size = if count > 0.0 { bytes / count } else { 0.0 };
        row.weighted = Some(Weighted {
            acquired: (count, variance),
            acquired_bytes: (bytes, variance * mean_size * mean_size),
            ..Weighted::default()
        });
    }
    row
}

/// The weight of a block of this size, as the kernel side keeps it.
pub(crate) fn weight(size_bytes: f64, mean_bytes: f64) -> u64 {
    (stands_for(size_bytes, mean_bytes) * WEIGHT_ONE as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_always_drawn_stands_for_itself() {
        assert_eq!(weight(1e9, 1000.0), WEIGHT_ONE);
    }
}

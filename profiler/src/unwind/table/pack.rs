//! Packing rules into rows and blocks.

use std::ops::Range;

use profiler_common::unwind::{BLOCK_BYTES, BLOCK_SHIFT, Block, CHUNK_ROWS, Row};

use super::read::Text;
use super::{Error, SPARE_ROWS, Segment, Stats, Table};
use crate::unwind::dictionary::Dictionary;

/// Writes the rows and blocks of a text from front to back.
pub(super) struct Packer {
    /// Numbers of the blocks of each segment, by address.
    plans: Vec<Range<u64>>,
    /// Segments begun so far; the last one is being written.
    segments: Vec<Segment>,
    rows: Vec<Row>,
    /// The rule in force at the first byte of the block that is being written.
    first: Row,
    /// The other rows of that block.
    changes: Vec<Row>,
    /// Number of that block.
    number: u64,
    /// The rule in force, with `lo` 0.
    rule: Row,
    limit: usize,
    stats: Stats,
}

impl Packer {
    pub(super) fn new(text: &Text) -> Packer {
        let plans = plans(text);
        let limit = usize::try_from(text.bytes() / 4).unwrap_or(usize::MAX).saturating_add(SPARE_ROWS);
        let mut packer = Packer {
            plans,
            segments: Vec::new(),
            rows: Vec::new(),
            first: Row::NONE,
            changes: Vec::new(),
            number: 0,
            rule: Row::NONE,
            limit,
            stats: Stats { text_bytes: text.bytes(), ..Stats::default() },
        };
        packer.begin_segment();
        packer
    }

    /// Sets the rule in force from `address` on. Addresses must ascend.
    pub(super) fn set(&mut self, address: u64, row: Row) -> Result<(), Error> {
        let number = address >> BLOCK_SHIFT;
        self.close_before(number)?;
        if row == self.rule {
            return Ok(());
        }
        self.rule = row;
        self.stats.count(row);
        let lo = address as u8;
        // Otherwise the number is that of the next segment, and the change is before it.
        if lo == 0 || number != self.number {
            self.first = row;
        } else {
            self.changes.push(row.at(lo));
        }
        Ok(())
    }

    /// Writes the rest, and returns the table.
    pub(super) fn finish(mut self, rules: Dictionary) -> Result<Table, Error> {
        self.close_before(u64::MAX)?;
        self.rows.resize(self.rows.len().next_multiple_of(CHUNK_ROWS), Row::NONE);
        Ok(Table { segments: self.segments, rows: self.rows, rules, stats: self.stats })
    }

    /// Writes all blocks below `number`.
    fn close_before(&mut self, number: u64) -> Result<(), Error> {
        while let Some(plan) = self.segments.len().checked_sub(1).and_then(|last| self.plans.get(last)) {
            let end = plan.end;
            while self.number < end.min(number) {
                self.close()?;
            }
            if number < end || !self.begin_segment() {
                break;
            }
        }
        Ok(())
    }

    /// Begins the next segment. `false` if there is none.
    fn begin_segment(&mut self) -> bool {
        let Some(plan) = self.plans.get(self.segments.len()) else { return false };
        let blocks = Vec::with_capacity(usize::try_from(plan.end - plan.start).unwrap_or(0));
        self.segments.push(Segment { first_block: plan.start, blocks });
        self.number = plan.start;
        self.first = self.rule;
        true
    }

    /// Writes the current block, and begins the next one.
    fn close(&mut self) -> Result<(), Error> {
        let block = self.store()?;
        if let Some(segment) = self.segments.last_mut() {
            segment.blocks.push(block);
        }
        self.number += 1;
        self.first = self.rule;
        self.changes.clear();
        Ok(())
    }

    fn store(&mut self) -> Result<Block, Error> {
        let count = 1 + self.changes.len();
        if count == 1 && self.first == Row::NONE {
            return Ok(Block::default());
        }
        // The last row written is reused as the first one if the others still fit after it.
        let fits_from = |first: usize| first % CHUNK_ROWS + count <= CHUNK_ROWS;
        let same_rule = self.rows.last().is_some_and(|last| last.rule() == self.first.rule());
        let shared = self.rows.len().checked_sub(1).filter(|&last| same_rule && fits_from(last));
        let start = shared.unwrap_or_else(|| {
            if !fits_from(self.rows.len()) {
                self.rows.resize(self.rows.len().next_multiple_of(CHUNK_ROWS), Row::NONE);
            }
            self.rows.push(self.first);
            self.rows.len() - 1
        });
        self.rows.extend_from_slice(&self.changes);
        let absurd = Error::TooManyRows { limit: self.limit, text_bytes: self.stats.text_bytes };
        match (u32::try_from(start), u16::try_from(count)) {
            (Ok(start), Ok(count)) if self.rows.len() <= self.limit => Ok(Block::new(start, count)),
            _ => Err(absurd),
        }
    }
}

/// The blocks of each segment. Segments that share a block, or follow each other without a gap, become one.
fn plans(text: &Text) -> Vec<Range<u64>> {
    let mut plans: Vec<Range<u64>> = Vec::new();
    for range in text.ranges() {
        let (first, end) = (range.start >> BLOCK_SHIFT, range.end.div_ceil(BLOCK_BYTES));
        match plans.last_mut() {
            Some(before) if first <= before.end => before.end = before.end.max(end),
            _ => plans.push(first..end),
        }
    }
    plans
}

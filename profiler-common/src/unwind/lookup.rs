//! From an address to its rule.

use super::{
    BLOCK_SHIFT, Block, CHUNK_ROWS, Mapping, Mappings, Rare, Row, mapping::MAX_MAPPINGS, walk::Walk,
};
use crate::opaque::{not_negative, opaque};

/// The tables of all program files, and how to read them.
///
/// # Safety
/// What the functions return points to as much as they say, for as long as the walk lasts.
pub unsafe trait Tables: Copy {
    /// Block number `index` of the array of all blocks.
    fn block(self, index: u32) -> Option<Block>;
    /// Chunk number `index` of the array of all rows: [`CHUNK_ROWS`] rows.
    fn chunk(self, index: u32) -> Option<*const Row>;
    /// Rule number `index` of the dictionary.
    fn rare(self, index: u32) -> Option<*const Rare>;

    /// The rule at an address, if it was given to [`keep`](Tables::keep) under the same mappings.
    fn kept(self, address: u64) -> Option<Row> {
        let _ = address;
        None
    }
    /// Takes note of the rule at an address: a search costs more than anything else that a frame takes.
    fn keep(self, address: u64, row: Row) {
        let _ = (address, row);
    }
}

/// The rule in force at an address, as [`find`] gives it, or as it was kept.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub(super) unsafe fn rule<T: Tables>(
    tables: T,
    mappings: *const Mappings,
    walk: *mut Walk,
    address: u64,
) -> Row {
    if let Some(row) = tables.kept(address) {
        return row;
    }
    // SAFETY: the caller vouches for both pointers.
    let row = unsafe { find(tables, mappings, walk, address) };
    tables.keep(address, row);
    row
}

/// Steps of a search that halves [`MAX_MAPPINGS`], and the rows of a block.
const STEPS: [u64; 8] = [128, 64, 32, 16, 8, 4, 2, 1];
/// Those that do for a block of up to 16 rows, which nearly all are.
const FEW_STEPS: [u64; 4] = [8, 4, 2, 1];

/// The rule in force at an address; [`Row::NONE`] if nothing with a table is mapped there.
///
/// # Safety
/// `mappings` and `walk` are valid, and the latter is the caller's own.
#[inline(always)]
pub unsafe fn find<T: Tables>(tables: T, mappings: *const Mappings, walk: *mut Walk, address: u64) -> Row {
    // SAFETY: the caller vouches for both pointers; indices are masked.
    unsafe {
        let list = (&raw const (*mappings).list).cast::<Mapping>();
        let last = opaque((&raw const (*walk).mapping).read_volatile()) as usize & (MAX_MAPPINGS - 1);
        let mut mapping = list.add(last);
        if !holds(mapping, address) {
            let starts = (&raw const (*mappings).starts).cast::<u64>();
            let mut position = 0;
            for step in STEPS {
                let next = (position + step) & (MAX_MAPPINGS as u64 - 1);
                let start = starts.add(next as usize).read_volatile();
                position += not_negative(address.wrapping_sub(start)) * step;
            }
            position = opaque(position) & (MAX_MAPPINGS as u64 - 1);
            mapping = list.add(position as usize);
            if !holds(mapping, address) {
                return Row::NONE;
            }
            (&raw mut (*walk).mapping).write_volatile(position);
        }
        let address = address.wrapping_sub((&raw const (*mapping).bias).read_volatile());
        let number =
            (address >> BLOCK_SHIFT).wrapping_sub((&raw const (*mapping).first_block).read_volatile());
        if number >= u64::from((&raw const (*mapping).blocks).read_volatile()) {
            return Row::NONE;
        }
        let base = (&raw const (*mapping).base).read_volatile();
        let Some(block) = tables.block(base.wrapping_add(number as u32)) else { return Row::NONE };
        if block.row_count() == 0 {
            return Row::NONE;
        }
        let Some(rows) = tables.chunk(block.chunk()) else { return Row::NONE };
        search(rows, block, address & 0xff)
    }
}

#[inline(always)]
unsafe fn holds(mapping: *const Mapping, address: u64) -> bool {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let start = (&raw const (*mapping).start).read_volatile();
        address.wrapping_sub(start) < (&raw const (*mapping).bytes).read_volatile()
    }
}

/// The last row of a block that is in force at the low byte of an address.
#[inline(always)]
unsafe fn search(rows: *const Row, block: Block, low: u64) -> Row {
    let first = u64::from(block.first_in_chunk());
    let last = u64::from(block.row_count()) - 1;
    let mut position = 0;
    // SAFETY: the mask keeps the index within the chunk.
    let row = |at: u64| unsafe { rows.add((first + at) as usize & (CHUNK_ROWS - 1)).read_volatile() };
    // Taken if it is not behind the last row, and begins at or before the address: neither difference is negative.
    let take =
        |next: u64| not_negative(low.wrapping_sub(u64::from(row(next).lo())) | last.wrapping_sub(next));
    if last < 16 {
        for step in FEW_STEPS {
            position += take(position + step) * step;
        }
    } else {
        for step in STEPS {
            position += take(position + step) * step;
        }
    }
    row(opaque(position))
}

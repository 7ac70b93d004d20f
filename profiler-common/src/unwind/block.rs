//! Which rows belong to 256 bytes of text.

/// Text per block, in bytes.
pub const BLOCK_BYTES: u64 = 1 << BLOCK_SHIFT;
/// An address shifted right by this is the number of its block.
pub const BLOCK_SHIFT: u32 = 8;
/// Rows per chunk: one value of the array that holds all rows.
pub const CHUNK_ROWS: usize = 1024;
/// Size of a chunk: one page.
pub const CHUNK_BYTES: usize = CHUNK_ROWS * 4;

/// `start_row:32 | row_count:16 | 0:16`, from the lowest bit.
///
/// All zeroes, a block without rows, says the same as one row of [`Kind::NONE`](super::Kind::NONE). In every other block
/// the first row is the rule in force at the first byte, **whatever its `lo` says**: most often it is also the last row
/// of the block before, which saves a row per block. The `lo` of the other rows go up; so the rule for an address is the
/// last row whose `lo` is at most the low byte of the address, among all but the first, else the first. Blocks that
/// consist of one and the same row share it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block(pub u64);

impl Block {
    /// A block of `count` rows (at most 256, one per byte) from row `start` on.
    #[inline(always)]
    pub const fn new(start: u32, count: u16) -> Block {
        Block(start as u64 | (count as u64) << 32)
    }

    /// Number of its first row, in the array that the block was made for.
    #[inline(always)]
    pub const fn start_row(self) -> u32 {
        self.0 as u32
    }

    /// Number of its rows, 0 to 256.
    #[inline(always)]
    pub const fn row_count(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    /// Number of the chunk that holds its rows.
    #[inline(always)]
    pub const fn chunk(self) -> u32 {
        self.start_row() / CHUNK_ROWS as u32
    }

    /// Place of its first row within the chunk, below [`CHUNK_ROWS`].
    #[inline(always)]
    pub const fn first_in_chunk(self) -> u32 {
        self.start_row() % CHUNK_ROWS as u32
    }

    /// The same block when its rows are stored `chunks` chunks further on: for a table that is put behind others.
    /// `None` if row numbers do not reach that far.
    pub const fn moved(self, chunks: u32) -> Option<Block> {
        let Some(by) = chunks.checked_mul(CHUNK_ROWS as u32) else { return None };
        match self.start_row().checked_add(by) {
            Some(start) => Some(Block::new(start, self.row_count() as u16)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, CHUNK_ROWS};

    #[test]
    fn fields_do_not_touch_each_other() {
        let block = Block::new(u32::MAX, 256);
        assert_eq!((block.start_row(), block.row_count()), (u32::MAX, 256));
        assert_eq!((block.chunk(), block.first_in_chunk()), (u32::MAX / 1024, 1023));
        let none = Block::default();
        assert_eq!((none.start_row(), none.row_count(), none.chunk(), none.first_in_chunk()), (0, 0, 0, 0));
    }

    #[test]
    fn a_block_moves_by_whole_chunks() {
        let block = Block::new(1025, 3);
        let moved = block.moved(2).unwrap();
        assert_eq!((moved.start_row(), moved.row_count()), (1025 + 2 * CHUNK_ROWS as u32, 3));
        assert_eq!(moved.first_in_chunk(), block.first_in_chunk());
        assert_eq!(block.moved(u32::MAX / 1024), None);
        assert_eq!(block.moved(u32::MAX), None);
    }
}

//! The unwind table of one program file.
//!
//! Which rule is in force where, and why:
//!
//! - The entries of `.eh_frame` come first; without sections they are found by `PT_GNU_EH_FRAME`. `.debug_frame` adds
//!   functions that `.eh_frame` lacks (C code built without asynchronous unwind tables). It is read from the file
//!   itself or, if `.eh_frame` describes less than half of the code, from the separate debug file.
//! - An entry is in force up to its end, or to the start of the next one if that comes first: like the binary search
//!   of the C++ runtime, which finds the last entry that begins at or before an address. Of two entries at the same
//!   address, the first in the section counts.
//! - A gap of up to [`PADDING_BYTES`] between two entries is padding and keeps the rule before it. All other code
//!   without an entry has [`Row::NONE`].
//! - Two kinds of code have no entry and a known rule: the outermost functions of musl, by their names ([`Row::END`]),
//!   and jumps to functions that a static program chooses when it starts, which leave the stack as it is.
//! - A rule that cannot be followed, and the rest of an entry that cannot be decoded, are [`Row::UNSUPPORTED`], never
//!   a guess. An entry without readable addresses is left out, and counted.
//!
//! # Bounds
//!
//! A file may contain anything, so work and memory are bounded by sizes that cannot be forged:
//! - executable segments are at most twice as large as the file;
//! - decoding costs at most 16 times the size of the unwind sections (instructions that entries share are counted each
//!   time; entries beyond that become [`Row::UNSUPPORTED`]), and at most 8 bytes per byte of them are held meanwhile;
//! - a table has at most one row per 4 bytes of text, plus [`SPARE_ROWS`] (real ones have one per 30 to 50).

mod build;
mod convert;
mod debug_file;
mod entries;
mod evaluate;
mod expression;
mod known;
mod merge;
mod pack;
mod read;

#[cfg(test)]
mod tests;

use profiler_common::unwind::{BLOCK_BYTES, BLOCK_SHIFT, Block, CHUNK_ROWS, Kind, Row};
use thiserror::Error;

pub(crate) use build::build_all_reporting;
pub use build::{Options, build, build_all};

use super::dictionary::Dictionary;
use crate::elf;

/// The largest gap between entries that is taken for padding, in bytes: functions are aligned to 16.
pub const PADDING_BYTES: u64 = 16;
/// Rows that a table may have in addition to one per 4 bytes of text.
pub const SPARE_ROWS: usize = 4 * CHUNK_ROWS;

/// Why there is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a program for x86_64, or damaged.
    #[error(transparent)]
    Image(#[from] elf::Error),
    /// The file has no unwind information.
    #[error(
        "the file has no unwind information (.eh_frame, .debug_frame), and no separate debug file was found"
    )]
    NoUnwindInformation,
    /// The only unwind information is a section that cannot be read.
    #[error("the unwind information (.debug_frame) cannot be read: {0}")]
    DebugFrame(#[from] SectionError),
    /// The executable segments are more than twice as large as the file that they are part of.
    #[error("the program headers are absurd: {text_bytes} bytes of code in a file of {file_bytes}")]
    AbsurdText {
        /// Sum of the executable segments.
        text_bytes: u64,
        /// Size of the file.
        file_bytes: u64,
    },
    /// There are more rows than any compiler makes.
    #[error("the unwind information is absurd: more than {limit} rules for {text_bytes} bytes of code")]
    TooManyRows {
        /// The most rows that a table for this text may have.
        limit: usize,
        /// Size of the executable segments.
        text_bytes: u64,
    },
}

pub use crate::elf::SectionError;

/// The table of one program file.
#[derive(Debug)]
pub struct Table {
    segments: Vec<Segment>,
    rows: Vec<Row>,
    rules: Dictionary,
    stats: Stats,
}

/// The part of a table for one executable segment; segments that share a block have one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of its first block: an address of the file shifted right by
    /// [`BLOCK_SHIFT`].
    pub first_block: u64,
    /// Its blocks, without gaps. Their rows are numbered from the start of [`Table::rows`].
    pub blocks: Vec<Block>,
}

/// Statistics of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Executable segments, in bytes.
    pub text_bytes: u64,
    /// Entries with a range of mapped code.
    pub functions: u64,
    /// Entries that could not be decoded in full, plus 1 for each section that ends in the middle of an entry.
    pub damaged: u64,
    /// Changes of the rule in the text: the number of rows that it would have without blocks.
    pub changes: u64,
    /// Those of them that need the dictionary, without unsupported ones.
    pub rare_changes: u64,
    /// Those of them that are unsupported.
    pub unsupported_changes: u64,
}

impl Table {
    /// The rule in force at an address of the file. Its `lo` has no meaning. [`Row::NONE`] outside of all segments.
    ///
    /// For a return address, pass the address before it.
    pub fn row(&self, address: u64) -> Row {
        self.find(address).unwrap_or(Row::NONE)
    }

    fn find(&self, address: u64) -> Option<Row> {
        let number = address >> BLOCK_SHIFT;
        let after = self.segments.partition_point(|segment| segment.first_block <= number);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let block = segment.blocks.get(usize::try_from(number - segment.first_block).ok()?)?;
        let start = block.start_row() as usize;
        let rows = self.rows.get(start..start.checked_add(block.row_count() as usize)?)?;
        let (first, changes) = rows.split_first()?;
        let behind = changes.partition_point(|row| u64::from(row.lo()) <= address & 0xff);
        Some(*behind.checked_sub(1).and_then(|last| changes.get(last)).unwrap_or(first))
    }

    /// The executable segments, by address.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// All rows: whole chunks of [`CHUNK_ROWS`], the last one filled up with [`Row::NONE`].
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rules that rows of [`Kind::RARE`] refer to.
    pub fn rules(&self) -> &Dictionary {
        &self.rules
    }

    /// Its statistics.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Code for which there is a rule that can be followed, in bytes.
    pub fn covered_bytes(&self) -> u64 {
        let blocks = self.segments.iter().flat_map(|segment| &segment.blocks);
        blocks.map(|block| u64::from(self.covered_in(*block))).sum()
    }

    fn covered_in(&self, block: Block) -> u32 {
        let start = block.start_row() as usize;
        let rows = self.rows.get(start..start + block.row_count() as usize).unwrap_or_default();
        let (mut covered, mut from) = (0, 0);
        for (index, row) in rows.iter().enumerate() {
            let end = rows.get(index + 1).map_or(BLOCK_BYTES as u32, |next| next.lo());
            let unsupported = row.kind() == Kind::RARE && row.rare_index() == 0;
            if row.kind() != Kind::NONE && !unsupported {
                covered += end.saturating_sub(from);
            }
            from = end;
        }
        covered
    }

    /// Its size on the kernel side in bytes: blocks and rows, without the dictionary.
    pub fn size_bytes(&self) -> usize {
        let blocks: usize = self.segments.iter().map(|segment| segment.blocks.len()).sum();
        blocks * size_of::<Block>() + self.rows.len() * size_of::<Row>()
    }
}

impl Stats {
    fn count(&mut self, row: Row) {
        self.changes += 1;
        if row.kind() == Kind::RARE {
            let kind =
                if row.rare_index() == 0 { &mut self.unsupported_changes } else { &mut self.rare_changes };
            *kind += 1;
        }
    }
}

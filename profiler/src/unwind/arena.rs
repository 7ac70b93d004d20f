//! All tables of a run in one place, in the form that the kernel side reads.

use std::{collections::HashMap, io, sync::Arc};

use memmap2::{MmapOptions, MmapRaw};
use profiler_common::unwind::{Block, CHUNK_BYTES, CHUNK_ROWS, RARE_CAPACITY, Rare, Row};
use thiserror::Error;

use super::{dictionary::Dictionary, table::Table};

/// How much an arena holds. Memory that is not used is never touched, but the kernel counts all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Blocks of 256 bytes of text.
    pub blocks: u32,
    /// Chunks of 1024 rows.
    pub chunks: u32,
}

impl Capacity {
    /// Room for this many bytes of text, and for as much again that is loaded later; at least 16 MiB and at most 1 GiB.
    pub fn for_text(bytes: u64) -> Capacity {
        let bytes = (bytes * 2).clamp(16 << 20, 1 << 30);
        // Rows take 8 to 13 % of the text; some chunks are half empty at their end.
        Capacity { blocks: (bytes >> 8) as u32, chunks: (bytes / 7 / CHUNK_BYTES as u64) as u32 + 64 }
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.blocks) * 8 + u64::from(self.chunks) * CHUNK_BYTES as u64
    }
}

/// The arena is full. Stacks end in the code of a file whose table did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no room for another unwind table")]
pub struct Full;

/// One executable segment of a table in an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Number of its first block: an address of the file shifted right by 8.
    pub first_block: u64,
    /// Index of its first block in the arena.
    pub base: u32,
    /// Number of its blocks.
    pub blocks: u32,
}

/// The tables of several files. Nothing is ever removed or moved: a walk may be reading it.
#[derive(Debug)]
pub struct Arena {
    capacity: Capacity,
    blocks: MmapRaw,
    chunks: MmapRaw,
    rules: MmapRaw,
    used_blocks: u32,
    used_chunks: u32,
    dictionary: Dictionary,
    known: HashMap<usize, (Arc<Table>, Arc<[Placed]>)>,
}

impl Arena {
    /// An empty arena over mappings of the kernel side's arrays, which have the sizes of `capacity`.
    pub fn over(capacity: Capacity, blocks: MmapRaw, chunks: MmapRaw, rules: MmapRaw) -> Arena {
        Arena {
            capacity,
            blocks,
            chunks,
            rules,
            used_blocks: 0,
            used_chunks: 0,
            dictionary: Dictionary::default(),
            known: HashMap::new(),
        }
    }

    /// An empty arena in our own memory.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn anonymous(capacity: Capacity) -> io::Result<Arena> {
        let map = |bytes: usize| MmapOptions::new().len(bytes).map_anon().map(MmapRaw::from);
        Ok(Arena::over(
            capacity,
            map(capacity.blocks as usize * 8)?,
            map(capacity.chunks as usize * CHUNK_BYTES)?,
            map(RARE_CAPACITY * size_of::<Rare>())?,
        ))
    }

    /// Adds a table, unless it was added before, and returns where its segments are.
    ///
    /// # Errors
    /// If it does not fit. Nothing has changed then.
    pub fn add(&mut self, table: &Arc<Table>) -> Result<Arc<[Placed]>, Full> {
        let key = Arc::as_ptr(table) as usize;
        if let Some((_, placed)) = self.known.get(&key) {
            return Ok(Arc::clone(placed));
        }
        let blocks: usize = table.segments().iter().map(|s| s.blocks.len()).sum();
        let chunks = table.rows().len() / CHUNK_ROWS;
        let fits = |used: u32, more: usize, room: u32| more <= (room - used) as usize;
        if !fits(self.used_blocks, blocks, self.capacity.blocks)
            || !fits(self.used_chunks, chunks, self.capacity.chunks)
        {
            return Err(Full);
        }
        self.write_rows(table);
        let placed = self.write_blocks(table);
        self.used_chunks += chunks as u32;
        self.known.insert(key, (Arc::clone(table), Arc::clone(&placed)));
        Ok(placed)
    }

    /// Writes the rules first, and then the rows that refer to them.
    fn write_rows(&mut self, table: &Table) {
        let before = self.dictionary.rules().len();
        let translation = self.dictionary.adopt(table.rules());
        if translation.without_room > 0 {
            tracing::info!("{} rules of an unwind table do not fit", translation.without_room);
        }
        let rules = self.rules.as_mut_ptr().cast::<Rare>();
        for (number, rule) in self.dictionary.rules().iter().enumerate().skip(before.min(1)) {
            // SAFETY: the mapping has room for every number that the dictionary assigns.
            unsafe { rules.add(number).write_volatile(*rule) };
        }
        // SAFETY: the caller has checked that the rows fit after those in use.
        let rows =
            unsafe { self.chunks.as_mut_ptr().add(self.used_chunks as usize * CHUNK_BYTES).cast::<Row>() };
        for (at, row) in table.rows().iter().enumerate() {
            // SAFETY: as above.
            unsafe { rows.add(at).write_volatile(translation.row(*row)) };
        }
    }

    fn write_blocks(&mut self, table: &Table) -> Arc<[Placed]> {
        let mut placed = Vec::with_capacity(table.segments().len());
        for segment in table.segments() {
            let base = self.used_blocks;
            for block in &segment.blocks {
                // An arena is smaller than row numbers can express.
                let moved = if block.row_count() == 0 {
                    Block::default()
                } else {
                    block.moved(self.used_chunks).unwrap_or_default()
                };
                // SAFETY: the caller has checked that all blocks fit after those in use.
                unsafe {
                    self.blocks
                        .as_mut_ptr()
                        .cast::<Block>()
                        .add(self.used_blocks as usize)
                        .write_volatile(moved);
                }
                self.used_blocks += 1;
            }
            placed.push(Placed {
                first_block: segment.first_block,
                base,
                blocks: segment.blocks.len() as u32,
            });
        }
        placed.into()
    }
}

// SAFETY: indices are checked against the sizes of the mappings, which live as long as the arena.
unsafe impl profiler_common::unwind::Tables for &Arena {
    fn block(self, index: u32) -> Option<Block> {
        if index >= self.capacity.blocks {
            return None;
        }
        // SAFETY: within the mapping.
        Some(unsafe { self.blocks.as_ptr().cast::<Block>().add(index as usize).read_volatile() })
    }

    fn chunk(self, index: u32) -> Option<*const Row> {
        if index >= self.capacity.chunks {
            return None;
        }
        // SAFETY: within the mapping.
        Some(unsafe { self.chunks.as_ptr().add(index as usize * CHUNK_BYTES).cast::<Row>() })
    }

    fn rare(self, index: u32) -> Option<*const Rare> {
        if index as usize >= RARE_CAPACITY {
            return None;
        }
        // SAFETY: within the mapping.
        Some(unsafe { self.rules.as_ptr().cast::<Rare>().add(index as usize) })
    }
}

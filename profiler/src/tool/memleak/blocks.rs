//! The kernel side's table of live blocks: how large it is made, and reading it.

use std::{collections::HashMap, os::fd::AsRawFd as _};

use memmap2::{MmapOptions, MmapRaw};
use profiler_common::memleak::{
    BEING_WRITTEN, BUCKET_BLOCKS, Block, Bucket, GREW, INHERITED, LATER, Part, SIZE_BITS,
};

use crate::{
    capture::{counted::unreadable, object::Object},
    error::Result,
    kernel::bpf,
    stats::lifetimes::live::Live,
};

/// How often a place is read until two readings agree. A reading takes a few nanoseconds, while it takes the target a malloc with
/// its probes to put a different block at the same address.
const READINGS: usize = 8;

/// The sizes of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// log2 of the number of buckets. All exist from the start, with [`BUCKET_BLOCKS`] blocks in 128 bytes each.
    bucket_bits: u32,
    /// Most blocks in the hash map for those that do not fit into their bucket. It takes memory as it fills.
    pub(crate) spilled: u32,
}

impl Room {
    /// Room for at least this many blocks, of which some are expected.
    pub(crate) fn new(expected: u64, at_least: u32) -> Room {
        /// 128 KiB and 128 MiB.
        const BITS: std::ops::RangeInclusive<u32> = 10..=20;
        // A few places in a bucket stay free at this filling, so that few blocks spill.
        let buckets = (expected / (BUCKET_BLOCKS as u64 - 1)).max(1).next_power_of_two();
        Room { bucket_bits: buckets.ilog2().clamp(*BITS.start(), *BITS.end()), spilled: at_least }
    }

    /// The number of buckets.
    pub(crate) fn buckets(self) -> u32 {
        1 << self.bucket_bits
    }

    /// What to shift a hash by to get the index of a bucket.
    pub(crate) fn shift(self) -> u32 {
        u64::BITS - self.bucket_bits
    }
}

/// The buckets, mapped: reading them is not a system call.
#[derive(Debug)]
pub(crate) struct Blocks {
    map: MmapRaw,
    buckets: usize,
}

impl Blocks {
    pub(crate) fn map(object: &Object, room: Room) -> Result<Blocks> {
        let buckets = room.buckets() as usize;
        let map = MmapOptions::new()
            .len(buckets * size_of::<Bucket>())
            .map_raw_read_only(object.map("BUCKETS")?.as_raw_fd())
            .map_err(|e| unreadable("the live blocks", e))?;
        Ok(Blocks { map, buckets })
    }

    /// Every live block with its key: the address space and the address. A block that grew is given part by part.
    pub(crate) fn for_each_placed(
        &self,
        object: &Object,
        mut each: impl FnMut(u64, LiveBlock),
    ) -> Result<()> {
        let mut parts = HashMap::new();
        bpf::for_each_element(object.map("PARTS")?, |key, part| {
            parts.insert(key, part);
        })
        .map_err(|e| unreadable("the parts of live blocks", e))?;
        let first = self.map.as_ptr().cast::<Bucket>();
        let mut spilled = 0;
        for bucket in 0..self.buckets {
            // SAFETY: within the mapping, which is not written to by anybody but the kernel side.
            let bucket = unsafe { first.add(bucket) };
            // SAFETY: as above, read as it is at this moment.
            spilled += unsafe { (&raw const (*bucket).spilled).read_volatile() };
            for place in 0..BUCKET_BLOCKS {
                // SAFETY: as above, and a place of the bucket.
                if let Some((key, block)) = unsafe { read(bucket, place) } {
                    in_parts(key, block, &mut parts, &mut each);
                }
            }
        }
        if spilled > 0 {
            bpf::for_each_element(object.map("BLOCKS")?, |key, block| {
                in_parts(key, block, &mut parts, &mut each);
            })
            .map_err(|e| unreadable("the live blocks", e))?;
        }
        Ok(()) // parts that no block leads to are left from one that was lost, or is being reallocated
    }
}

/// A live block, or a part of one that grew by realloc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveBlock {
    /// The bytes of the part, and when the last of them came.
    pub(crate) part: Live,
    /// Number of the stack that asked for them.
    pub(crate) stack: u32,
    /// With the newest part, the bytes of the block; 0 with those below.
    pub(crate) whole_bytes: u64,
}

impl LiveBlock {
    fn new(block: Block, whole_bytes: u64) -> LiveBlock {
        let part = Live {
            size_bytes: block.size_bytes & SIZE_BITS,
            born_units: block.born_units,
            oldest: block.size_bytes & LATER == 0,
            inherited: block.size_bytes & INHERITED != 0,
        };
        LiveBlock { part, stack: block.stack, whole_bytes }
    }
}

/// A block of the table, and the parts below it.
fn in_parts(key: u64, newest: Block, parts: &mut HashMap<u64, Part>, each: &mut impl FnMut(u64, LiveBlock)) {
    let mut next = if newest.size_bytes & GREW == 0 { None } else { parts.remove(&key) };
    let whole_bytes = (newest.size_bytes & SIZE_BITS) + next.map_or(0, |part| part.total_bytes);
    each(key, LiveBlock::new(newest, whole_bytes));
    while let Some(part) = next {
        next = parts.remove(&part.below);
        each(key, LiveBlock::new(part.block, 0));
    }
}

/// The block at a place, if there is one: its key, size, birth and stack as they were together at one moment.
///
/// # Safety
/// `bucket` is one of the mapping, and `place` less than [`BUCKET_BLOCKS`].
unsafe fn read(bucket: *const Bucket, place: usize) -> Option<(u64, Block)> {
    // SAFETY: the caller vouches for both; any bytes are a key and a block.
    let look = || unsafe {
        let key = (&raw const (*bucket).keys).cast::<u64>().add(place).read_volatile();
        let block = (&raw const (*bucket).blocks).cast::<Block>().add(place).read_volatile();
        (key, block)
    };
    let mut before = look();
    for _ in 0..READINGS {
        if before.0 == 0 || before.0 & BEING_WRITTEN != 0 {
            return None;
        }
        let after = look();
        if after == before {
            return Some(after);
        }
        before = after;
    }
    None // a place that changes hands faster than it can be read holds nothing that lasts
}

#[cfg(test)]
mod tests {
    use profiler_common::{memleak::part_key, space::address_key};

    use super::*;

    #[test]
    fn a_table_is_sized_by_what_is_expected() {
        let small = Room::new(0, 1000);
        assert_eq!((small.buckets(), small.shift(), small.spilled), (1024, 54, 1000));
        assert_eq!(Room::new(1_000_000, 1).buckets(), 1 << 18);
        assert_eq!(Room::new(u64::MAX, 1).buckets(), 1 << 20);
    }

    #[test]
    fn places_that_are_free_or_being_written_hold_no_block() {
        let block = Block { size_bytes: 24, born_units: 7, stack: 3 };
        let free = Block { size_bytes: 0, born_units: 0, stack: 0 };
        let mut bucket = Bucket { keys: [0; BUCKET_BLOCKS], spilled: 0, blocks: [free; BUCKET_BLOCKS] };
        bucket.keys[1] = 0x1000;
        bucket.blocks[1] = block;
        bucket.keys[2] = 0x2000 | BEING_WRITTEN;
        // SAFETY: a bucket of our own, and places of it.
        let read = |place| unsafe { read(&raw const bucket, place) };
        assert_eq!((read(0), read(1), read(2)), (None, Some((0x1000, block)), None));
    }

    const NUMBERS: [u64; 3] = [part_key(3, 1), part_key(3, 2), part_key(4, 3)];

    fn part(born_units: u32, mark: u64, total_bytes: u64, below: u64) -> Part {
        Part { block: Block { size_bytes: 8 | mark, born_units, stack: 1 }, total_bytes, below, stacks: 2 }
    }

    /// What comes of it: the key, the birth, whether it is the oldest of its stack, and the bytes of the whole.
    fn noted(found: &mut Vec<(u64, u32, bool, u64)>) -> impl FnMut(u64, LiveBlock) {
        |key, live| found.push((key, live.part.born_units, live.part.oldest, live.whole_bytes))
    }

    #[test]
    fn a_block_that_grew_comes_in_its_parts() {
        let key = address_key(3, 0x5000);
        let mut parts = HashMap::from([
            (key, part(30, LATER, 24, NUMBERS[1])),
            (NUMBERS[1], part(20, 0, 16, NUMBERS[0])),
            (NUMBERS[0], part(10, 0, 8, 0)),
            (NUMBERS[2], part(5, 0, 8, 0)),
        ]);
        let mut found = Vec::new();
        let newest = Block { size_bytes: 100 | GREW | LATER, born_units: 40, stack: 2 };
        in_parts(key, newest, &mut parts, &mut noted(&mut found));
        let want = [(key, 40, false, 124), (key, 30, false, 0), (key, 20, true, 0), (key, 10, true, 0)];
        assert_eq!(found, want);
        assert_eq!(parts.keys().collect::<Vec<_>>(), [&NUMBERS[2]], "no block leads to it");
    }

    #[test]
    fn a_block_alone_is_whole() {
        let block = Block { size_bytes: 64 | INHERITED, born_units: 1, stack: 1 };
        let mut found = Vec::new();
        in_parts(0x5000, block, &mut HashMap::new(), &mut |_, live| found.push(live));
        let part = Live { inherited: true, ..Live::alone(64, 1) };
        assert_eq!(found, [LiveBlock { part, stack: 1, whole_bytes: 64 }]);
    }
}

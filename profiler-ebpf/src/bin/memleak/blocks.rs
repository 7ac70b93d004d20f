//! The table of live blocks: buckets of a few places, and a hash map for what does not fit.
//!
//! Each place is taken with one atomic instruction and freed with one, without a lock. That is less than half of the cost of the
//! kernel's hash map, which allocates and frees an element for every block.

use profiler_common::memleak::{BEING_WRITTEN, BUCKET_BLOCKS, Block, Bucket, bucket_index};
use profiler_ebpf::atomic;

use crate::maps::{BLOCKS, BUCKET_SHIFT, BUCKETS};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// The result of recording a block.
pub(crate) enum Put {
    /// It is in the table.
    Done,
    /// It is in the table, and has replaced another one at the same address.
    Replaced(Block),
    /// It is not in the table; the kernel's error number.
    Refused(i32),
}

#[inline(always)]
fn bucket(key: u64) -> Option<*mut Bucket> {
    BUCKETS.get_ptr_mut(bucket_index(key, BUCKET_SHIFT.load()))
}

/// # Safety
/// `bucket` is a map value, and `place` less than [`BUCKET_BLOCKS`].
#[inline(always)]
unsafe fn key_at(bucket: *mut Bucket, place: usize) -> *mut u64 {
    // SAFETY: the caller vouches for both.
    unsafe { (&raw mut (*bucket).keys).cast::<u64>().add(place) }
}

/// # Safety
/// As for [`key_at`].
#[inline(always)]
unsafe fn block_at(bucket: *mut Bucket, place: usize) -> *mut Block {
    // SAFETY: the caller vouches for both.
    unsafe { (&raw mut (*bucket).blocks).cast::<Block>().add(place) }
}

/// Records a block.
#[inline(always)]
pub(crate) fn put(key: u64, block: Block) -> Put {
    let Some(bucket) = bucket(key) else { return Put::Refused(0) };
    // SAFETY: a map value, and places within it. Only the owner of an address records or releases its block.
    unsafe {
        for place in 0..BUCKET_BLOCKS {
            if key_at(bucket, place).read_volatile() == key {
                let old = *block_at(bucket, place);
                *block_at(bucket, place) = block;
                return Put::Replaced(old);
            }
        }
        let spilled = (&raw const (*bucket).spilled).read_volatile() != 0;
        if spilled && let Some(old) = BLOCKS.get_ptr(key) {
            let old = *old;
            return match BLOCKS.insert(key, block, BPF_ANY) {
                Ok(()) => Put::Replaced(old),
                Err(error) => Put::Refused(error),
            };
        }
        for place in 0..BUCKET_BLOCKS {
            let at = key_at(bucket, place);
            if at.read_volatile() == 0 && atomic::replace(at, 0, key | BEING_WRITTEN) {
                *block_at(bucket, place) = block;
                at.write_volatile(key);
                return Put::Done;
            }
        }
        let spilled = &raw mut (*bucket).spilled;
        atomic::add(spilled, 1); // before the block can be looked for
        match BLOCKS.insert(key, block, BPF_NOEXIST) {
            Ok(()) => Put::Done,
            Err(error) => {
                atomic::add(spilled, u64::MAX);
                Put::Refused(error)
            }
        }
    }
}

/// Whether the table may hold a block. It does not, if the block is not in its bucket and nothing has spilled from
/// there.
#[inline(always)]
pub(crate) fn may_hold(key: u64) -> bool {
    let Some(bucket) = bucket(key) else { return false };
    // SAFETY: as for `put`.
    unsafe {
        let mut found = (&raw const (*bucket).spilled).read_volatile() != 0;
        for place in 0..BUCKET_BLOCKS {
            found |= key_at(bucket, place).read_volatile() == key;
        }
        found
    }
}

/// Takes a block out of the table.
#[inline(always)]
pub(crate) fn take(key: u64) -> Option<Block> {
    let bucket = bucket(key)?;
    // SAFETY: as for `put`.
    unsafe {
        for place in 0..BUCKET_BLOCKS {
            let at = key_at(bucket, place);
            if at.read_volatile() == key {
                let block = *block_at(bucket, place);
                // Unless two threads release it at once, which is a defect of the target.
                return if atomic::replace(at, key, 0) { Some(block) } else { None };
            }
        }
        let spilled = &raw mut (*bucket).spilled;
        if spilled.read_volatile() == 0 {
            return None;
        }
        let block = *BLOCKS.get_ptr(key)?;
        if BLOCKS.remove(key).is_err() {
            return None;
        }
        atomic::add(spilled, u64::MAX);
        Some(block)
    }
}

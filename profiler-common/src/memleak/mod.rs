//! Wire types of `memleak`.

pub mod cookie;
pub mod counters;
pub mod sampling;

use crate::{
    age::BINS,
    space::{FLAGS_OF_TOOLS, address_key},
    wire,
};

/// Flag of an address space: one release function may call another, and the inner call must not count.
pub const FREES_NEST: u32 = FLAGS_OF_TOOLS;

wire! {
    /// A live block, or a part of one that grew.
    pub struct Block {
        /// Requested size, in [`SIZE_BITS`], and above them [`GREW`], [`INHERITED`] and [`LATER`], as they apply.
        pub size_bytes: u64,
        /// When it was allocated, in age units since the start.
        pub born_units: u32,
        /// Number of the stack that allocated it.
        pub stack: u32,
    }
}

/// Bit of a block's size: it is the newest part of a block that grew by realloc; the [`Part`] below has the block's key.
pub const GREW: u64 = 1 << 63;
/// Bit of a block's size: a realloc made it of a block that was not recorded, so part of it was there before.
pub const INHERITED: u64 = 1 << 62;
/// Bit of a part's size: there is another part of the same stack below, which stands for the block.
pub const LATER: u64 = 1 << 61;
/// The bits of a block's size that are its size.
pub const SIZE_BITS: u64 = LATER - 1;

wire! {
    /// A part of a block that grew by realloc. When a block grows, what it had keeps its age and its stack: only what is added is
    /// new.
    pub struct Part {
        /// Its bytes, when the last of them came, and the stack that asked for them.
        pub block: Block,
        /// Bytes of this part and of those below.
        pub total_bytes: u64,
        /// Key of the part below, a [`part_key`]; 0: there is none.
        pub below: u64,
        /// The stacks of this part and of those below, each as a [`stack_bit`].
        pub stacks: u64,
    }
}

/// The bit of a stack in a set of 64. Stacks that share a bit count as the same: a block may then have too few parts that stand
/// for it, but never too many.
#[inline(always)]
pub const fn stack_bit(stack: u32) -> u64 {
    1 << (stack & 63)
}

/// The key of a part that has at least two others above it, by its number.
#[inline(always)]
pub const fn part_key(space: u16, number: u64) -> u64 {
    address_key(space, number | NO_ADDRESS)
}

/// Bit that no user address of x86-64 has.
const NO_ADDRESS: u64 = 1 << 47;

/// Most parts of a block. There are 64 steps in an octave of time, as in [`step_shift`], and 32 octaves in the age units
/// of an observation.
pub const MAX_PARTS: u32 = 64 * 32;

/// log2 of the step, in age units, within which a block that grows again gets no further part: `least_shift`, or that of a
/// step between 1/128 and 1/64 of `now_units`, the time since the start.
#[inline(always)]
pub const fn step_shift(least_shift: u32, now_units: u32) -> u32 {
    let by_time = (31 - (now_units | 1).leading_zeros()).saturating_sub(6);
    if by_time > least_shift { by_time } else { least_shift }
}

/// Live blocks per [`Bucket`].
pub const BUCKET_BLOCKS: usize = 5;
/// Bit of a key in a [`Bucket`]: the place is taken, and its block is being written.
pub const BEING_WRITTEN: u64 = 1 << 63;

wire! {
    /// Two cache lines of the table of live blocks: a block lies in the bucket that its key names, or, if there was no
    /// place, in a hash map behind the table.
    pub struct Bucket {
        /// Key by place, 0 if the place is free.
        pub keys: [u64; BUCKET_BLOCKS],
        /// Blocks of this bucket that lie in the hash map.
        pub spilled: u64,
        /// The blocks of the keys.
        pub blocks: [Block; BUCKET_BLOCKS],
    }
}

/// The bucket of a key, in a table of `1 << (64 - shift)` buckets. Multiplicative hashing: Knuth, The Art of Computer
/// Programming, volume 3, section 6.4.
#[inline(always)]
pub const fn bucket_index(key: u64, shift: u32) -> u32 {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as u32
}

wire! {
    /// The totals of a call stack. In a sampled run, of the sampled calls only.
    pub struct StackTotals {
        /// Blocks allocated.
        pub allocs: u64,
        /// Their requested sizes.
        pub alloc_bytes: u64,
        /// Sum of the weights of the drawn calls, in 1/1024 (sampled run only).
        pub weight: u64,
        /// Sum of weight x size, in bytes (sampled run only).
        pub weight_bytes: u64,
        /// Sum of weight x (weight - 1), in 1/1024 (sampled run only): the variance of the count.
        pub weight_variance: u64,
        /// Calls of realloc that left no part of their own, or one that ended while another of the same stack stood for the
        /// block. Right before `died`: it is counted as if it were one more bin.
        pub merged: u64,
        /// Releases by age at release. Parts of one stack in one block are one block, as old as the oldest.
        pub died: [u64; BINS],
    }
}

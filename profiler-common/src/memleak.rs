//! Wire types of `memleak`.

use crate::{age::BINS, ledger::Counter, wire};

/// Frames kept per stack, innermost first.
pub const MAX_FRAMES: usize = 127;
/// Stack number 0 stands for "the stack is not known"; its reasons are counted in the ledger.
pub const NO_STACK: u32 = 0;
/// Points of the table of exponential draws (`SampleDraw`), and of the table of weights by size.
pub const DRAW_POINTS: usize = 256;
/// Weights are kept in 1/1024.
pub const WEIGHT_ONE: u64 = 1024;
/// Sub-classes per octave in the table of weights.
pub const WEIGHT_SUBCLASSES: u32 = 32;
/// Entries in the table of weights: sizes of up to 2^48.
pub const WEIGHT_POINTS: usize = 48 * WEIGHT_SUBCLASSES as usize;

/// The key of a live block: its address, and in the upper 16 bits the address space it lives in.
#[inline(always)]
pub const fn block_key(space: u16, address: u64) -> u64 {
    (space as u64) << 48 | address
}

/// The address space of a [`block_key`].
pub const fn key_space(key: u64) -> u16 {
    (key >> 48) as u16
}

wire! {
    /// A live block.
    pub struct Block {
        /// Requested size.
        pub size_bytes: u64,
        /// When it was allocated, in age units since the start.
        pub born_units: u32,
        /// Number of the stack that allocated it.
        pub stack: u32,
    }
}

wire! {
    /// What one call stack did so far. In a sampled run these are the drawn calls only.
    pub struct StackTotals {
        /// Blocks allocated.
        pub allocs: u64,
        /// Their requested sizes.
        pub alloc_bytes: u64,
        /// Requested sizes of the blocks released.
        pub freed_bytes: u64,
        /// Sum of the weights of the drawn calls, in `1/WEIGHT_ONE` (sampled run only).
        pub weight: u64,
        /// Sum of weight x size, in bytes (sampled run only).
        pub weight_bytes: u64,
        /// Sum of weight x (weight - 1), in `1/WEIGHT_ONE` (sampled run only): the variance of the count.
        pub weight_variance: u64,
        /// Releases by age at release.
        pub died: [u64; BINS],
    }
}

wire! {
    /// One counter per way a hit can end; see [`crate::ledger`].
    pub struct Counters {
        /// Indexed by [`Counter`].
        pub of: [u64; Counter::COUNT],
    }
}

wire! {
    /// Head of a ring record that tells the frames of a new stack; `depth` return addresses follow.
    pub struct StackHead {
        /// Number of the stack in the totals.
        pub stack: u32,
        /// Number of frames that follow.
        pub depth: u16,
        /// Address space the frames belong to.
        pub space: u16,
    }
}

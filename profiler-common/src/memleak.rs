//! Wire types of `memleak`.

use crate::{age::BINS, ledger::Counter, wire};

pub use crate::unwind::walk::{FRAME_ROOM, MAX_FRAMES};

/// Address spaces that the kernel side has room for.
pub const MAX_SPACES: u32 = 256;
/// Stack number 0 stands for "the stack is not known"; its reasons are counted in the ledger.
pub const NO_STACK: u32 = 0;
/// The key of a live block: its address, and in the upper 16 bits the address space it lives in.
#[inline(always)]
pub const fn block_key(space: u16, address: u64) -> u64 {
    (space as u64) << 48 | address
}

/// The address space of a [`block_key`].
pub const fn key_space(key: u64) -> u16 {
    (key >> 48) as u16
}

/// The address of a [`block_key`].
pub const fn key_address(key: u64) -> u64 {
    key & ((1 << 48) - 1)
}

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
    /// A part of a block that grew by realloc. What a block had already keeps its age, and its stack, when the block grows:
    /// only what is added is new.
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

/// The bit of a stack in a set of 64. Stacks that share one count as the same: a block then has fewer parts that stand for it
/// than it could, and never more.
#[inline(always)]
pub const fn stack_bit(stack: u32) -> u64 {
    1 << (stack & 63)
}

/// The key of a part that has two others above it, by its number.
#[inline(always)]
pub const fn part_key(space: u16, number: u64) -> u64 {
    block_key(space, number | NO_ADDRESS)
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
    /// What one call stack did so far. In a sampled run these are the drawn calls only.
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

wire! {
    /// One counter per way a hit can end; see [`crate::ledger`].
    pub struct Counters {
        /// Indexed by [`Counter`].
        pub of: [u64; Counter::COUNT],
    }
}

wire! {
    /// Head of a ring record.
    pub struct RecordHead {
        /// [`RECORD_STACK`], [`RECORD_EXEC`] or [`RECORD_HELD`]; in the upper half how the walk ended.
        pub kind: u8,
        /// Number of frames (64-bit return addresses, innermost first) that follow, and [`SOME_GUESSED`].
        pub depth: u8,
        /// Address space that the record is about.
        pub space: u16,
        /// Number of the stack in the totals.
        pub stack: u32,
    }
}

/// Hits are put down to threads in steps of so many, a power of two: every 64th hit on a CPU stands for 64.
pub const THREAD_HITS_STEP: u64 = 64;

wire! {
    /// Hits of a thread, to a step.
    #[derive(Default)]
    pub struct ThreadHits {
        /// Allocation entries.
        pub allocs: u64,
        /// Releases.
        pub frees: u64,
    }
}

/// In the depth of a record: some frames were found by their frame pointers alone.
pub const SOME_GUESSED: u8 = 1 << 7;
/// How a walk ended, if it was by frame pointers because the mappings were not known yet: then nobody can tell.
pub const ENDED_SOMEHOW: u8 = 15;
/// Ring record: the frames of a stack that was not seen before.
pub const RECORD_STACK: u8 = 1;
/// Ring record: the process of this address space replaced itself by exec.
pub const RECORD_EXEC: u8 = 2;
/// Ring record: the hold of this address space is [`HOLD_SIGNALLED`].
pub const RECORD_HELD: u8 = 3;

wire! {
    /// An observed address space: a process between its start, or its last exec, and its next exec or its end.
    pub struct Space {
        /// The process (thread group) as the kernel numbers it in the initial pid namespace; 0: do not check.
        pub tgid: u32,
        /// Execs to come before the space opens: 1 while a launched child has not become its command yet.
        pub execs_to_come: u32,
        /// 1 once the process replaced itself by exec: hits no longer belong to this space.
        pub replaced: u32,
        /// [`FREES_NEST`], [`CALLER_STEPS`], [`ALLOCS_OVER`] and [`HOLD`], as they apply.
        pub flags: u32,
        /// Slot of its mappings, for walking stacks; 0 while they are not known.
        pub slot: u32,
        /// How often its mappings were told.
        pub generation: u32,
    }
}

/// One release function of the space may call another, and the second must be told apart.
pub const FREES_NEST: u32 = 1;
/// There are caller steps for the space.
pub const CALLER_STEPS: u32 = 2;
/// The observation is over: calls that begin now do not count, and allocations under way may still return.
pub const ALLOCS_OVER: u32 = 4;
/// There may be a hold to look at, see [`HOLD_WANTED`]. A hint for the many calls that come when there is none any more.
pub const HOLD: u32 = 8;

/// State of a hold: the process is not stopped. A command that is to be stopped has the states from [`HOLD_WANTED`] on, in this
/// order, in the map `HOLDS`. User space writes the first, before the command is let go, and from then on only reads.
pub const HOLD_NONE: u64 = 0;
/// State of a hold: the process is stopped (SIGSTOP) at its first call that counts. It has mapped its libraries by then, and
/// goes on when user space has told where.
pub const HOLD_WANTED: u64 = 1;
/// State of a hold: one thread, and no other, is about to send the signal.
pub const HOLD_CLAIMED: u64 = 2;
/// State of a hold: the signal was sent. A SIGCONT that is sent now lets the process go on, whether it has stopped already or
/// not: the kernel takes back a SIGSTOP that is still pending.
pub const HOLD_SIGNALLED: u64 = 3;

wire! {
    /// How to step over a function that keeps no frame pointer, at one return address inside it.
    pub struct CallerStep {
        /// Distance from the stack pointer after the return to the canonical frame address, in bytes.
        pub cfa_from_rsp_bytes: u32,
        /// Distance below the canonical frame address where the caller's frame pointer is saved; 0: not saved.
        pub rbp_below_cfa_bytes: u32,
    }
}

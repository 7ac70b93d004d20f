//! Wire types of `witness`: stacks, together with what they were walked on.

use crate::{
    unwind::walk::{FRAME_ROOM, MAX_FRAMES},
    wire,
};

/// Bytes of the stack that are recorded beside a walk, if there are so many: page by page, until there are enough.
pub const STACK_BYTES: usize = 16 << 10;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 4 << 10;
/// Room for them.
pub const STACK_ROOM: usize = STACK_BYTES + PAGE_BYTES;
/// Frames of the kernel's stack that are recorded, at most.
pub const KERNEL_FRAMES: usize = 32;
/// Walks that may be under way on one processor at the same time: a probe, a sample that interrupts it, and a spare.
pub const SLOTS_PER_CPU: u32 = 3;

wire! {
    /// Whose stacks are walked.
    pub struct Target {
        /// Process (thread group) as the kernel numbers it in the initial pid namespace.
        pub tgid: u32,
        /// Slot of its mappings.
        pub slot: u32,
    }
}

/// Where a thread was interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Context;

impl Context {
    /// A sample of user code.
    pub const SAMPLE: u64 = 1;
    /// A sample of the kernel: the user's registers are those of the entry into it.
    pub const SAMPLE_IN_KERNEL: u64 = 2;
    /// A tracepoint.
    pub const TRACEPOINT: u64 = 3;
    /// A probed instruction.
    pub const PROBE: u64 = 4;
    /// The return from a probed function.
    pub const RETURN: u64 = 5;
}

wire! {
    /// A walk, and what it walked on.
    pub struct Record {
        /// One of [`Context`].
        pub context: u64,
        /// The thread.
        pub tid: u64,
        /// Its registers by DWARF number.
        pub registers: [u64; 16],
        /// Where it was.
        pub ip: u64,
        /// Frames found.
        pub depth: u64,
        /// How the walk ended: one of [`End`](crate::unwind::walk::End).
        pub end: u64,
        /// Frames found by their frame pointers alone.
        pub guessed: u64,
        /// Frames of the kernel's own stack.
        pub kernel_depth: u64,
        /// Bytes of the stack that could be read, from the stack pointer on.
        pub stack_bytes: u64,
        /// The frames, innermost first.
        pub frames: [u64; FRAME_ROOM],
        /// The kernel's frames, innermost first.
        pub kernel: [u64; KERNEL_FRAMES],
        /// The stack.
        pub stack: [u64; STACK_ROOM / 8],
    }
}

impl Record {
    /// The frames that were found.
    pub fn frames(&self) -> &[u64] {
        &self.frames[..(self.depth as usize).min(MAX_FRAMES)]
    }
}

wire! {
    /// Where every hit went, by processor.
    pub struct Tally {
        /// Hits of the target.
        pub hits: u64,
        /// Recorded or counted.
        pub walked: u64,
        /// Passed over, because only some hits are walked.
        pub passed_over: u64,
        /// Not in 64-bit user code.
        pub not_walkable: u64,
        /// No slot was free.
        pub lost_slot: u64,
        /// The ring was full.
        pub lost_ring: u64,
    }
}

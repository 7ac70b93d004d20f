//! What the kernel side sends through the ring.

use crate::wire;

/// Stack number 0 stands for "the stack is not known"; its reasons are counted in the ledger.
pub const NO_STACK: u32 = 0;

wire! {
    /// Head of a ring record.
    pub struct RecordHead {
        /// Its kind in the lower half: [`RECORD_STACK`] and those behind it. In the upper half how the walk ended.
        pub kind: u8,
        /// Number of frames (64-bit return addresses, innermost first) that follow, and [`SOME_GUESSED`].
        pub depth: u8,
        /// Address space that the record is about.
        pub space: u16,
        /// Number of the stack; of [`RECORD_EXEC`] and [`RECORD_FORK`] another address space.
        pub stack: u32,
    }
}

/// In the depth of a record: some frames were found by their frame pointers alone.
pub const SOME_GUESSED: u8 = 1 << 7;
/// How a walk ended, if it was by frame pointers because the mappings were not known yet: then nobody can tell.
pub const ENDED_SOMEHOW: u8 = 15;
/// Ring record: the frames of a stack that was not seen before.
pub const RECORD_STACK: u8 = 1;
/// Ring record: the process of this address space replaced itself by exec, and is the space in `stack` from now on; 0 if there
/// was no number left.
pub const RECORD_EXEC: u8 = 2;
/// Ring record: the hold of this address space is [`HOLD_SIGNALLED`](crate::space::HOLD_SIGNALLED).
pub const RECORD_HELD: u8 = 3;
/// Ring record: the process of the address space in `stack` forked this one.
pub const RECORD_FORK: u8 = 4;
/// The first kind that belongs to a tool: its loader says which.
pub const RECORD_OF_TOOL: u8 = 8;

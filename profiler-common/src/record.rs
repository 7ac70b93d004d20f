//! What the kernel side sends through the ring.

use crate::wire;

/// Stack number 0: the stack is not known. The ledger counts why.
pub const NO_STACK: u32 = 0;

wire! {
    /// Head of a ring record.
    pub struct RecordHead {
        /// Its kind in the lower half: [`RECORD_STACK`] or one of those after it. In the upper half, how the walk
        /// ended.
        pub kind: u8,
        /// Number of frames (64-bit return addresses, innermost first) that follow, and [`SOME_GUESSED`].
        pub depth: u8,
        /// The address space of the record.
        pub space: u16,
        /// Number of the stack; for [`RECORD_EXEC`] and [`RECORD_FORK`] another address space; for [`RECORD_BEGUN`] a process
        /// id.
        pub stack: u32,
    }
}

/// In the depth of a record: some frames were found by their frame pointers alone.
pub const SOME_GUESSED: u8 = 1 << 7;
/// It is not known how the walk ended: it used frame pointers, because the mappings were not published yet.
pub const ENDED_SOMEHOW: u8 = 15;
/// Ring record: the frames of a stack that is new.
pub const RECORD_STACK: u8 = 1;
/// Ring record: the process of this address space replaced itself by exec, and has the space in `stack` from now on; 0 if no
/// number was left. A hint, like [`RECORD_FORK`]: user space finds new spaces in the table of spaces even if a record is lost.
pub const RECORD_EXEC: u8 = 2;
/// Ring record: the hold of this address space is [`HOLD_SIGNALLED`](crate::space::HOLD_SIGNALLED).
pub const RECORD_HELD: u8 = 3;
/// Ring record: the process of the address space in `stack` forked this one.
pub const RECORD_FORK: u8 = 4;
/// Ring record: the process whose id is in `stack` has started, or has become another program, and is not observed.
pub const RECORD_BEGUN: u8 = 5;
/// Ring record: the name of a file that was not seen before, a [`FileRecord`](crate::file::FileRecord).
pub const RECORD_FILE: u8 = 6;
/// The first kind that belongs to a tool: its loader says which.
pub const RECORD_OF_TOOL: u8 = 8;

//! Where program files lie in one address space.

use crate::wire;

/// Most mappings of one address space that are known; a power of two, so that an index can be masked. Larger programs
/// map some dozens.
pub const MAX_MAPPINGS: usize = 256;
/// Start of a mapping that is not there: above every address, and its difference to one does not overflow.
pub const NO_MAPPING: u64 = 1 << 62;

wire! {
    /// One executable mapping of a program file.
    pub struct Mapping {
        /// First address.
        pub start: u64,
        /// Length in bytes; 0: nothing is mapped here.
        pub bytes: u64,
        /// Run-time address minus address of the file.
        pub bias: u64,
        /// Number of the first block of its table: an address of the file shifted right by
        /// [`BLOCK_SHIFT`](super::BLOCK_SHIFT).
        pub first_block: u64,
        /// Where the table's blocks begin in the array of all blocks.
        pub base: u32,
        /// Number of blocks.
        pub blocks: u32,
    }
}

wire! {
    /// All executable mappings of one address space that have a table.
    pub struct Mappings {
        /// Their starts, rising; [`NO_MAPPING`] behind the last. Entry 0 is never looked at: what lies before all others
        /// is compared with mapping 0 itself.
        pub starts: [u64; MAX_MAPPINGS],
        /// The mappings, in the same order.
        pub list: [Mapping; MAX_MAPPINGS],
    }
}

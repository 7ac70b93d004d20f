//! Unwind tables: how to step from one frame to its caller in code that keeps no frame pointer.
//!
//! User space makes the tables from the unwind information of each program file; the kernel side only looks rules up.
//! A table covers one executable segment of a file. Its text is cut into blocks of [`BLOCK_BYTES`], each with one
//! [`Block`]: an address leads to its block by a shift, and from there to its [`Row`] by a search among a few rows.
//!
//! | type | what it is | size |
//! |---|---|---|
//! | [`Block`] | which rows belong to these 256 bytes | 8 bytes |
//! | [`Row`] | the rule from one address on, up to the next row of the block | 4 bytes |
//! | [`Rare`] | a rule that does not fit a row, shared by all rows that need it | 24 bytes |
//!
//! Rows live in an array of chunks of [`CHUNK_ROWS`] rows: the kernel rounds every array value up to 8 bytes, so an
//! array of single rows would waste half of it. The rows of one block are always in one chunk.
//!
//! Addresses here are those of the file (`p_vaddr`): the run-time address minus the bias of its mapping. A *return*
//! address is looked up one byte lower, because the call may be the last instruction of its function.

mod block;
mod caller_step;
mod follow;
mod frame;
mod lookup;
mod mapping;
mod rare;
mod row;
mod special;
pub mod walk;

pub use block::{BLOCK_BYTES, BLOCK_SHIFT, Block, CHUNK_BYTES, CHUNK_ROWS};
pub use caller_step::CallerStep;
pub use frame::{INTERRUPTED, unmarked};
pub use lookup::{Tables, find};
pub use mapping::{MAX_MAPPINGS, Mapping, Mappings, NO_MAPPING};
pub use rare::{CfaForm, RARE_CAPACITY, Rare, RbpForm, ReturnForm, register};
pub use row::{Kind, Row, signal_frame};

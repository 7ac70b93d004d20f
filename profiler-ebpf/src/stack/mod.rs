//! Walking the user stack of the current thread.
//!
//! The walk itself is `profiler_common::unwind::walk`, which tests run on the host too. This module has its tables and its
//! memory. [`entry`] begins at a function's entry, and avoids most walks by remembering recent ones; [`registers`] begins
//! anywhere: where a sample, a tracepoint or a probe in the middle of a function interrupted the thread.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_loop, bpf_probe_read_user},
    macros::map,
    maps::Array,
};
use profiler_common::{
    opaque::opaque,
    unwind::{
        Block, CHUNK_ROWS, Mappings, RARE_CAPACITY, Rare, Row, Tables,
        walk::{self, MAX_FRAMES, Machine, Walk},
    },
};

pub mod entry;
pub mod number;
pub mod registers;
mod returns;
mod rules;

const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Blocks of all unwind tables. User space writes it through a mapping, like the next three.
#[map]
static UNWIND_BLOCKS: Array<Block> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Rows of all unwind tables.
#[map]
static UNWIND_ROWS: Array<[Row; CHUNK_ROWS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Rules that do not fit a row.
#[map]
static UNWIND_RULES: Array<Rare> = Array::with_max_entries(RARE_CAPACITY as u32, BPF_F_MMAPABLE);
/// Mappings by slot. Slot 0 stays empty: an address space whose mappings are not known is walked by frame pointers.
#[map]
static UNWIND_SPACES: Array<Mappings> = Array::with_max_entries(3, BPF_F_MMAPABLE);

/// The tables in the maps above, and the memory of the current thread.
#[derive(Clone, Copy)]
struct Here {
    /// The registers of the innermost frame by DWARF number, in a map; null if they are not needed.
    registers: *const [u64; registers::COUNT],
    /// Rules that this thread's walks have found, in a map; null if none are kept.
    rules: *mut Rules,
}
// SAFETY: map values live as long as the program; the helper writes at most so many bytes, or fails.
unsafe impl Tables for Here {
    #[inline(always)]
    fn block(self, index: u32) -> Option<Block> {
        // SAFETY: a map value.
        UNWIND_BLOCKS.get_ptr(index).map(|block| unsafe { block.read_volatile() })
    }

    #[inline(always)]
    fn chunk(self, index: u32) -> Option<*const Row> {
        UNWIND_ROWS.get_ptr(index).map(<*const _>::cast)
    }

    #[inline(always)]
    fn rare(self, index: u32) -> Option<*const Rare> {
        UNWIND_RULES.get_ptr(index)
    }

    #[inline(always)]
    fn kept(self, address: u64) -> Option<Row> {
        // SAFETY: the thread's own.
        if self.rules.is_null() { None } else { unsafe { rules::kept(self.rules, address) } }
    }

    #[inline(always)]
    fn keep(self, address: u64, row: Row) {
        if !self.rules.is_null() {
            // SAFETY: the thread's own.
            unsafe { rules::keep(self.rules, address, row) }
        }
    }
}

// SAFETY: as above.
unsafe impl Machine for Here {
    #[inline(always)]
    unsafe fn copy(self, to: *mut u64, bytes: u32, from: u64) -> bool {
        // SAFETY: the caller vouches for the room.
        unsafe { bpf_probe_read_user(to.cast(), bytes, from as *const c_void) == 0 }
    }

    #[inline(always)]
    fn register(self, number: u32) -> Option<u64> {
        if self.registers.is_null() {
            return None;
        }
        let at = opaque(u64::from(number)) as usize & (registers::COUNT - 1);
        // SAFETY: the mask keeps the index within the registers.
        Some(unsafe { self.registers.cast::<u64>().add(at).read_volatile() })
    }

    #[inline(always)]
    fn original(self, slot: u64) -> u64 {
        returns::original(slot)
    }
}

/// Reads a field from memory each time, so that the compiler and the verifier know nothing about its value.
macro_rules! get {
    ($of:expr, $field:ident) => {
        (&raw const (*$of).$field).read_volatile()
    };
}

/// Writes a field.
macro_rules! set {
    ($of:expr, $field:ident, $value:expr) => {
        (&raw mut (*$of).$field).write_volatile($value)
    };
}

use {get, set};

use self::rules::Rules;

/// A walk in progress.
struct Chain {
    walk: *mut Walk,
    frames: *mut u64,
    mappings: *const Mappings,
    here: Here,
}

/// Continues a walk to its end.
///
/// # Safety
/// The walk was begun; `frames` points to `FRAME_ROOM` words in a map. Both are the caller's own.
#[inline(always)]
unsafe fn run(here: Here, slot: u32, walk: *mut Walk, frames: *mut u64) {
    let Some(mappings) = UNWIND_SPACES.get_ptr(slot) else { return };
    let mut chain = Chain { walk, frames, mappings, here };
    // SAFETY: the callback takes a chain, and the loop ends before this does. One loop body to verify, whatever the
    // depth (Linux 5.17).
    unsafe { bpf_loop(MAX_FRAMES as u32, follow as *mut c_void, (&raw mut chain).cast(), 0) };
}

/// One frame; 1 when there are no more.
#[inline(never)]
extern "C" fn follow(_turn: u32, chain: *mut c_void) -> i64 {
    // SAFETY: the chain of `run`, which waits for this loop.
    unsafe {
        let Chain { walk, frames, mappings, here } = *chain.cast::<Chain>();
        i64::from(walk::step(here, mappings, walk, frames))
    }
}

/// The result of a walk.
#[derive(Clone, Copy)]
pub struct Found {
    /// Number of frames.
    pub depth: u64,
    /// See [`Walk::identity`].
    pub identity: u64,
    /// One of [`End`](walk::End).
    pub end: u64,
    /// Whether frames were found by their frame pointers alone.
    pub guessed: bool,
}

/// The result of a walk that has ended.
///
/// # Safety
/// `walk` is valid.
#[inline(always)]
unsafe fn found(walk: *const Walk) -> Found {
    // SAFETY: the caller vouches for the walk.
    unsafe {
        Found {
            depth: get!(walk, depth),
            identity: get!(walk, identity),
            end: get!(walk, end),
            guessed: get!(walk, guessed) != 0,
        }
    }
}

//! Walking the user stack of the current thread at a function's entry.
//!
//! The walk itself is `profiler_common::unwind::walk`, which tests run on the host too. Here are its tables, its memory,
//! and what saves most walks: a memo of the last ones.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_loop, bpf_probe_read_user},
    macros::map,
    maps::{Array, HashMap},
};
use profiler_common::{
    memleak::{CallerStep, block_key},
    opaque::opaque,
    unwind::{
        Block, CHUNK_ROWS, Mappings, RARE_CAPACITY, Rare, Row, Tables,
        walk::{self, DRAFT_WORDS, End, MAX_FRAMES, Machine, WINDOW_WORDS, Walk},
    },
};

const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Blocks of all unwind tables. User space writes it through a mapping, as it does the next three.
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

/// Steps over functions that keep no frame pointer and call an allocator, by return address: `operator new` above all.
/// They are known before a command maps anything, and are needed until its mappings are known. A few entries per target;
/// one that does not fit costs a caller's name, and the loader says so.
#[map]
static CALLER_STEPS: HashMap<u64, CallerStep> = HashMap::with_max_entries(256, 0);

/// Operators that stand on top of each other: `operator new[](nothrow)` on `operator new[]` on `operator new`.
const MAX_STEPS: u32 = 3;

/// The tables in the maps above, and the memory of the current thread.
#[derive(Clone, Copy)]
struct Here;

// SAFETY: map values live as long as the program; the helper writes what it is told, or fails.
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
}

// SAFETY: as above.
unsafe impl Machine for Here {
    #[inline(always)]
    unsafe fn copy(self, to: *mut u64, bytes: u32, from: u64) -> bool {
        // SAFETY: the caller vouches for the room.
        unsafe { bpf_probe_read_user(to.cast(), bytes, from as *const c_void) == 0 }
    }
}

/// What a thread's walks work with. It lies in a map.
#[repr(C)]
pub struct Room {
    /// The word at the stack pointer of the last walk.
    top: u64,
    walk: Walk,
    memos: [Memo; MEMOS],
}

/// A walk that led to a known stack: starting there, with these words on the stack, a walk leads there again.
#[repr(C)]
#[derive(Clone, Copy)]
struct Memo {
    sp: u64,
    fp: u64,
    /// What else the walk depends on: the address space, and which of its mappings are known.
    context: u64,
    number: u64,
    count: u64,
    words: [u64; DRAFT_WORDS + GROUP],
    places: [u8; DRAFT_WORDS + GROUP],
}

/// Walks remembered per thread, a power of two. Most calls come from a place that the thread was at just before.
const MEMOS: usize = 4;

/// Words compared at once, a power of two: every way out of the comparison is followed by the verifier.
const GROUP: usize = 8;

/// Where a walk begins, and in what.
#[derive(Clone, Copy)]
pub struct Place {
    /// Number of the address space.
    pub space: u16,
    /// Slot of its mappings; 0 while they are not known.
    pub slot: u32,
    /// How often its mappings were told.
    pub generation: u32,
    /// Whether there are `CALLER_STEPS` for it.
    pub steps: bool,
}

impl Place {
    #[inline(always)]
    fn context(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.space) << 1 | self.steps as u64
    }
}

/// Reads a field, so that neither the compiler nor the verifier knows more than what lies there.
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

/// The memo for a call, if there is one: where it would be.
#[inline(always)]
unsafe fn memo(room: *mut Room, sp: u64, fp: u64) -> *mut Memo {
    // SAFETY: the caller vouches for the room; the index is masked to the memos.
    unsafe {
        let mixed = (get!(room, top) ^ sp ^ fp).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (&raw mut (*room).memos).cast::<Memo>().add(opaque(mixed) as usize & (MEMOS - 1))
    }
}

/// Reads the top of the stack of a thread that has just entered a function; the number that was remembered for this
/// very stack.
///
/// # Safety
/// As for [`walk_at_entry`], which must come next if there is no number.
#[inline(always)]
pub unsafe fn recall(regs: *const pt_regs, place: Place, room: *mut Room) -> Option<u32> {
    // SAFETY: the kernel vouches for the registers, the caller for the room; both indices are masked.
    unsafe {
        let (sp, fp) = ((*regs).rsp, (*regs).rbp);
        let walk = &raw mut (*room).walk;
        let window = (&raw const (*walk).window).cast::<u64>();
        if !walk::open(Here, walk, sp) {
            let mut top = 0u64;
            bpf_probe_read_user((&raw mut top).cast(), 8, sp as *const c_void);
            set!(room, top, top);
            return None;
        }
        set!(room, top, window.read_volatile());
        let memo = memo(room, sp, fp);
        if get!(memo, sp) != sp || get!(memo, fp) != fp || get!(memo, context) != place.context() {
            return None;
        }
        let (words, places) =
            ((&raw const (*memo).words).cast::<u64>(), (&raw const (*memo).places).cast::<u8>());
        let count = get!(memo, count);
        let mut different = 0;
        for group in 0..DRAFT_WORDS / GROUP {
            let first = group * GROUP;
            if first as u64 >= count {
                break;
            }
            for i in first..first + GROUP {
                let at = usize::from(places.add(i).read_volatile()) & (WINDOW_WORDS - 1);
                different |= window.add(at).read_volatile() ^ words.add(i).read_volatile();
            }
        }
        if different == 0 { Some(get!(memo, number) as u32) } else { None }
    }
}

/// The word at the top of the stack that was recalled or walked last: the return address; 0 if it could not be read.
///
/// # Safety
/// As for [`recall`].
#[inline(always)]
pub unsafe fn top(room: *const Room) -> u64 {
    // SAFETY: the caller vouches for the room.
    unsafe { get!(room, top) }
}

/// Remembers that the walk just made led to a stack.
///
/// # Safety
/// As for [`walk_at_entry`], which came last.
#[inline(always)]
pub unsafe fn remember(regs: *const pt_regs, place: Place, room: *mut Room, number: u32) {
    // SAFETY: as for `recall`.
    unsafe {
        let walk = &raw mut (*room).walk;
        let count = opaque(get!(walk, drafted));
        if count > DRAFT_WORDS as u64 {
            return;
        }
        let (sp, fp) = ((*regs).rsp, (*regs).rbp);
        let memo = memo(room, sp, fp);
        set!(memo, sp, sp);
        set!(memo, fp, fp);
        set!(memo, context, place.context());
        set!(memo, number, u64::from(number));
        set!(memo, count, count);
        (&raw mut (*memo).words).cast::<[u64; DRAFT_WORDS]>().write((*walk).draft_words);
        (&raw mut (*memo).places).cast::<[u8; DRAFT_WORDS]>().write((*walk).draft_places);
        // What is left of the last group: the top of the stack again.
        let (words, places) =
            ((&raw mut (*memo).words).cast::<u64>(), (&raw mut (*memo).places).cast::<u8>());
        for ahead in 0..GROUP as u64 {
            let i = opaque(count + ahead) as usize;
            words.add(i).write_volatile(get!(room, top));
            places.add(i).write_volatile(0);
        }
    }
}

/// What a walk found.
#[derive(Clone, Copy)]
pub struct Found {
    /// Number of frames.
    pub depth: u64,
    /// See [`Walk::identity`].
    pub identity: u64,
    /// One of [`End`].
    pub end: u64,
    /// Whether frames were found by their frame pointers alone.
    pub guessed: bool,
}

/// Collects the return addresses of a thread that has just entered a function and not yet changed its stack pointer,
/// from the direct caller on.
///
/// # Safety
/// `regs` are the registers of the current thread; `frames` points to `FRAME_ROOM` words in a map, and `room` into a map;
/// both are the thread's own. [`recall`] came before.
#[inline(always)]
pub unsafe fn walk_at_entry(regs: *const pt_regs, place: Place, frames: *mut u64, room: *mut Room) -> Found {
    // SAFETY: the kernel vouches for the registers, the caller for the rest.
    unsafe {
        let walk = &raw mut (*room).walk;
        let (sp, fp, caller) = ((*regs).rsp, (*regs).rbp, get!(room, top));
        walk::begin(walk, u64::from(place.space), caller, sp + 8, fp, true);
        if caller == 0 {
            set!(walk, end, End::UNREADABLE);
        } else if let Some(mappings) = UNWIND_SPACES.get_ptr(place.slot) {
            // The walk depends on where it begins.
            if get!(walk, reach) != 0 {
                let _ = walk::word(Here, walk, sp);
            }
            if place.slot == 0 && place.steps {
                step_over_operators(place.space, walk, frames);
            }
            let mut chain = Chain { walk, frames, mappings };
            // One loop body to verify, whatever the depth (Linux 5.17).
            bpf_loop(MAX_FRAMES as u32, follow as *mut c_void, (&raw mut chain).cast(), 0);
        }
        Found {
            depth: get!(walk, depth),
            identity: get!(walk, identity),
            end: get!(walk, end),
            guessed: get!(walk, guessed) != 0,
        }
    }
}

/// The callers of operators that are on top of the stack.
#[inline(always)]
unsafe fn step_over_operators(space: u16, walk: *mut Walk, frames: *mut u64) {
    // SAFETY: as for `walk_at_entry`; steps are written before the probes are attached.
    unsafe {
        let mut level = 0;
        while level < MAX_STEPS {
            let Some(step) = CALLER_STEPS.get_ptr(block_key(space, get!(walk, ip))) else { return };
            let step = *step;
            let cfa = get!(walk, sp) + u64::from(step.cfa_from_rsp_bytes);
            let below = u64::from(step.rbp_below_cfa_bytes);
            let fp = if below == 0 { get!(walk, fp) } else { walk::word(Here, walk, cfa - below) };
            let caller = walk::word(Here, walk, cfa - 8);
            if get!(walk, lost) != 0 {
                return;
            }
            walk::add(walk, frames);
            set!(walk, ip, caller);
            set!(walk, sp, cfa);
            set!(walk, fp, fp);
            level += 1;
        }
    }
}

/// A walk under way.
struct Chain {
    walk: *mut Walk,
    frames: *mut u64,
    mappings: *const Mappings,
}

/// One frame; 1 when there are no more.
#[inline(never)]
extern "C" fn follow(_turn: u32, chain: *mut c_void) -> i64 {
    // SAFETY: the chain of `walk_at_entry`, which waits for this loop.
    unsafe {
        let Chain { walk, frames, mappings } = *chain.cast::<Chain>();
        i64::from(walk::step(Here, mappings, walk, frames))
    }
}

//! Walking the user stack of a thread that has just entered a function.

use core::{ffi::c_void, ptr};

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_probe_read_user, macros::map, maps::HashMap};
use profiler_common::{
    opaque::opaque,
    space::address_key,
    unwind::{
        CallerStep,
        walk::{self, DRAFT_WORDS, End, WINDOW_WORDS, Walk},
    },
};

use super::{
    Found, Here, found, get, returns,
    rules::{self, Rules},
    run, set,
};

/// Callers only need what the stack holds.
const HERE: Here = Here { registers: ptr::null(), rules: ptr::null_mut() };

/// Steps over functions that keep no frame pointer and call an allocator, by return address: mostly `operator new`. They are
/// known before a command maps anything, and are needed until its mappings are known. A few entries per target; one that does not
/// fit costs a caller's name, and the loader reports that.
#[map]
static CALLER_STEPS: HashMap<u64, CallerStep> = HashMap::with_max_entries(256, 0);

/// Operators may call one another: `operator new[](nothrow)` calls `operator new[]`, which calls `operator new`.
const MAX_STEPS: u32 = 3;

/// Working memory of a thread's walks. It lies in a map.
#[repr(C)]
pub struct Room {
    /// The word at the stack pointer of the last walk.
    top: u64,
    walk: Walk,
    memos: [Memo; MEMOS],
    rules: Rules,
}

/// A walk that led to a known stack: a walk from there, with these words on the stack, gives the same result.
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

/// How many walks are remembered per thread, a power of two. Most calls come from a place where the thread was just
/// before.
const MEMOS: usize = 4;

/// How many words are compared at once, a power of two: the verifier follows every exit of the comparison.
const GROUP: usize = 8;

/// Where a walk begins, and in which address space.
#[derive(Clone, Copy)]
pub struct Place {
    /// Number of the address space.
    pub space: u16,
    /// Slot of its mappings; 0 while they are not known.
    pub slot: u32,
    /// How often its mappings were published.
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

/// The place of the memo for a call, whether or not it holds one.
#[inline(always)]
unsafe fn memo(room: *mut Room, sp: u64, fp: u64) -> *mut Memo {
    // SAFETY: the caller vouches for the room; the index is masked to the memos.
    unsafe {
        let mixed = (get!(room, top) ^ sp ^ fp).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (&raw mut (*room).memos).cast::<Memo>().add(opaque(mixed) as usize & (MEMOS - 1))
    }
}

/// Reads the top of the stack of a thread that has just entered a function. Returns the number that was remembered for exactly
/// this stack.
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
        if !walk::open(HERE, walk, sp) {
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

/// The word at the top of the stack of the last recall or walk: the return address; 0 if it could not be read.
///
/// # Safety
/// As for [`recall`].
#[inline(always)]
pub unsafe fn top(room: *const Room) -> u64 {
    // SAFETY: the caller vouches for the room.
    unsafe { get!(room, top) }
}

/// Remembers that the walk just made led to this stack.
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
        // The last group is not full: repeat the top of the stack.
        let (words, places) =
            ((&raw mut (*memo).words).cast::<u64>(), (&raw mut (*memo).places).cast::<u8>());
        for ahead in 0..GROUP as u64 {
            let i = opaque(count + ahead) as usize;
            words.add(i).write_volatile(get!(room, top));
            places.add(i).write_volatile(0);
        }
    }
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
        set!(walk, trampoline, returns::trampoline());
        if caller == 0 {
            set!(walk, end, End::UNREADABLE);
        } else {
            // The walk depends on where it begins.
            if get!(walk, reach) != 0 {
                let _ = walk::word(HERE, walk, sp);
            }
            if place.slot == 0 && place.steps {
                step_over_operators(place.space, walk, frames);
            }
            rules::use_for(&raw mut (*room).rules, place.context());
            run(Here { rules: &raw mut (*room).rules, ..HERE }, place.slot, walk, frames);
        }
        found(walk)
    }
}

/// Steps to the caller of the operators on top of the stack.
#[inline(always)]
unsafe fn step_over_operators(space: u16, walk: *mut Walk, frames: *mut u64) {
    // SAFETY: as for `walk_at_entry`; steps are written before the probes are attached.
    unsafe {
        let mut level = 0;
        while level < MAX_STEPS {
            let Some(step) = CALLER_STEPS.get_ptr(address_key(space, get!(walk, ip))) else { return };
            let step = *step;
            let cfa = get!(walk, sp) + u64::from(step.cfa_from_rsp_bytes);
            let below = u64::from(step.rbp_below_cfa_bytes);
            let fp = if below == 0 { get!(walk, fp) } else { walk::word(HERE, walk, cfa - below) };
            let caller = walk::word(HERE, walk, cfa - 8);
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

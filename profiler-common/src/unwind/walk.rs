//! Walking a user stack by tables: one source for the kernel side and for tests on the host.
//!
//! The state of a walk lies in memory that the verifier knows nothing about (a map), and every field is read and
//! written as it is needed. So the verifier looks at the body of the loop a few times, not once for every depth.

use super::{
    Kind, Mappings, Row, Tables,
    frame::marked,
    lookup::rule,
    special::{guess, special},
};
use crate::opaque::opaque;

/// Frames kept per stack, innermost first.
pub const MAX_FRAMES: usize = 127;
/// Room for them: a power of two, so that an index can be masked.
pub const FRAME_ROOM: usize = 128;
/// Words of the stack that are read at once, a power of two: a copy costs as much as some frames, and most stacks lie
/// in one or two windows.
pub const WINDOW_WORDS: usize = 128;
/// The same in bytes.
pub const WINDOW_BYTES: u32 = 8 * WINDOW_WORDS as u32;
/// The window near the end of what is mapped, where the stack begins.
const SMALL_BYTES: u32 = 256;
/// Words remembered of a walk, a power of two.
pub const DRAFT_WORDS: usize = 64;
/// Value of [`Walk::drafted`] of a walk that has read more than a draft holds, or beyond the first window.
pub const OVERFLOWN: u64 = DRAFT_WORDS as u64 + 1;

/// How a walk ended.
#[derive(Clone, Copy, Debug)]
pub struct End;

impl End {
    /// The outermost frame: its return address is undefined, or zero.
    pub const ROOT: u64 = 0;
    /// There are more frames than [`MAX_FRAMES`].
    pub const LIMIT: u64 = 1;
    /// The stack could not be read.
    pub const UNREADABLE: u64 = 2;
    /// Code without a table, and no frame pointer that leads on.
    pub const NO_TABLE: u64 = 3;
    /// A rule that cannot be followed.
    pub const UNSUPPORTED: u64 = 4;
    /// A rule asks for a register that is not known any more.
    pub const REGISTER: u64 = 5;
    /// The caller's frame would not be above the frame: the tables do not fit the code, or the stack is damaged.
    pub const BACKWARDS: u64 = 6;
    /// A return probe holds the return address, which cannot be read from the kernel.
    pub const PROBED: u64 = 7;
    /// No call leads to the outermost frame. User space finds that out.
    pub const NOT_CALLED: u64 = 8;
    /// Number of ends.
    pub const COUNT: usize = 9;
    /// What each means, in reports.
    pub const WORDS: [&'static str; Self::COUNT] = [
        "complete",
        "deeper than 127 frames",
        "stack memory not readable",
        "code without unwind information",
        "unwind information of a form that is not supported",
        "unwind information needs a register that is not known",
        "unwind information does not fit the stack",
        "return address held by a return probe",
        "nothing calls this function: a coroutine begins here, or the stack is damaged",
    ];
}

/// What a walk needs besides tables.
///
/// # Safety
/// [`Machine::copy`] writes `bytes` bytes at `to`, or says that it could not.
pub unsafe trait Machine: Tables {
    /// Copies from the user's memory; whether all of it could be copied.
    ///
    /// # Safety
    /// `to` points to `bytes` writable bytes.
    unsafe fn copy(self, to: *mut u64, bytes: u32, from: u64) -> bool;

    /// A register of the innermost frame, by [`register`](super::register) number, if it is known.
    fn register(self, number: u32) -> Option<u64> {
        let _ = number;
        None
    }

    /// The return address that lay in a slot of the stack before a return probe replaced it; 0 if it is not known.
    fn original(self, slot: u64) -> u64 {
        let _ = slot;
        0
    }
}

/// A walk under way, and what it has found. All zeroes is a walk that was never begun.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Number of frames.
    pub depth: u64,
    /// A 64-bit identity of the stack: equal stacks have equal identities, and two different ones collide with
    /// probability 2^-64 per pair.
    pub identity: u64,
    /// One of [`End`].
    pub end: u64,
    /// Frames that were found by their frame pointers alone, because their code has no table.
    pub guessed: u64,
    /// Address of the frame that comes next.
    pub ip: u64,
    /// Stack pointer of that frame.
    pub sp: u64,
    /// Frame pointer register of that frame.
    pub fp: u64,
    /// 1 if `ip` is a return address: its call is the instruction before.
    pub returned: u64,
    /// 1 if `fp` is not known any more.
    pub fp_lost: u64,
    /// Where the return address that `ip` is lies on the stack.
    pub slot: u64,
    /// What return probes put in place of return addresses; 0 if nothing.
    pub trampoline: u64,
    /// 1 once a word could not be read.
    pub lost: u64,
    /// Where a signal handler's frame keeps all registers of the frame that `ip` is in; 0 if there is none.
    pub context: u64,
    /// The mapping that the last frame was in.
    pub mapping: u64,
    /// Where the window starts, and how far from there a word may begin; 0 if nothing was read.
    pub start: u64,
    /// See `start`.
    pub reach: u64,
    /// Words in `draft_words`, or [`OVERFLOWN`].
    pub drafted: u64,
    /// Part of the user's stack, as it was read last.
    pub window: [u64; WINDOW_WORDS],
    /// The words that the walk has read of the first window, in order.
    pub draft_words: [u64; DRAFT_WORDS],
    /// Where in the window they are.
    pub draft_places: [u8; DRAFT_WORDS],
}

/// Reads a field, so that neither the compiler nor the verifier knows more than what lies there.
macro_rules! get {
    ($walk:expr, $field:ident) => {
        (&raw const (*$walk).$field).read_volatile()
    };
}

/// Writes a field.
macro_rules! set {
    ($walk:expr, $field:ident, $value:expr) => {
        (&raw mut (*$walk).$field).write_volatile($value)
    };
}

pub(super) use {get, set};

/// Begins a walk at these registers. `seed` distinguishes address spaces; `returned` is whether `ip` is a return
/// address.
///
/// # Safety
/// `walk` is valid and the caller's own.
#[inline(always)]
pub unsafe fn begin(walk: *mut Walk, seed: u64, ip: u64, sp: u64, fp: u64, returned: bool) {
    // SAFETY: the caller vouches for the walk.
    unsafe {
        set!(walk, depth, 0);
        set!(walk, identity, seed);
        set!(walk, end, End::LIMIT);
        set!(walk, guessed, 0);
        set!(walk, ip, ip);
        set!(walk, sp, sp);
        set!(walk, fp, fp);
        set!(walk, returned, u64::from(returned));
        set!(walk, fp_lost, 0);
        set!(walk, slot, sp.wrapping_sub(8));
        set!(walk, trampoline, 0);
        set!(walk, lost, 0);
        set!(walk, context, 0);
    }
}

/// Reads the window at the top of a stack, where a walk will begin; whether it could be read.
///
/// # Safety
/// As for [`begin`].
#[inline(always)]
pub unsafe fn open<M: Machine>(machine: M, walk: *mut Walk, sp: u64) -> bool {
    // SAFETY: the caller vouches for the walk; the window has as many bytes.
    unsafe {
        set!(walk, drafted, 0);
        set!(walk, start, sp);
        let read = sp & 7 == 0 && machine.copy((&raw mut (*walk).window).cast(), WINDOW_BYTES, sp);
        set!(walk, reach, if read { u64::from(WINDOW_BYTES) - 7 } else { 0 });
        read
    }
}

/// Moves the window to an address.
#[inline(never)]
unsafe fn refill<M: Machine>(machine: M, walk: *mut Walk, address: u64) {
    // SAFETY: as for `open`. Each attempt says beforehand what it will have read: so the verifier has one state to go on
    // with, not one for every outcome.
    unsafe {
        let window = (&raw mut (*walk).window).cast();
        set!(walk, drafted, OVERFLOWN);
        set!(walk, start, address);
        for bytes in [WINDOW_BYTES, SMALL_BYTES, 8] {
            set!(walk, reach, u64::from(bytes) - 7);
            if machine.copy(window, bytes, address) {
                return;
            }
        }
        set!(walk, reach, 0);
        set!(walk, lost, 1);
    }
}

/// The word at an address. If it cannot be read it is anything, and the walk ends when it is about to
/// leave the frame: one question per frame, not one per word.
///
/// # Safety
/// As for [`begin`].
#[inline(always)]
pub unsafe fn word<M: Machine>(machine: M, walk: *mut Walk, address: u64) -> u64 {
    // SAFETY: as for `begin`; indices are masked.
    unsafe {
        let mut ahead = address.wrapping_sub(get!(walk, start));
        if ahead >= get!(walk, reach) || ahead & 7 != 0 {
            refill(machine, walk, address);
            ahead = 0;
        }
        let at = opaque(ahead >> 3) as usize & (WINDOW_WORDS - 1);
        let value = (&raw const (*walk).window).cast::<u64>().add(at).read_volatile();
        let drafted = opaque(get!(walk, drafted));
        if drafted < DRAFT_WORDS as u64 {
            (&raw mut (*walk).draft_words).cast::<u64>().add(drafted as usize).write_volatile(value);
            (&raw mut (*walk).draft_places).cast::<u8>().add(drafted as usize).write_volatile(at as u8);
            set!(walk, drafted, drafted + 1);
        } else {
            set!(walk, drafted, OVERFLOWN);
        }
        value
    }
}

/// Takes in the next frame and goes to its caller; whether the walk has ended.
///
/// # Safety
/// As for [`begin`]; `frames` points to [`FRAME_ROOM`] words, and `mappings` is valid.
#[inline(always)]
pub unsafe fn step<M: Machine>(
    machine: M,
    mappings: *const Mappings,
    walk: *mut Walk,
    frames: *mut u64,
) -> bool {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        if get!(walk, ip) == get!(walk, trampoline) {
            let original = machine.original(get!(walk, slot));
            if original == 0 {
                return ended(walk, End::PROBED);
            }
            set!(walk, ip, original);
            set!(walk, drafted, OVERFLOWN); // what the stack holds does not say where the walk leads
        }
        add(walk, frames);
        let row = rule(machine, mappings, walk, get!(walk, ip).wrapping_sub(get!(walk, returned)));
        let kind = row.kind();
        if kind == Kind::RSP || kind == Kind::RBP {
            return plain(machine, walk, row);
        }
        if kind == Kind::NONE { guess(machine, walk) } else { special(machine, walk, row.rule()) }
    }
}

/// Takes in the frame at `ip`.
///
/// # Safety
/// As for [`step`].
#[inline(always)]
pub unsafe fn add(walk: *mut Walk, frames: *mut u64) {
    // SAFETY: as for `step`; the mask keeps the index within the frames.
    unsafe {
        let (ip, depth) = (marked(get!(walk, ip), get!(walk, returned)), get!(walk, depth));
        frames.add(opaque(depth) as usize & (FRAME_ROOM - 1)).write_volatile(ip);
        set!(walk, depth, depth + 1);
        let mixed = (get!(walk, identity) ^ ip).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        set!(walk, identity, mixed ^ mixed >> 29);
    }
}

/// The CFA is a register plus an offset: nearly every frame.
#[inline(always)]
unsafe fn plain<M: Machine>(machine: M, walk: *mut Walk, row: Row) -> bool {
    // SAFETY: as for `step`.
    unsafe {
        let base = if row.kind() == Kind::RSP {
            get!(walk, sp)
        } else if get!(walk, fp_lost) == 0 {
            get!(walk, fp)
        } else {
            return ended(walk, End::REGISTER);
        };
        let cfa = base.wrapping_add(row.cfa_bytes());
        let below = row.rbp_below_cfa_bytes();
        // The lower word first: if it takes a new window, the other one is in it too.
        if below != 0 {
            let fp = word(machine, walk, cfa.wrapping_sub(below));
            set!(walk, fp, fp);
            set!(walk, fp_lost, 0);
        }
        let slot = cfa.wrapping_sub(8);
        let return_address = word(machine, walk, slot);
        leave(walk, cfa, return_address, slot)
    }
}

/// Goes to the caller. `slot` is where its address lies on the stack, if it does.
#[inline(always)]
pub(super) unsafe fn leave(walk: *mut Walk, cfa: u64, return_address: u64, slot: u64) -> bool {
    // SAFETY: as for `step`.
    unsafe {
        if get!(walk, lost) != 0 {
            return ended(walk, End::UNREADABLE);
        }
        if return_address == 0 {
            return ended(walk, End::ROOT);
        }
        // The innermost function may have taken its frame down, return address and all, to leave by a jump.
        let smallest = get!(walk, sp).wrapping_add(get!(walk, returned) * 8);
        if cfa < smallest {
            return ended(walk, End::BACKWARDS);
        }
        set!(walk, slot, slot);
        set!(walk, sp, cfa);
        set!(walk, ip, return_address);
        set!(walk, returned, 1);
        false
    }
}

/// Ends the walk.
#[inline(always)]
pub(super) unsafe fn ended(walk: *mut Walk, end: u64) -> bool {
    // SAFETY: as for `step`.
    unsafe { set!(walk, end, end) };
    true
}

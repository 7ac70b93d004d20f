//! Walking the user stack of the current thread at a function's entry.
//!
//! The frame-pointer walk below is the one place to replace when stacks are walked without frame pointers: callers
//! know only [`walk_at_entry`], the frames, and how the walk ended.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_loop, bpf_probe_read_user},
    macros::map,
    maps::HashMap,
};
use profiler_common::memleak::{CallerStep, FRAME_ROOM, MAX_FRAMES, block_key};

use crate::verifier::opaque;

/// Steps over functions that keep no frame pointer and call an allocator, by return address: `operator new` above
/// all. A few entries per target; one that does not fit costs a caller's name, and the loader says so.
#[map]
static CALLER_STEPS: HashMap<u64, CallerStep> = HashMap::with_max_entries(256, 0);

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The frame-pointer chain ended.
    Chain,
    /// There are more frames than [`MAX_FRAMES`].
    Limit,
    /// The stack could not be read.
    Unreadable,
}

/// Operators that stand on top of each other: `operator new[](nothrow)` on `operator new[]` on `operator new`.
const MAX_STEPS: u32 = 3;
/// A frame further away than this from the one before it is not believed.
const MAX_FRAME_BYTES: u64 = 8 << 20;

/// Words of the stack that are read at once: a call of the helper costs as much as the copy of some frames, and most
/// stacks lie in a few windows.
const WINDOW_WORDS: usize = 128;
const WINDOW_BYTES: u64 = 8 * WINDOW_WORDS as u64;

/// What a walk works with. It lies in a map, not on the BPF stack: the verifier knows nothing about values in maps, so
/// it looks at the body of the loop twice, not once for every depth.
#[repr(C)]
pub struct Room {
    depth: u64,
    identity: u64,
    end: u64,
    /// The word at the stack pointer.
    top: u64,
    sp: u64,
    fp: u64,
    /// Where the window starts, and how many bytes of it are known; 0 if nothing was read.
    start: u64,
    bytes: u64,
    /// Part of the user stack, as it was read last, and the word behind an index that is masked to it.
    window: [u64; WINDOW_WORDS + 1],
    /// What the walk under way has read of the first window; [`OVERFLOWN`] if it read more than that.
    drafted: u64,
    draft: Words,
    memos: [Memo; MEMOS],
}

/// Words of a window that a walk depends on, in the order in which it read them.
#[repr(C)]
#[derive(Clone, Copy)]
struct Words {
    words: [u64; MEMO_WORDS],
    /// Where in the window they are.
    at: [u8; MEMO_WORDS],
}

/// A walk that led to a known stack: starting there, with these words on the stack, a walk leads there again.
#[repr(C)]
#[derive(Clone, Copy)]
struct Memo {
    sp: u64,
    fp: u64,
    /// What else the walk depends on: the address space and what is known of it.
    context: u64,
    number: u64,
    count: u64,
    read: Words,
}

/// Walks remembered per thread, a power of two. Most calls come from a place that the thread was at just before.
const MEMOS: usize = 4;
/// Words remembered of a walk, a power of two: 32 frames.
const MEMO_WORDS: usize = 64;
const OVERFLOWN: u64 = MEMO_WORDS as u64 + 1;

/// Reads a field of the room, so that neither the compiler nor the verifier knows more than what lies there.
macro_rules! get {
    ($room:expr, $field:ident) => {
        (&raw const (*$room).$field).read_volatile()
    };
}

/// Writes a field of the room.
macro_rules! set {
    ($room:expr, $field:ident, $value:expr) => {
        (&raw mut (*$room).$field).write_volatile($value)
    };
}

/// The two words at an address that is a multiple of 8: from the window, or from a new one that starts there.
///
/// # Safety
/// `room` lies in a map and is the current thread's own.
#[inline(always)]
unsafe fn pair(room: *mut Room, address: u64) -> Option<[u64; 2]> {
    // SAFETY: the caller vouches for the room; the helper writes as many bytes as the window has at least, and the
    // index is masked to the window, which has one word more.
    unsafe {
        let words = (&raw mut (*room).window).cast::<u64>();
        let (mut ahead, bytes) = (address.wrapping_sub(get!(room, start)), get!(room, bytes));
        // Behind the last pair, before the start (which wraps), or nothing read yet.
        if bytes == 0 || ahead > WINDOW_BYTES - 16 {
            set!(room, drafted, OVERFLOWN);
            if !open_window(room, address) {
                // Near the end of what is mapped, where the stack begins: word by word from here.
                return read_words::<2>(address);
            }
            ahead = 0;
        }
        let at = opaque((ahead >> 3) as usize) & (WINDOW_WORDS - 1);
        let pair = [words.add(at).read_volatile(), words.add(at + 1).read_volatile()];
        let drafted = opaque(get!(room, drafted) as usize);
        if drafted < MEMO_WORDS - 1 {
            let read = &raw mut (*room).draft;
            let (words, places) =
                ((&raw mut (*read).words).cast::<u64>(), (&raw mut (*read).at).cast::<u8>());
            words.add(drafted).write_volatile(pair[0]);
            words.add(drafted + 1).write_volatile(pair[1]);
            places.add(drafted).write_volatile(at as u8);
            places.add(drafted + 1).write_volatile(at as u8 + 1);
            set!(room, drafted, drafted as u64 + 2);
        } else {
            set!(room, drafted, OVERFLOWN);
        }
        Some(pair)
    }
}

/// Reads the window that starts at an address; whether it could be read.
#[inline(always)]
unsafe fn open_window(room: *mut Room, address: u64) -> bool {
    // SAFETY: as for `pair`.
    unsafe {
        let words = (&raw mut (*room).window).cast();
        let read = bpf_probe_read_user(words, WINDOW_BYTES as u32, address as *const _) == 0;
        set!(room, start, address);
        set!(room, bytes, if read { WINDOW_BYTES } else { 0 });
        read
    }
}

/// The memo for a call, if there is one: where it would be.
#[inline(always)]
unsafe fn memo(room: *mut Room, sp: u64, fp: u64) -> *mut Memo {
    // SAFETY: the caller vouches for the room; the index is masked to the memos.
    unsafe {
        let caller = (&raw const (*room).window).cast::<u64>().read_volatile();
        let mixed = (caller ^ sp ^ fp).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (&raw mut (*room).memos).cast::<Memo>().add(opaque(mixed as usize) & (MEMOS - 1))
    }
}

/// Reads the top of the stack of a thread that has just entered a function; the number that was remembered for this
/// very stack.
///
/// # Safety
/// As for [`walk_at_entry`], which must come next if there is no number.
#[inline(always)]
pub unsafe fn recall(regs: *const pt_regs, context: u64, room: *mut Room) -> Option<u32> {
    // SAFETY: the kernel vouches for the registers, the caller for the room; both indices are masked.
    unsafe {
        let (sp, fp) = ((*regs).rsp, (*regs).rbp);
        set!(room, drafted, 0);
        if sp & 7 != 0 || !open_window(room, sp) {
            set!(room, bytes, 0);
            set!(room, top, read_words::<1>(sp).map_or(0, |[word]| word));
            return None;
        }
        set!(room, top, (&raw const (*room).window).cast::<u64>().read_volatile());
        let memo = memo(room, sp, fp);
        if get!(memo, sp) != sp || get!(memo, fp) != fp || get!(memo, context) != context {
            return None;
        }
        let read = &raw const (*memo).read;
        let (words, places) =
            ((&raw const (*read).words).cast::<u64>(), (&raw const (*read).at).cast::<u8>());
        let window = (&raw const (*room).window).cast::<u64>();
        let count = get!(memo, count);
        let mut different = 0;
        for i in 0..MEMO_WORDS {
            if i as u64 >= count {
                break;
            }
            let at = usize::from(places.add(i).read_volatile()) & (WINDOW_WORDS - 1);
            different |= window.add(at).read_volatile() ^ words.add(i).read_volatile();
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
pub unsafe fn remember(regs: *const pt_regs, context: u64, room: *mut Room, number: u32) {
    // SAFETY: as for `recall`.
    unsafe {
        let count = get!(room, drafted);
        if count == 0 || count > MEMO_WORDS as u64 {
            return;
        }
        let (sp, fp) = ((*regs).rsp, (*regs).rbp);
        let memo = memo(room, sp, fp);
        set!(memo, sp, sp);
        set!(memo, fp, fp);
        set!(memo, context, context);
        set!(memo, number, u64::from(number));
        set!(memo, count, count);
        (*memo).read = (*room).draft;
    }
}

/// Reads words of user memory.
#[inline(always)]
fn read_words<const N: usize>(address: u64) -> Option<[u64; N]> {
    let mut words = MaybeUninit::<[u64; N]>::uninit();
    // SAFETY: the helper writes exactly 8 * N bytes, or fails and zeroes them.
    let result = unsafe { bpf_probe_read_user(words.as_mut_ptr().cast(), 8 * N as u32, address as *const _) };
    // SAFETY: written in either case.
    if result == 0 { Some(unsafe { words.assume_init() }) } else { None }
}

/// What a walk found.
#[derive(Clone, Copy)]
pub struct Walk {
    /// Number of frames.
    pub depth: usize,
    /// A 64-bit identity of the stack: equal stacks have equal identities, and two different ones collide with
    /// probability 2^-64 per pair.
    pub identity: u64,
    /// How it ended.
    pub end: End,
}

/// Collects the return addresses of a thread that has just entered a function and not yet changed its stack
/// pointer: the direct caller from the top of the stack, the others along the frame pointers.
///
/// # Safety
/// `regs` are the registers of the current thread; `frames` points to [`FRAME_ROOM`] words in a map, and `room` into
/// a map; both are the thread's own.
#[inline(always)]
pub unsafe fn walk_at_entry(
    regs: *const pt_regs,
    space: u16,
    steps: bool,
    frames: *mut u64,
    room: *mut Room,
) -> Walk {
    // SAFETY: the kernel vouches for the registers, the caller for the rest; `add` masks its index.
    unsafe {
        let (sp, fp) = ((*regs).rsp, (*regs).rbp);
        set!(room, depth, 0);
        set!(room, identity, u64::from(space));
        set!(room, end, UNREADABLE);
        if begin(room, space, steps, frames, sp, fp).is_some() {
            set!(room, end, LIMIT);
            let mut chain = Chain { room, frames };
            // One loop body to verify, whatever the depth (Linux 5.17).
            bpf_loop(MAX_FRAMES as u32 - 2, follow as *mut c_void, (&raw mut chain).cast(), 0);
        }
        let end = match get!(room, end) {
            CHAIN => End::Chain,
            LIMIT => End::Limit,
            _ => End::Unreadable,
        };
        Walk { depth: get!(room, depth) as usize, identity: get!(room, identity), end }
    }
}

/// The frames that frame pointers do not tell: the direct caller, and the caller of an operator that is on top of the
/// stack. `None` if they cannot be read.
#[inline(always)]
unsafe fn begin(room: *mut Room, space: u16, steps: bool, frames: *mut u64, sp: u64, fp: u64) -> Option<()> {
    let (mut sp, mut fp) = (sp, fp);
    // SAFETY: as for `walk_at_entry`.
    unsafe {
        let mut caller = get!(room, top);
        if caller == 0 {
            return None;
        }
        if get!(room, bytes) != 0 {
            pair(room, sp); // into the draft
        }
        add(room, frames, caller);
        let mut level = 0;
        while steps && level < MAX_STEPS {
            let Some(step) = CALLER_STEPS.get_ptr(block_key(space, caller)) else { break };
            // A map value that is written before the probes are attached.
            let step = *step;
            let cfa = sp + 8 + u64::from(step.cfa_from_rsp_bytes);
            if step.rbp_below_cfa_bytes != 0 {
                [fp, _] = pair(room, cfa - u64::from(step.rbp_below_cfa_bytes))?;
            }
            [caller, _] = pair(room, cfa - 8)?;
            add(room, frames, caller);
            sp = cfa - 8;
            level += 1;
        }
        set!(room, sp, sp);
        set!(room, fp, fp);
    }
    Some(())
}

const CHAIN: u64 = 0;
const LIMIT: u64 = 1;
const UNREADABLE: u64 = 2;

/// A walk along frame pointers, under way.
struct Chain {
    room: *mut Room,
    frames: *mut u64,
}

/// One step along the frame pointers; 1 when there are no more.
#[inline(never)]
extern "C" fn follow(_turn: u32, chain: *mut c_void) -> i64 {
    // SAFETY: the chain of `walk_at_entry`, which waits for this loop; `add` masks its index.
    unsafe {
        let Chain { room, frames } = *chain.cast::<Chain>();
        let (sp, fp) = (get!(room, sp), get!(room, fp));
        if fp <= sp || fp - sp > MAX_FRAME_BYTES || fp & 7 != 0 {
            set!(room, end, CHAIN);
            return 1;
        }
        let Some([next_fp, return_address]) = pair(room, fp) else {
            set!(room, end, UNREADABLE);
            return 1;
        };
        if return_address == 0 {
            set!(room, end, CHAIN);
            return 1;
        }
        add(room, frames, return_address);
        set!(room, sp, fp);
        set!(room, fp, next_fp);
    }
    0
}

/// # Safety
/// `room` and `frames` as for [`walk_at_entry`].
#[inline(always)]
unsafe fn add(room: *mut Room, frames: *mut u64, frame: u64) {
    // SAFETY: the mask keeps the index within the room.
    unsafe {
        let depth = get!(room, depth);
        frames.add(opaque(depth as usize) & (FRAME_ROOM - 1)).write_volatile(frame);
        set!(room, depth, depth + 1);
        let mixed = (frame ^ frame >> 29).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let identity =
            (get!(room, identity).rotate_left(27) ^ mixed ^ mixed >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        set!(room, identity, identity);
    }
}

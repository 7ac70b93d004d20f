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

/// A frame further away than this from the one before it is not believed.
const MAX_FRAME_BYTES: u64 = 8 << 20;

/// Words of the stack that are read at once: a call of the helper costs as much as the copy of some frames, and most
/// stacks lie in a few windows.
const WINDOW_WORDS: usize = 64;
/// Room for them, and for the word behind an index that is masked to the window.
pub const WINDOW_ROOM: usize = WINDOW_WORDS + 1;

/// Part of the user stack, as it was read last.
#[derive(Clone, Copy)]
struct Window {
    /// [`WINDOW_ROOM`] words in a map.
    words: *mut u64,
    start: u64,
    /// Bytes behind `start` that are known; 0 if nothing was read.
    bytes: u64,
}

impl Window {
    /// The two words at an address that is a multiple of 8: from the window, or from a new one that starts there.
    ///
    /// # Safety
    /// `self.words` points to [`WINDOW_ROOM`] words in a map, the current thread's own.
    #[inline(always)]
    unsafe fn pair(&mut self, address: u64) -> Option<[u64; 2]> {
        let mut ahead = address.wrapping_sub(self.start);
        // Behind the last pair, before the start (which wraps), or nothing read yet.
        if self.bytes < 16 || ahead > self.bytes - 16 {
            const BYTES: u64 = 8 * WINDOW_WORDS as u64;
            // SAFETY: as many bytes as the room has at least.
            let read = unsafe { bpf_probe_read_user(self.words.cast(), BYTES as u32, address as *const _) };
            if read != 0 {
                // Near the end of what is mapped, where the stack begins: word by word from here.
                self.bytes = 0;
                return read_words::<2>(address);
            }
            (self.start, self.bytes, ahead) = (address, BYTES, 0);
        }
        let at = opaque((ahead >> 3) as usize) & (WINDOW_WORDS - 1);
        // SAFETY: masked to the window, and the room is one word more.
        Some(unsafe { [self.words.add(at).read_volatile(), self.words.add(at + 1).read_volatile()] })
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
/// `regs` are the registers of the current thread; `frames` points to [`FRAME_ROOM`] and `window` to [`WINDOW_ROOM`]
/// words in a map, both the thread's own.
#[inline(always)]
pub unsafe fn walk_at_entry(
    regs: *const pt_regs,
    space: u16,
    steps: bool,
    frames: *mut u64,
    window: *mut u64,
) -> Walk {
    // SAFETY: the kernel vouches for the registers.
    let (mut sp, mut fp) = unsafe { ((*regs).rsp, (*regs).rbp) };
    let mut walk = Walk { depth: 0, identity: u64::from(space), end: End::Unreadable };
    let mut window = Window { words: window, start: 0, bytes: 0 };
    // SAFETY: the caller vouches for the room.
    let top = if sp & 7 == 0 { unsafe { window.pair(sp) } } else { None };
    let caller = match top {
        Some([caller, _]) => caller,
        None => {
            let Some([caller]) = read_words::<1>(sp) else { return walk };
            caller
        }
    };
    // SAFETY (here and below): `add` masks the index.
    unsafe { walk.add(frames, caller) };
    if steps && let Some(step) = CALLER_STEPS.get_ptr(block_key(space, caller)) {
        // SAFETY: a map value that is written before the probes are attached.
        let step = unsafe { *step };
        let cfa = sp + 8 + u64::from(step.cfa_from_rsp_bytes);
        if step.rbp_below_cfa_bytes != 0 {
            let Some([saved]) = read_words::<1>(cfa - u64::from(step.rbp_below_cfa_bytes)) else { return walk };
            fp = saved;
        }
        let Some([next]) = read_words::<1>(cfa - 8) else { return walk };
        unsafe { walk.add(frames, next) };
        sp = cfa - 8;
    }
    let mut chain = Chain { walk, frames, window, sp, fp };
    chain.walk.end = End::Limit;
    // SAFETY: the helper calls `follow` with the chain; one loop body to verify, whatever the depth (Linux 5.17).
    unsafe {
        bpf_loop(MAX_FRAMES as u32 - 2, follow as *mut c_void, (&raw mut chain).cast(), 0);
    }
    chain.walk
}

/// A walk along frame pointers, under way.
struct Chain {
    walk: Walk,
    frames: *mut u64,
    window: Window,
    sp: u64,
    fp: u64,
}

/// One step along the frame pointers; 1 when there are no more.
#[inline(never)]
extern "C" fn follow(_turn: u32, chain: *mut c_void) -> i64 {
    // SAFETY: the chain of `walk_at_entry`, which waits for this loop.
    let chain = unsafe { &mut *chain.cast::<Chain>() };
    if chain.fp <= chain.sp || chain.fp - chain.sp > MAX_FRAME_BYTES || chain.fp & 7 != 0 {
        chain.walk.end = End::Chain;
        return 1;
    }
    // SAFETY: the room that the walk was given.
    let Some([next_fp, return_address]) = (unsafe { chain.window.pair(chain.fp) }) else {
        chain.walk.end = End::Unreadable;
        return 1;
    };
    if return_address == 0 {
        chain.walk.end = End::Chain;
        return 1;
    }
    // SAFETY: `add` masks the index.
    unsafe { chain.walk.add(chain.frames, return_address) };
    chain.sp = chain.fp;
    chain.fp = next_fp;
    0
}

impl Walk {
    /// # Safety
    /// `frames` points to [`FRAME_ROOM`] words in a map.
    #[inline(always)]
    unsafe fn add(&mut self, frames: *mut u64, frame: u64) {
        // SAFETY: the mask keeps the index within the room.
        unsafe { *frames.add(self.depth & (FRAME_ROOM - 1)) = frame };
        self.depth += 1;
        let mixed = (frame ^ frame >> 29).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.identity =
            (self.identity.rotate_left(27) ^ mixed ^ mixed >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

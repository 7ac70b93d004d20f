//! Walking the user stack of the current thread at a function's entry.
//!
//! The frame-pointer walk below is the one place to replace when stacks are walked without frame pointers: callers
//! know only [`walk_at_entry`], the frames, and how the walk ended.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_probe_read_user, macros::map, maps::HashMap};
use profiler_common::memleak::{CallerStep, FRAME_ROOM, MAX_FRAMES, block_key};

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

/// Reads words of user memory.
#[inline(always)]
fn read<const N: usize>(address: u64) -> Option<[u64; N]> {
    let mut words = MaybeUninit::<[u64; N]>::uninit();
    // SAFETY: the helper writes exactly 8 * N bytes, or fails and zeroes them.
    let result = unsafe { bpf_probe_read_user(words.as_mut_ptr().cast(), 8 * N as u32, address as *const _) };
    // SAFETY: written in either case.
    if result == 0 { Some(unsafe { words.assume_init() }) } else { None }
}

/// Collects the return addresses of a thread that has just entered a function and not yet changed its stack
/// pointer: the direct caller from the top of the stack, the others along the frame pointers. Returns how many.
///
/// # Safety
/// `regs` are the registers of the current thread; `frames` points to [`FRAME_ROOM`] words in a map.
#[inline(always)]
pub unsafe fn walk_at_entry(regs: *const pt_regs, space: u16, steps: bool, frames: *mut u64) -> (usize, End) {
    // SAFETY: the kernel vouches for the registers.
    let (mut sp, mut fp) = unsafe { ((*regs).rsp, (*regs).rbp) };
    let Some([caller]) = read::<1>(sp) else { return (0, End::Unreadable) };
    // SAFETY (here and below): the index is less than FRAME_ROOM.
    unsafe { *frames = caller };
    let mut depth = 1;
    if steps && let Some(step) = CALLER_STEPS.get_ptr(block_key(space, caller)) {
        // SAFETY: a map value that is written before the probes are attached.
        let step = unsafe { *step };
        let cfa = sp + 8 + u64::from(step.cfa_from_rsp_bytes);
        if step.rbp_below_cfa_bytes != 0 {
            match read::<1>(cfa - u64::from(step.rbp_below_cfa_bytes)) {
                Some([saved]) => fp = saved,
                None => return (depth, End::Unreadable),
            }
        }
        let Some([next]) = read::<1>(cfa - 8) else { return (depth, End::Unreadable) };
        // SAFETY: as above.
        unsafe { *frames.add(1) = next };
        depth = 2;
        sp = cfa - 8;
    }
    while depth < MAX_FRAMES {
        if fp <= sp || fp - sp > MAX_FRAME_BYTES || fp & 7 != 0 {
            return (depth, End::Chain);
        }
        let Some([next_fp, return_address]) = read::<2>(fp) else { return (depth, End::Unreadable) };
        if return_address == 0 {
            return (depth, End::Chain);
        }
        // SAFETY: as above; the mask tells the verifier.
        unsafe { *frames.add(depth & (FRAME_ROOM - 1)) = return_address };
        depth += 1;
        sp = fp;
        fp = next_fp;
    }
    (depth, End::Limit)
}

/// A 64-bit identity of a stack: equal stacks have equal identities, and two different ones collide with
/// probability 2^-64 per pair.
///
/// # Safety
/// `frames` points to [`FRAME_ROOM`] words in a map.
#[inline(always)]
pub unsafe fn identity(frames: *const u64, depth: usize, space: u16) -> u64 {
    let mut hash = u64::from(space) << 32 | depth as u64;
    let mut i = 0;
    while i < depth && i < MAX_FRAMES {
        // SAFETY: the index is less than FRAME_ROOM; the mask tells the verifier.
        let frame = unsafe { *frames.add(i & (FRAME_ROOM - 1)) };
        let mixed = (frame ^ frame >> 29).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash.rotate_left(27) ^ mixed ^ mixed >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        i += 1;
    }
    hash ^ hash >> 31
}

//! Telling kernel stacks of the current thread apart, without walking them.
//!
//! A walk takes microseconds. Threads wait in few places, and each time that one waits in the same place, the return addresses on its stack are
//! the same, in the same positions. So all words on the stack that may be such addresses are hashed, with their positions.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel, bpf_task_pt_regs},
    macros::map,
    maps::PerCpuArray,
};
use profiler_common::opaque::opaque;

use crate::{hash::MULTIPLIER, task::task, threads::distance};

/// Words of a stack that are looked at, at most: a quarter of the stacks of x86-64.
const MOST_WORDS: u64 = 512;
/// As many are looked at at once, a power of two. Behind the last are the first of the thread's own registers, which are more.
const GROUP: u64 = 8;
const WORD: u64 = size_of::<u64>() as u64;

/// The last 2 GiB of addresses, in bits: all code of the kernel and its modules is there (Documentation/arch/x86/x86_64/mm.rst).
const CODE_BITS: u32 = 31;
#[map]
static STACK_WORDS: PerCpuArray<[u64; MOST_WORDS as usize]> = PerCpuArray::with_max_entries(1, 0);

/// A number of the stack: stacks with the same number have the same frames, unless a tracer has replaced their return addresses by one of its
/// own. The same frames may have several numbers, because calls that have returned leave their addresses behind. 0: the stack is too deep.
///
/// # Safety
/// `ctx` is the context of a program at a typed tracepoint, which interrupts are not enabled in.
#[inline(always)]
pub unsafe fn fingerprint(ctx: *mut c_void) -> u64 {
    let Some(words) = STACK_WORDS.get_ptr_mut(0) else { return 0 };
    let words = words.cast::<u64>();
    // SAFETY: the kernel has the arguments of such a tracepoint on the stack of the current thread, whose registers are at its end. The helper
    // takes any address; the length is checked. The room is a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        let end = bpf_task_pt_regs(task().pointer().cast_mut().cast()) as *const c_void;
        let bytes = distance(ctx, end);
        let bytes = bytes.next_multiple_of(GROUP * WORD);
        if bytes > MOST_WORDS * WORD || bpf_probe_read_kernel(words.cast(), bytes as u32, ctx) != 0 {
            return 0;
        }
        let mut sum = 1;
        let mut at = 0;
        while at < MOST_WORDS && at * WORD < bytes {
            for _ in 0..GROUP {
                // The mask keeps the index within the room.
                let word = words.add(opaque(at) as usize & (MOST_WORDS as usize - 1)).read_volatile();
                sum = mixed(sum, word, at);
                at += 1;
            }
        }
        sum | 1
    }
}

/// Adds a word to a sum if it may be the address of code. Without a branch: the verifier would follow both ways from each.
#[inline(always)]
fn mixed(sum: u64, word: u64, at: u64) -> u64 {
    let above = opaque(word.wrapping_add(1 << CODE_BITS) >> CODE_BITS);
    // All bits if it is 0.
    let is_code = (above.wrapping_sub(1) as i64 >> 63) as u64;
    let mixed = (word & is_code).wrapping_mul(MULTIPLIER);
    sum.wrapping_add((mixed ^ mixed >> 32).wrapping_mul(2 * at + 1))
}

//! The entry of a release function.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _, bindings::pt_regs, helpers::generated::bpf_get_attach_cookie, programs::ProbeContext,
};
use profiler_common::{
    age,
    cookie::{Cookie, From},
    ledger::Counter,
    memleak::{Block, FREES_NEST, block_key},
};
use profiler_ebpf::{atomic, verifier::opaque};

use crate::alloc::arguments;
use crate::maps::{BLOCKS, THREADS, count, now_units, own_space, totals};

/// Entry of a release function.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn memleak_free(ctx: *mut c_void) -> u32 {
    count(Counter::FreeHits);
    let outcome = release(&ProbeContext::new(ctx));
    count(outcome);
    0
}

#[inline(always)]
fn release(ctx: &ProbeContext) -> Counter {
    // SAFETY: the context of this program.
    let cookie = Cookie::unpack(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let regs = ctx.as_ptr().cast::<pt_regs>().cast_const();
    let address = match cookie.block {
        // SAFETY: the context of a uprobe program is the registers.
        From::Arg(n) => unsafe { argument(regs, n) },
        _ => 0,
    };
    if address == 0 {
        return Counter::FreeNull;
    }
    let Some(flags) = own_space(cookie.space) else { return Counter::FreeOther };
    let key = block_key(cookie.space, address);
    // SAFETY: the context of a uprobe program is the registers.
    let sp = unsafe { (*regs).rsp };
    let Some(block) = BLOCKS.get_ptr(key) else { return missing(key, sp) };
    // SAFETY: a map value; a block is released by one thread only.
    let block = unsafe { *block };
    if flags & FREES_NEST != 0
        && let Some(thread) = THREADS.current()
    {
        // SAFETY: the thread's state is only used by the thread.
        unsafe {
            (*thread).freed_key = key;
            (*thread).freed_sp = sp;
        }
    }
    take(key, block)
}

/// The release of a block that is not in the table: another release function, or the realloc under way, took it out
/// and hands it over.
#[inline(always)]
fn missing(key: u64, sp: u64) -> Counter {
    let Some(thread) = THREADS.current() else { return Counter::FreeUntracked };
    // SAFETY: the thread's state is only used by the thread.
    unsafe {
        let handed_over = (*thread).freed_key == key && sp <= (*thread).freed_sp;
        let reallocated = (*thread).sp != 0 && sp <= (*thread).sp && (*thread).given_key == key;
        if handed_over || reallocated { Counter::FreeNested } else { Counter::FreeUntracked }
    }
}

/// A register argument of the call under way. All are loaded, and one chosen afterwards: the verifier allows no
/// address into the registers to be computed.
///
/// # Safety
/// `regs` are the registers at a function's entry.
#[inline(always)]
unsafe fn argument(regs: *const pt_regs, n: u8) -> u64 {
    // SAFETY: the caller vouches for the pointer.
    let [a, b, c, d, e, f] = unsafe { arguments(regs) };
    match n {
        0 => a,
        1 => b,
        2 => c,
        3 => d,
        4 => e,
        _ => f,
    }
}

/// Takes a block out of the table and adds up its life.
#[inline(always)]
fn take(key: u64, block: Block) -> Counter {
    if BLOCKS.remove(key).is_err() {
        return Counter::FreeUntracked; // released by two threads at once, which is the target's own defect
    }
    died(block);
    Counter::FreeFreed
}

/// Adds the end of a block's life to its stack.
#[inline(always)]
pub(crate) fn died(block: Block) {
    let Some(totals) = totals(block.stack) else { return };
    let bin = opaque(age::bin(now_units().wrapping_sub(block.born_units)));
    if bin >= age::BINS {
        return;
    }
    // SAFETY: a map value, and an index that was just checked.
    unsafe {
        atomic::add(&raw mut (*totals).freed_bytes, block.size_bytes);
        atomic::add((&raw mut (*totals).died).cast::<u64>().add(bin), 1);
    }
}

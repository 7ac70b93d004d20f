//! The entry of a release function.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _, bindings::pt_regs, helpers::generated::bpf_get_attach_cookie, programs::ProbeContext,
};
use profiler_common::{
    age,
    cookie::{Cookie, From},
    ledger::Counter,
    memleak::{Block, block_key},
};
use profiler_ebpf::atomic;

use crate::{
    alloc::argument,
    maps::{BLOCKS, FREES_NEST, THREADS, belongs_to, count, now_units, totals},
};

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
    // SAFETY: the context of a uprobe program is the registers.
    let address = match cookie.block {
        From::Arg(n) => unsafe { argument(regs, n) },
        _ => 0,
    };
    if address == 0 {
        return Counter::FreeNull;
    }
    if !belongs_to(cookie.space) {
        return Counter::FreeOther;
    }
    let key = block_key(cookie.space, address);
    let found = BLOCKS.get_ptr(key);
    if FREES_NEST.load() == 0 {
        let Some(block) = found else { return Counter::FreeUntracked };
        // SAFETY: a map value; a block is released by one thread only.
        let block = unsafe { *block };
        return take(key, block);
    }
    // SAFETY: the context of a uprobe program is the registers; the thread's state is only used by the thread.
    unsafe {
        let sp = (*regs).rsp;
        let thread = THREADS.current();
        match (found, thread) {
            (Some(block), thread) => {
                let block = *block;
                if let Some(thread) = thread {
                    (*thread).freed_key = key;
                    (*thread).freed_sp = sp;
                }
                take(key, block)
            }
            (None, Some(thread))
                if ((*thread).freed_key == key && sp <= (*thread).freed_sp)
                    || ((*thread).sp != 0 && sp < (*thread).sp && (*thread).old_key == key) =>
            {
                Counter::FreeNested
            }
            _ => Counter::FreeUntracked,
        }
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
    let bin = age::bin(now_units().wrapping_sub(block.born_units));
    if bin >= age::BINS {
        return;
    }
    // SAFETY: a map value, and an index that was just checked.
    unsafe {
        atomic::add(&raw mut (*totals).freed_bytes, block.size_bytes);
        atomic::add((&raw mut (*totals).died).cast::<u64>().add(bin), 1);
    }
}

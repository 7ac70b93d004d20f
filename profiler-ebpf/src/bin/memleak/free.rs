//! The entry of a release function.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _, bindings::pt_regs, helpers::generated::bpf_get_attach_cookie, programs::ProbeContext,
};
use profiler_common::{
    age,
    memleak::{
        Block, FREES_NEST, LATER,
        cookie::{Cookie, From, packed},
        counters::Counter,
    },
    opaque::opaque,
    space::{OVER, address_key},
};
use profiler_ebpf::{atomic, space};

use crate::alloc::value;
use crate::blocks;
use crate::maps::{Ledger, SAMPLE_BYTES, THREADS, count, now_units, totals};
use crate::parts;

/// Entry of a release function.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn memleak_free(ctx: *mut c_void) -> u32 {
    let Some(ledger) = Ledger::open() else { return 0 };
    ledger.hit(Counter::FreeHits, false);
    let outcome = release(&ProbeContext::new(ctx));
    ledger.count(outcome);
    0
}

#[inline(always)]
fn release(ctx: &ProbeContext) -> Counter {
    // SAFETY: the context of this program.
    let cookie = Cookie::unpack(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    if cookie.stepped {
        count(Counter::SingleStepped);
    }
    let regs = ctx.as_ptr().cast::<pt_regs>().cast_const();
    let address = match cookie.block {
        // SAFETY: the context of a uprobe program is the registers.
        From::Arg(n) => unsafe { value(regs, packed::ARG + u64::from(n)) },
        _ => 0,
    };
    if address == 0 {
        return Counter::FreeNull;
    }
    let key = address_key(cookie.space, address);
    if SAMPLE_BYTES.load() != 0 && !blocks::may_hold(key) {
        return Counter::FreeUntracked; // as most are; what kind it is would cost more than all else
    }
    let Some(known) = space::own(cookie.space) else { return Counter::FreeOther };
    // SAFETY: a map value.
    let flags = unsafe { (&raw const (*known).flags).read_volatile() };
    if flags & OVER != 0 {
        return Counter::FreeLate;
    }
    // SAFETY: the context of a uprobe program is the registers.
    let sp = unsafe { (*regs).rsp };
    let Some(block) = blocks::take(key) else { return missing(key, sp) };
    if flags & FREES_NEST != 0
        && let Some(thread) = THREADS.current()
    {
        // SAFETY: the thread's state is only used by the thread.
        unsafe {
            (*thread).freed_key = key;
            (*thread).freed_sp = sp;
        }
    }
    died(block);
    if parts::grew(block) {
        parts::end(key);
    }
    Counter::FreeFreed
}

/// The release of a block that is not in the table: another release function, or the present realloc, has taken it out and hands
/// it over.
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

/// Adds the end of a block, or of a part of one, to its stack. If another part stands for the block ([`LATER`]), the block has
/// not ended.
///
/// There is a single path through this function, because the verifier follows each path together with everything after it.
#[inline(always)]
pub(crate) fn died(block: Block) {
    let Some(totals) = totals(block.stack) else { return };
    let bin = age::bin(now_units().wrapping_sub(block.born_units)) as u64;
    let place = opaque((bin + 1) * u64::from(block.size_bytes & LATER == 0)) as usize;
    if place > age::BINS {
        return;
    }
    // SAFETY: a map value; `merged` comes right before the bins, and the place was just checked.
    unsafe { atomic::add((&raw mut (*totals).merged).cast::<u64>().add(place), 1) };
}

//! The probes of an allocation function: at its entry, and where it returns.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _, bindings::pt_regs, helpers::generated::bpf_get_func_ip, programs::ProbeContext,
};
use profiler_common::memleak::{cookie::packed, counters::Counter};

use crate::{entry, maps::Ledger, outcome};

/// Stack pointer in a return probe, relative to that at the entry: the return address was popped.
pub(crate) const AFTER_RET: u64 = 8;
/// The same at a `ret` instruction.
const BEFORE_RET: u64 = 0;

/// Entry and return in one program: a uprobe session (Linux 6.13). Returning 1 at entry skips the return.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn memleak_session(ctx: *mut c_void) -> u32 {
    let ctx = ProbeContext::new(ctx);
    let regs = ctx.as_ptr().cast::<pt_regs>().cast_const();
    // SAFETY: the context of a uprobe program is the registers. At entry the thread is where the probe is.
    if unsafe { (*regs).rip == bpf_get_func_ip(ctx.as_ptr()) } {
        on_entry(&ctx)
    } else {
        on_return(&ctx, AFTER_RET)
    }
}

/// Entry alone, where there are no sessions.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn memleak_entry(ctx: *mut c_void) -> u32 {
    on_entry(&ProbeContext::new(ctx));
    0
}

/// Return alone, where there are no sessions.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uretprobe")]
pub(crate) fn memleak_return(ctx: *mut c_void) -> u32 {
    on_return(&ProbeContext::new(ctx), AFTER_RET)
}

/// A `ret` instruction of a function that exceptions may pass: a return probe would replace the address that the
/// unwinder looks up, and the exception would end the process.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn memleak_ret(ctx: *mut c_void) -> u32 {
    on_return(&ProbeContext::new(ctx), BEFORE_RET)
}

/// The register arguments of the present call (System V calling convention).
///
/// # Safety
/// `regs` are the registers at a function's entry.
#[inline(always)]
unsafe fn arguments(regs: *const pt_regs) -> [u64; 6] {
    // SAFETY: the caller vouches for the pointer. Volatile: each is loaded on its own, from where it lies.
    unsafe {
        [
            (&raw const (*regs).rdi).read_volatile(),
            (&raw const (*regs).rsi).read_volatile(),
            (&raw const (*regs).rdx).read_volatile(),
            (&raw const (*regs).rcx).read_volatile(),
            (&raw const (*regs).r8).read_volatile(),
            (&raw const (*regs).r9).read_volatile(),
        ]
    }
}

/// The value at a place of the call. A choice instead of an index, because the verifier does not allow computed addresses into
/// the registers.
///
/// # Safety
/// `regs` are the registers at a function's entry.
#[inline(always)]
pub(crate) unsafe fn value(regs: *const pt_regs, place: u64) -> u64 {
    // SAFETY: the caller vouches for the pointer.
    let [a, b, c, d, e, f] = unsafe { arguments(regs) };
    match place.wrapping_sub(packed::ARG) {
        0 => a,
        1 => b,
        2 => c,
        3 => d,
        4 => e,
        5 => f,
        _ => 0,
    }
}

/// Counts the entry; 1 if its return need not be seen.
#[inline(always)]
fn on_entry(ctx: &ProbeContext) -> u32 {
    let Some(ledger) = Ledger::open() else { return 1 };
    ledger.hit(Counter::EntryHits, true);
    let (outcome, skip) = entry::begin(ctx);
    ledger.count(outcome);
    skip as u32
}

#[inline(always)]
fn on_return(ctx: &ProbeContext, popped: u64) -> u32 {
    let Some(ledger) = Ledger::open() else { return 0 };
    ledger.count(Counter::ReturnHits);
    ledger.count(outcome::finish(ctx, popped));
    0
}

//! Return of an allocation function: what the call did.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _, bindings::pt_regs, helpers::generated::bpf_probe_read_user, programs::ProbeContext,
};
use profiler_common::{
    cookie::{Cookie, From},
    ledger::Counter,
    memleak::{Block, block_key},
};
use profiler_ebpf::atomic;

use crate::{
    alloc::AFTER_RET,
    blocks::{self, Put},
    free::died,
    maps::{NOT_DRAWN, THREADS, Thread, count, now_units, totals},
    sample,
};

const ENOMEM: i32 = -12;
const E2BIG: i32 = -7;

/// Ends the call that the thread is in, if this is its return. `popped` is how far the stack pointer is above that at
/// the entry by then.
#[inline(always)]
pub(crate) fn finish(ctx: &ProbeContext, popped: u64) -> Counter {
    let regs = ctx.as_ptr().cast::<pt_regs>().cast_const();
    let Some(thread) = THREADS.current() else { return Counter::ReturnUnmatched };
    // SAFETY: the thread's own state, and the registers after the call.
    unsafe {
        let sp = (*regs).rsp;
        if (*thread).sp == 0 {
            return Counter::ReturnUnmatched;
        }
        if sp != (*thread).sp + popped {
            return if sp <= (*thread).sp { Counter::ReturnNested } else { Counter::ReturnUnmatched };
        }
        // Not read from the stack now: the trampoline itself has pushed over it (Linux 6.11).
        if popped == AFTER_RET && (*thread).trampoline == 0 {
            (*thread).trampoline = (*thread).candidate;
        }
        (*thread).sp = 0;
        settle(thread, (*regs).rax)
    }
}

/// Records what the outermost call did.
#[inline(always)]
unsafe fn settle(thread: *mut Thread, returned: u64) -> Counter {
    // SAFETY: the thread's own state.
    unsafe {
        let cookie = Cookie::unpack((*thread).cookie);
        let Some(address) = block_address(thread, cookie, returned) else {
            release_old(thread);
            return Counter::ReturnLostAddress;
        };
        if address == 0 {
            return failed(thread, cookie);
        }
        release_old(thread);
        if (*thread).stack == NOT_DRAWN {
            return Counter::ReturnNested;
        }
        if address >> 48 != 0 {
            return Counter::ReturnLostAddress;
        }
        record(block_key(cookie.space, address), (*thread).size_bytes, (*thread).stack)
    }
}

/// The address of the new block, 0 if the call failed, `None` if it cannot be read.
#[inline(always)]
unsafe fn block_address(thread: *mut Thread, cookie: Cookie, returned: u64) -> Option<u64> {
    // SAFETY: the thread's own state.
    unsafe {
        let From::Behind(_) = cookie.block else { return Some(returned) };
        if returned as u32 != 0 {
            return Some(0); // posix_memalign returns an error number
        }
        let mut address = 0u64;
        let read = bpf_probe_read_user((&raw mut address).cast(), 8, (*thread).behind as *const c_void);
        if read == 0 { Some(address) } else { None }
    }
}

/// A call that gave no block: the old one stays, unless it was a release in disguise (`realloc(p, 0)`).
#[inline(always)]
unsafe fn failed(thread: *mut Thread, cookie: Cookie) -> Counter {
    // SAFETY: the thread's own state.
    unsafe {
        let takes_over = matches!(cookie.old, From::Arg(_));
        if takes_over && (*thread).size_bytes == 0 {
            if (*thread).old_key == 0 {
                return Counter::ReturnFailed;
            }
            release_old(thread);
            return Counter::ReturnReleased;
        }
        if (*thread).old_key != 0 {
            if let Put::Refused(_) = blocks::put((*thread).old_key, (*thread).old) {
                count(Counter::OldLost);
            }
            (*thread).old_key = 0;
        }
        Counter::ReturnFailed
    }
}

/// The old block of a realloc is gone.
#[inline(always)]
unsafe fn release_old(thread: *mut Thread) {
    // SAFETY: the thread's own state.
    unsafe {
        if (*thread).old_key != 0 {
            (*thread).old_key = 0;
            died((*thread).old);
        }
    }
}

/// Puts a block into the table and adds it to its stack.
#[inline(always)]
fn record(key: u64, size_bytes: u64, stack: u32) -> Counter {
    let block = Block { size_bytes, born_units: now_units(), stack };
    match blocks::put(key, block) {
        Put::Done => {}
        Put::Replaced(old) => {
            // Its release was not seen (the probe was not there yet, or cannot be): it ended at some time before now.
            count(Counter::MissedFree);
            died(old);
        }
        Put::Refused(E2BIG) => return Counter::ReturnLostFull,
        Put::Refused(ENOMEM) => return Counter::ReturnLostMemory,
        Put::Refused(_) => return Counter::ReturnLostBusy,
    }
    if let Some(totals) = totals(stack) {
        // SAFETY: a map value.
        unsafe {
            atomic::add(&raw mut (*totals).allocs, 1);
            atomic::add(&raw mut (*totals).alloc_bytes, size_bytes);
            sample::weigh(totals, size_bytes);
        }
    }
    Counter::ReturnRecorded
}

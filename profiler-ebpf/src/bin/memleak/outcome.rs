//! Return of an allocation function: the result of the call.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _, bindings::pt_regs, helpers::generated::bpf_probe_read_user, programs::ProbeContext,
};
use profiler_common::{
    event::Event,
    memleak::{
        Block, INHERITED,
        cookie::{Cookie, From},
        counters::Counter,
    },
    opaque::forget,
    space::address_key,
};
use profiler_ebpf::{atomic, log};

use crate::{
    alloc::AFTER_RET,
    blocks::{self, Put},
    free::died,
    maps::{NOT_DRAWN, SAMPLE_BYTES, THREADS, Thread, count, now_units, totals},
    parts, sample,
};

const ENOMEM: i32 = -12;
const E2BIG: i32 = -7;
/// Not an address: it does not fit into 48 bits.
const UNREADABLE: u64 = u64::MAX;

/// Ends the call that the thread is in, if this is its return. `popped`: how far the stack pointer is now above that at the
/// entry.
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
        // Not read from the stack now: the trampoline itself has overwritten it (Linux 6.11).
        if popped == AFTER_RET && (*thread).trampoline == 0 {
            (*thread).trampoline = (*thread).candidate;
        }
        (*thread).sp = 0;
        settle(thread, (*regs).rax)
    }
}

/// Records the result of the outermost call.
#[inline(always)]
unsafe fn settle(thread: *mut Thread, returned: u64) -> Counter {
    // SAFETY: the thread's own state.
    unsafe {
        let cookie = Cookie::unpack((*thread).cookie);
        let address = block_address(thread, cookie, returned);
        let size_bytes = (*thread).size_bytes;
        // Without a new block the old one stays, unless the call was in fact a release (`realloc(p, 0)`).
        let releases = (*thread).old_key != 0 && size_bytes == 0 && matches!(cookie.old, From::Arg(_));
        if address == 0 && !releases {
            return failed(thread);
        }
        let key = address_key(cookie.space, address);
        (*thread).resized = parts::NOTHING;
        if (*thread).old_key != 0 {
            parts::settle(thread, key, address != 0 && address >> 48 == 0);
        }
        let resized = (&raw const (*thread).resized).read_volatile();
        if resized != parts::KEPT {
            if resized == parts::NO_ROOM {
                count(Counter::GrewAnew);
            }
            if address == 0 {
                return Counter::ReturnReleased;
            }
            if (*thread).stack == NOT_DRAWN {
                return Counter::ReturnNested;
            }
            if address >> 48 != 0 {
                return Counter::ReturnLostAddress;
            }
            // A sampled run keeps no parts: bytes that it samples from a realloc may have been there before.
            let new = SAMPLE_BYTES.load() == 0 && resized != parts::NOTHING;
            let inherited = (*thread).given_key != 0 && !new;
            let mark = if inherited { INHERITED } else { 0 };
            let size_bytes = (*thread).size_bytes | mark;
            (*thread).old = Block { size_bytes, born_units: now_units(), stack: (*thread).stack };
        }
        // Read again: by now the verifier knows the same about them, however it got here, and follows the rest once.
        let size_bytes = (&raw const (*thread).size_bytes).read_volatile();
        let stack = (&raw const (*thread).stack).read_volatile();
        record(forget(key, size_bytes), (*thread).old, size_bytes, stack)
    }
}

/// The address of the new block, 0 if the call failed, [`UNREADABLE`] if it cannot be read.
#[inline(always)]
unsafe fn block_address(thread: *mut Thread, cookie: Cookie, returned: u64) -> u64 {
    // SAFETY: the thread's own state.
    unsafe {
        let From::Behind(_) = cookie.block else { return returned };
        if returned as u32 != 0 {
            return 0; // posix_memalign returns an error number
        }
        let mut address = 0u64;
        let read = bpf_probe_read_user((&raw mut address).cast(), 8, (*thread).behind as *const c_void);
        if read == 0 { address } else { UNREADABLE }
    }
}

/// The call gave no block: the one that it had taken over stays as it was.
#[inline(always)]
unsafe fn failed(thread: *mut Thread) -> Counter {
    // SAFETY: the thread's own state.
    unsafe {
        if (*thread).old_key != 0 {
            let refused = matches!(blocks::put((*thread).old_key, (*thread).old), Put::Refused(_));
            if refused || !parts::put_back(thread) {
                count(Counter::OldLost); // and what is left of its parts stays
            }
            (*thread).old_key = 0;
        }
        Counter::ReturnFailed
    }
}

/// Puts a block, or the newest part of one, into the table, and adds the call to its stack. `size_bytes` is the requested size.
#[inline(always)]
fn record(key: u64, block: Block, size_bytes: u64, stack: u32) -> Counter {
    match blocks::put(key, block) {
        Put::Done => {}
        Put::Replaced(old) => {
            // Its release was not seen (the probe was not there yet, or cannot be): it ended at some time before now.
            count(Counter::MissedFree);
            died(old);
        }
        Put::Refused(error) => {
            log::event(Event::BlockRefused, u64::from(error.unsigned_abs()), size_bytes);
            return match error {
                E2BIG => Counter::ReturnLostFull,
                ENOMEM => Counter::ReturnLostMemory,
                _ => Counter::ReturnLostBusy,
            };
        }
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

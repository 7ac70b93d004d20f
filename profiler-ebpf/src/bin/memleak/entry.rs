//! Entry of an allocation function.
//!
//! Only the outermost allocation call of a thread counts. It is identified by its stack pointer: a call at or below it is nested,
//! its own return has the stack pointer just above it, and anything else means that it was left by `longjmp`, an exception or a
//! coroutine. So there is no depth counter that could get stuck.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::pt_regs,
    helpers::generated::{bpf_get_attach_cookie, bpf_probe_read_user},
    programs::ProbeContext,
};
use profiler_common::{
    event::Event,
    memleak::{
        cookie::{
            Cookie, From,
            packed::{self, place},
        },
        counters::Counter,
    },
    opaque::forget,
    space::{HOLD, OVER, address_key},
};
use profiler_ebpf::{
    log, space,
    stack::number::{self, Walker},
};

use crate::{
    alloc::value,
    blocks,
    maps::{NOT_DRAWN, Quality, THREADS, Thread, count},
    parts, sample,
};

/// Calls of functions that throw are followed for requests up to this size, 1 GiB: smaller requests do not fail unless memory is
/// rationed, and then user space follows no such function.
const MAX_SAFE_BYTES: u64 = 1 << 30;

/// Follows a call if it counts. Returns the outcome, and whether its return need not be seen.
#[inline(always)]
pub(crate) fn begin(ctx: &ProbeContext) -> (Counter, bool) {
    let regs = ctx.as_ptr().cast::<pt_regs>().cast_const();
    // SAFETY: the context of this program.
    let bits = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let cookie = Cookie::unpack(bits);
    if cookie.stepped {
        count(Counter::SingleStepped);
    }
    // SAFETY: the registers of the call.
    let size_bytes = unsafe { forget(requested(regs, bits, cookie.fixed_size), (*regs).rsp) };
    if cookie.throws && size_bytes > MAX_SAFE_BYTES {
        let impossible = size_bytes >> 47 != 0; // user addresses of x86-64 have 47 bits
        return (if impossible { Counter::EntryImpossible } else { Counter::EntryUnsafe }, true);
    }
    // Most calls of a sampled run end here: finding out whether they are nested, or of another process, would cost more
    // than all the rest.
    let drawn = sample::draws(size_bytes);
    if !drawn && !cookie.nests {
        return (Counter::EntrySampledOut, true);
    }
    let Some(known) = space::own(cookie.space) else { return (Counter::EntryOther, true) };
    // SAFETY: a map value.
    let flags = unsafe { (&raw const (*known).flags).read_volatile() };
    if flags & (OVER | HOLD) != 0 {
        if flags & OVER != 0 {
            return (Counter::EntryLate, true);
        }
        space::hold(cookie.space);
    }
    let Some(thread) = THREADS.current() else { return (Counter::EntryLostThread, true) };
    // SAFETY: the thread's own state, and the registers of the call.
    unsafe {
        let sp = (*regs).rsp;
        if (*thread).sp != 0 {
            if sp <= (*thread).sp && still_inside(thread, sp) {
                return (Counter::EntryNested, true);
            }
            abandon(thread);
        }
        (*thread).sp = sp;
        (*thread).candidate = 0;
        (*thread).size_bytes = size_bytes;
        (*thread).cookie = bits;
        (*thread).old_key = 0;
        (*thread).given_key = 0;
        let old = place(bits, packed::OLD);
        if old != 0 {
            (*thread).given_key = value(regs, old);
            take_over(thread, u64::from(cookie.space));
        }
        if let From::Behind(n) = cookie.block {
            (*thread).behind = value(regs, packed::ARG + u64::from(n));
        }
        if !drawn {
            (*thread).stack = NOT_DRAWN;
            (*thread).word = return_address(sp);
            return (Counter::EntrySampledOut, false);
        }
        // Last: by now the verifier has forgotten how it got here, and follows the walk once.
        let walker = &raw mut (*thread).walker;
        (*thread).stack = number::at_entry::<Quality>(regs, cookie.space, known, walker);
        (*thread).word = Walker::top(walker);
        (Counter::EntryBegun, false)
    }
}

/// The bytes asked for. `u64::MAX` stands for a product that no allocator can serve: it may not fit, and the call
/// fails.
#[inline(always)]
unsafe fn requested(regs: *const pt_regs, cookie: u64, fixed_size: u32) -> u64 {
    let (size, by) = (place(cookie, packed::SIZE), place(cookie, packed::COUNT));
    if size == 0 {
        return u64::from(fixed_size);
    }
    // SAFETY: the caller vouches for the registers.
    let size = unsafe { value(regs, size) };
    if by == 0 {
        return size;
    }
    // SAFETY: as above.
    let count = unsafe { value(regs, by) };
    let small = (size | count) >> 32 == 0;
    if small || size.leading_zeros() + count.leading_zeros() > 64 {
        size.wrapping_mul(count) // less than 2^64
    } else {
        u64::MAX // at least 2^62
    }
}

/// Takes the block that a realloc is about to move out of the table, before another thread can get its address.
///
/// The address is in `given_key`, in a map, so that the verifier knows the same about it whichever argument it was.
#[inline(never)]
unsafe fn take_over(thread: *mut Thread, space: u64) {
    // SAFETY: the thread's own state, and a map value that no other thread may touch while its owner reallocates.
    unsafe {
        let address = (&raw const (*thread).given_key).read_volatile();
        if address == 0 {
            return;
        }
        let key = address_key(space as u16, address);
        (*thread).given_key = key;
        match blocks::take(key) {
            Some(block) => {
                (*thread).old = block;
                (*thread).old_key = key;
                parts::take_over(thread);
            }
            None => count(Counter::OldUntracked),
        }
    }
}

/// Whether the outermost call is still on the stack: then the word at its stack pointer is its return address, or what the kernel
/// has put there for a return probe. If a function ends by jumping to another, the entry of that one has the very same stack
/// pointer.
#[inline(always)]
unsafe fn still_inside(thread: *mut Thread, sp: u64) -> bool {
    // SAFETY: the thread's own state.
    unsafe {
        let word = return_address((*thread).sp);
        if Cookie::unpack((*thread).cookie).at_ret {
            // Such a function does not end in a jump: at the same stack pointer there is another call of it.
            sp != (*thread).sp && word == (*thread).word
        } else if (*thread).trampoline != 0 {
            word == (*thread).trampoline
        } else {
            // Most likely the trampoline. Only the return of the outermost call proves it.
            (*thread).candidate = word;
            word != (*thread).word
        }
    }
}

/// The word at a stack pointer; 0 if it cannot be read.
#[inline(always)]
unsafe fn return_address(sp: u64) -> u64 {
    let mut word = 0u64;
    // SAFETY: the helper writes 8 bytes, or fails and zeroes them.
    unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, sp as *const c_void) };
    word
}

/// Gives up a call that never returned. Whether the block that it had taken over is still live is not known.
#[inline(always)]
unsafe fn abandon(thread: *mut Thread) {
    count(Counter::Abandoned);
    // SAFETY: the thread's own state.
    unsafe {
        let space = Cookie::unpack((*thread).cookie).space;
        log::event(Event::CallAbandoned, space.into(), (*thread).size_bytes);
        if (*thread).old_key != 0 {
            count(Counter::OldLost); // and what it has below its newest part stays
        }
        (*thread).sp = 0;
    }
}

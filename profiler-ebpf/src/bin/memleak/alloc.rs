//! Entry and return of an allocation function.
//!
//! Only the outermost allocation call of a thread counts. It is known by its stack pointer: a call at or below it is
//! nested, its own return has the stack pointer just above it, and anything else means that it was left by
//! `longjmp`, an exception or a coroutine. So no depth has to be counted, and nothing can get stuck.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::pt_regs,
    helpers::generated::{
        bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_get_func_ip, bpf_probe_read_user,
    },
    programs::ProbeContext,
};
use profiler_common::{
    cookie::{
        Cookie, From,
        packed::{self, place},
    },
    ledger::Counter,
    memleak::{Block, block_key},
};
use profiler_ebpf::atomic;

use crate::{
    free::died,
    maps::{BLOCKS, NOT_DRAWN, THREAD_HITS, THREADS, Thread, count, now_units, own_space, totals},
    sample, stacks,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
const ENOMEM: i32 = -12;
const EEXIST: i32 = -17;
const E2BIG: i32 = -7;
/// Per-thread hits are published in steps of this many, a power of two.
const THREAD_HITS_STEP: u64 = 1024;
/// Stack pointer, relative to that at the entry, in a return probe: the return address was popped.
const AFTER_RET: u64 = 8;
/// The same at a `ret` instruction.
const BEFORE_RET: u64 = 0;
/// Requests of functions that throw are followed up to this size, 1 GiB: smaller ones do not fail on a machine whose
/// memory is not rationed, and user space follows no such function where it is.
const MAX_SAFE_BYTES: u64 = 1 << 30;

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

/// The register arguments of the call under way (System V calling convention).
///
/// # Safety
/// `regs` are the registers at a function's entry.
#[inline(always)]
pub(crate) unsafe fn arguments(regs: *const pt_regs) -> [u64; 6] {
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

/// Lays out the values of the call by the number of their place: an index, where a choice would be a branch.
///
/// # Safety
/// `regs` are the registers at a function's entry, `thread` the state of the current thread.
#[inline(always)]
unsafe fn lay_out(regs: *const pt_regs, fixed_size: u32, thread: *mut Thread) {
    // SAFETY: the caller vouches for the pointers; the places are 16.
    unsafe {
        let places = (&raw mut (*thread).places).cast::<u64>();
        let [a, b, c, d, e, f] = arguments(regs);
        places.write_volatile(u64::from(fixed_size));
        places.add(1).write_volatile(a);
        places.add(2).write_volatile(b);
        places.add(3).write_volatile(c);
        places.add(4).write_volatile(d);
        places.add(5).write_volatile(e);
        places.add(6).write_volatile(f);
    }
}

/// The value at a place of the call.
///
/// # Safety
/// `thread` is the state of the current thread, laid out for the call.
#[inline(always)]
unsafe fn value(thread: *mut Thread, place: u64) -> u64 {
    // SAFETY: the caller vouches for the pointer; the mask keeps the index within the places.
    unsafe { (&raw const (*thread).places).cast::<u64>().add(place as usize & 15).read_volatile() }
}

/// Counts the entry; 1 if its return need not be seen.
#[inline(always)]
fn on_entry(ctx: &ProbeContext) -> u32 {
    count(Counter::EntryHits);
    let (outcome, skip) = begin(ctx);
    count(outcome);
    skip as u32
}

#[inline(always)]
fn begin(ctx: &ProbeContext) -> (Counter, bool) {
    let regs = ctx.as_ptr().cast::<pt_regs>().cast_const();
    // SAFETY: the context of this program.
    let bits = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let cookie = Cookie::unpack(bits);
    let Some(flags) = own_space(cookie.space) else { return (Counter::EntryOther, true) };
    let Some(thread) = THREADS.current() else { return (Counter::EntryLostThread, true) };
    // SAFETY: the thread's own state, and the registers of the call.
    unsafe {
        let sp = (*regs).rsp;
        publish_hits(thread);
        if (*thread).sp != 0 {
            if sp <= (*thread).sp && still_inside(thread, sp) {
                return (Counter::EntryNested, true);
            }
            abandon(thread);
        }
        lay_out(regs, cookie.fixed_size, thread);
        let size_bytes = requested(thread, bits);
        if cookie.throws && size_bytes > MAX_SAFE_BYTES {
            let impossible = size_bytes >> 47 != 0; // user addresses of x86-64 have 47 bits
            return (if impossible { Counter::EntryImpossible } else { Counter::EntryUnsafe }, true);
        }
        (*thread).stack = NOT_DRAWN;
        if sample::draws(thread, size_bytes) {
            (*thread).stack = stacks::number(regs, cookie.space, flags, thread);
        } else if !cookie.nests {
            return (Counter::EntrySampledOut, true);
        }
        (*thread).sp = sp;
        // A stack that was walked begins with that word.
        let walked = (*thread).stack != NOT_DRAWN && (*thread).depth != 0;
        (*thread).word = if walked { (*thread).frames[0] } else { return_address(sp) };
        (*thread).candidate = 0;
        (*thread).size_bytes = size_bytes;
        (*thread).cookie = bits;
        (*thread).old_key = 0;
        (*thread).given_key = 0;
        let old = place(bits, packed::OLD);
        if old != 0 {
            take_over(thread, cookie.space, value(thread, old));
        }
        let drawn = (*thread).stack != NOT_DRAWN;
        (if drawn { Counter::EntryBegun } else { Counter::EntrySampledOut }, false)
    }
}

/// The bytes asked for. A product that no allocator can serve is `u64::MAX`: it may not fit, and the call fails.
#[inline(always)]
unsafe fn requested(thread: *mut Thread, cookie: u64) -> u64 {
    // SAFETY: the thread's own state.
    let size = unsafe { value(thread, place(cookie, packed::SIZE)) };
    let by = place(cookie, packed::COUNT);
    if by == 0 {
        return size;
    }
    // SAFETY: the thread's own state.
    let count = unsafe { value(thread, by) };
    let small = (size | count) >> 32 == 0;
    if small || size.leading_zeros() + count.leading_zeros() > 64 {
        size.wrapping_mul(count) // less than 2^64
    } else {
        u64::MAX // at least 2^62
    }
}

/// Takes the block that a realloc is about to move out of the table, before another thread can get its address.
#[inline(always)]
unsafe fn take_over(thread: *mut Thread, space: u16, address: u64) {
    if address == 0 {
        return;
    }
    let key = block_key(space, address);
    // SAFETY: the thread's own state, and a map value that no other thread may touch while its owner reallocates.
    unsafe {
        (*thread).given_key = key;
        match BLOCKS.get_ptr(key) {
            Some(block) => {
                (*thread).old = *block;
                (*thread).old_key = key;
                let _ = BLOCKS.remove(key);
            }
            None => count(Counter::OldUntracked),
        }
    }
}

/// Whether the outermost call is still on the stack: then the word at its stack pointer is its return address, or
/// what the kernel has put there because of a return probe. A function that ends by jumping to another has the
/// other's entry at the very same stack pointer.
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

/// Gives up a call that never returned. A block that it had taken over may live on or not: nobody can tell.
#[inline(always)]
unsafe fn abandon(thread: *mut Thread) {
    count(Counter::Abandoned);
    // SAFETY: the thread's own state.
    unsafe {
        if (*thread).old_key != 0 {
            count(Counter::OldLost);
        }
        (*thread).sp = 0;
    }
}

/// Adds up this thread's hits where user space can see them.
#[inline(always)]
unsafe fn publish_hits(thread: *mut Thread) {
    // SAFETY: the thread's own state.
    unsafe {
        (*thread).hits += 1;
        if (*thread).hits & (THREAD_HITS_STEP - 1) == 0 {
            let tid = bpf_get_current_pid_tgid() as u32;
            let _ = THREAD_HITS.insert(tid, (*thread).hits, BPF_ANY);
        }
    }
}

#[inline(always)]
fn on_return(ctx: &ProbeContext, popped: u64) -> u32 {
    count(Counter::ReturnHits);
    count(finish(ctx, popped));
    0
}

#[inline(always)]
fn finish(ctx: &ProbeContext, popped: u64) -> Counter {
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
        let From::Behind(n) = cookie.block else { return Some(returned) };
        if returned as u32 != 0 {
            return Some(0); // posix_memalign returns an error number
        }
        let mut address = 0u64;
        let read = bpf_probe_read_user(
            (&raw mut address).cast(),
            8,
            value(thread, packed::ARG + u64::from(n)) as *const c_void,
        );
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
            let old = (*thread).old;
            if BLOCKS.insert((*thread).old_key, old, BPF_ANY).is_err() {
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
    let mut result = BLOCKS.insert(key, block, BPF_NOEXIST);
    if result == Err(EEXIST) {
        // Its release was not seen (the probe was not there yet, or cannot be): it ended at some time before now.
        count(Counter::MissedFree);
        if let Some(old) = BLOCKS.get_ptr(key) {
            // SAFETY: a map value.
            died(unsafe { *old });
        }
        result = BLOCKS.insert(key, block, BPF_ANY);
    }
    match result {
        Ok(()) => {}
        Err(E2BIG) => return Counter::ReturnLostFull,
        Err(ENOMEM) => return Counter::ReturnLostMemory,
        Err(_) => return Counter::ReturnLostBusy,
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

//! The return of a system call.

use core::ffi::c_void;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_ktime_get_ns};
use profiler_common::{
    opaque::{forget, opaque},
    syscalls::{COMPAT, Counter, DIRECT_CALLS, HAS_EXECED, HAS_SUSPENDED, IN_CALL, IS_NEW, Thread},
};

use crate::{
    cells::{self, FIRST_ERROR, Fate},
    enter::call,
    life,
    look::{is_to_be_looked_at, look},
    maps::{CELLS, count},
    suspended::{self, is_one_of},
    threads::{current, is_candidate, task},
};

#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sys_exit")]
pub(crate) fn syscalls_exit(ctx: *mut c_void) -> i32 {
    let task = task();
    // Functions of their own: what other processes run stays short, and the verifier follows a closer look once.
    if is_candidate(task) && candidate(ctx, task) {
        look();
    }
    0
}

/// Counts the return; whether the call is to be looked at more closely.
#[inline(always)]
fn candidate(ctx: *mut c_void, task: *const u8) -> bool {
    let Some(thread) = current(task, Counter::ExitHits, Counter::ExitLostThread) else { return false };
    // SAFETY: the arguments of this tracepoint are registers and the result; the record is the thread's own, and so are its cells.
    unsafe {
        let now_ns = bpf_ktime_get_ns();
        let result = ctx.cast::<u64>().add(1).read_volatile();
        (*thread).exits += 1;
        let (state, call) = ((*thread).state, (*thread).call);
        if state & !HAS_SUSPENDED == IN_CALL && result < FIRST_ERROR && call < DIRECT_CALLS as u64 {
            let cells = (&raw const (*thread).cells).cast::<u16>();
            let index = cells.add(opaque(call) as usize & (DIRECT_CALLS - 1)).read_volatile();
            let start_ns = (*thread).start_ns;
            if index != 0
                && start_ns != 0
                && let Some(cell) = CELLS.get_ptr_mut(index.into())
            {
                (*thread).state = state & !IN_CALL;
                let duration_ns = now_ns.wrapping_sub(start_ns);
                cells::add(cell, duration_ns, result);
                return is_to_be_looked_at(thread, duration_ns, result);
            }
        }
        unusual(thread, result as i64, ctx, now_ns)
    }
}

/// Calls that return twice, native and of i386: once in the thread that they make.
const FORKS: [u64; 8] = [56, 57, 58, 435, COMPAT | 2, COMPAT | 120, COMPAT | 190, COMPAT | 435];

/// Everything but the return of a call that the thread has made before and that did not fail. Whether it is to be looked at more closely.
#[inline(never)]
unsafe fn unusual(thread: *mut Thread, result: i64, ctx: *mut c_void, now_ns: u64) -> bool {
    // SAFETY: the caller vouches for the record and the context.
    unsafe {
        let regs = ctx.cast::<*const pt_regs>().read_volatile();
        let state = (*thread).state;
        let fate = fate(thread, state, regs).forgotten(now_ns);
        (*thread).state = state & !(IN_CALL | IS_NEW);
        // Read again here and below: the verifier forgets by which way it came.
        let call = (&raw const (*thread).call).read_volatile();
        if fate == Fate::UNDER_WAY && state & IN_CALL == 0 && result == 0 && is_one_of(call, FORKS) {
            count(Counter::ExitChildBegan);
            return false;
        }
        if fate != Fate::REFUSED && suspended::is_suspension(result) && !suspended::is_sigreturn(call) {
            suspended::suspend(thread, result, regs);
            return false;
        }
        let result = forget(result as u64, now_ns) as i64;
        let look = cells::finish(thread, fate.forgotten(now_ns), result, now_ns);
        if (&raw const (*thread).state).read_volatile() & HAS_EXECED == 0 {
            return look;
        }
        // What it was called from is gone.
        life::retire(thread);
    }
    false
}

/// What became of the call that returns; its entry may not have been seen.
#[inline(always)]
unsafe fn fate(thread: *mut Thread, state: u32, regs: *const pt_regs) -> Fate {
    // SAFETY: the caller vouches for both.
    unsafe {
        if state & IN_CALL == 0 {
            (*thread).call = call(task(), (&raw const (*regs).orig_rax).read_volatile());
            (*thread).start_ns = 0;
            if state & IS_NEW == 0 {
                return Fate::REFUSED;
            }
        }
        if (*thread).start_ns == 0 { Fate::UNDER_WAY } else { Fate::RETURNED }
    }
}

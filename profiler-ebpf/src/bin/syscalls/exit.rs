//! The return of a system call.

use core::ffi::c_void;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_ktime_get_ns};
use profiler_common::{
    opaque::opaque,
    syscalls::{COMPAT, Counter, DIRECT_CALLS, HAS_SUSPENDED, IN_CALL, IS_NEW, Thread},
};
use profiler_ebpf::{
    FIRST_ERROR, atomic,
    call::call,
    task::{Task, task, tid_of},
    threads,
};

use crate::{
    cells::{self, Fate, finish},
    life,
    look::{is_to_be_looked_at, look},
    maps::CELLS,
    suspended::{self, is_one_of},
    threads::{all_done, current, done, recorded, tally},
};

/// The next step at a return.
type Step = u32;
const DONE: Step = 0;
/// See [`unusual`].
const UNUSUAL: Step = 1;
/// See [`finish`].
const FINISH: Step = 2;
/// See [`look`].
const LOOK: Step = 3;

#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sys_exit")]
pub(crate) fn syscalls_exit(ctx: *mut c_void) -> i32 {
    // SAFETY: an argument of this tracepoint.
    if threads::may_be_observed(unsafe { ctx.cast::<*const pt_regs>().read_volatile() }) {
        candidate(ctx);
    }
    0
}

/// A function of its own: the program saves no registers for threads that are not observed.
#[inline(never)]
fn candidate(ctx: *mut c_void) {
    let mut step = count_usual(ctx, task());
    if step == UNUSUAL {
        step = unusual(ctx);
        if step == FINISH {
            step = if finish() { LOOK } else { DONE };
            if life::retire_after_exec() {
                // Its program is gone, and so is its record.
                return;
            }
        }
        all_done();
    }
    // Otherwise the compiler makes two calls of it, and the verifier follows both.
    if opaque(step.into()) == u64::from(LOOK) {
        look();
    }
}

/// Counts the return of a call that the thread has made before and that did not fail.
#[inline(always)]
fn count_usual(ctx: *mut c_void, task: Task) -> Step {
    let Some(thread) = current(task, Counter::ExitLostThread) else { return DONE };
    // SAFETY: the arguments of this tracepoint are registers and the result; the record is the thread's own, and so are its cells.
    unsafe {
        let now_ns = bpf_ktime_get_ns();
        let result = ctx.cast::<u64>().add(1).read_volatile();
        (*thread).exits += 1;
        atomic::barrier();
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
                done(thread);
                return if is_to_be_looked_at(thread, duration_ns, result) { LOOK } else { DONE };
            }
        }
        cells::note(thread, Fate::RETURNED, result as i64, now_ns);
    }
    UNUSUAL
}

/// Calls that return twice, native and of i386: the second time in the thread that they make.
const FORKS: [u64; 8] = [56, 57, 58, 435, COMPAT | 2, COMPAT | 120, COMPAT | 190, COMPAT | 435];
/// The bit of x32 calls, which have these numbers too.
const X32: u64 = 1 << 30;

/// Handles any other return.
#[inline(never)]
fn unusual(ctx: *mut c_void) -> Step {
    let Some(thread) = recorded(tid_of(task())) else { return DONE };
    // SAFETY: the record of the current thread, and an argument of this tracepoint.
    unsafe {
        let regs = ctx.cast::<*const pt_regs>().read_volatile();
        let state = (&raw const (*thread).state).read_volatile();
        let fate = fate(thread, state, regs);
        (*thread).state = state & !(IN_CALL | IS_NEW);
        (*thread).fate = fate;
        // Read again: the verifier forgets which path it came by.
        let call = (&raw const (*thread).call).read_volatile();
        let result = (&raw const (*thread).result).read_volatile() as i64;
        if state & (IN_CALL | IS_NEW) == IS_NEW && result == 0 && is_one_of(call & !X32, FORKS) {
            tally(thread, Counter::ExitChildBegan);
            return DONE;
        }
        if fate != Fate::REFUSED.number()
            && suspended::is_suspension(result)
            && !suspended::is_sigreturn(call)
        {
            suspended::suspend(thread, result, regs);
            return DONE;
        }
    }
    FINISH
}

/// The outcome of the call that returns; its entry may not have been seen.
#[inline(always)]
unsafe fn fate(thread: *mut Thread, state: u32, regs: *const pt_regs) -> u64 {
    // SAFETY: the caller vouches for both.
    unsafe {
        if state & IN_CALL == 0 {
            (*thread).call = call(task(), (&raw const (*regs).orig_rax).read_volatile());
            (*thread).start_ns = 0;
            if state & IS_NEW == 0 {
                return Fate::REFUSED.number();
            }
        }
        if (*thread).start_ns == 0 { Fate::UNDER_WAY.number() } else { Fate::RETURNED.number() }
    }
}

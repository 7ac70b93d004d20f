//! The entry of a system call.

use core::ffi::c_void;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_ktime_get_ns};
use profiler_common::syscalls::{ALL_STACKS, CLOCK_GETTIME, Counter, IN_CALL, IS_NEW, Thread, VDSO_CLOCKS};

use profiler_ebpf::{atomic, call::call, task::task, threads};

use crate::{
    files,
    look::stack,
    maps::{FILES, STACKS, settings},
    suspended,
    threads::{current, done, tally},
};

#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sys_enter")]
pub(crate) fn syscalls_enter(ctx: *mut c_void) -> i32 {
    // SAFETY: an argument of this tracepoint.
    if threads::may_be_observed(unsafe { ctx.cast::<*const pt_regs>().read_volatile() }) {
        candidate(ctx);
    }
    0
}

/// A function of its own: the program saves no registers for threads that are not observed.
#[inline(never)]
fn candidate(ctx: *mut c_void) {
    let task = task();
    let Some(thread) = current(task, Counter::EnterLostThread) else { return };
    // SAFETY: the arguments of this tracepoint are registers and the number of the call; the record is the thread's own.
    unsafe {
        let call = call(task, ctx.cast::<u64>().add(1).read_volatile());
        (*thread).enters += 1;
        atomic::barrier();
        if (*thread).state == 0 || begins(thread, call, ctx) {
            (*thread).call = call;
            (*thread).state |= IN_CALL;
            if call == CLOCK_GETTIME {
                note_clock(thread, ctx);
            }
            if FILES.load() != 0 {
                files::note(thread, call);
            }
            let mut now_ns = bpf_ktime_get_ns();
            if STACKS.load() == ALL_STACKS {
                (*thread).stack = stack((*thread).space);
                let walked_ns = bpf_ktime_get_ns();
                (*thread).walk_ns += walked_ns - now_ns;
                now_ns = walked_ns;
            }
            (*thread).start_ns = now_ns;
        }
        done(thread);
    }
}

/// Notes whether the vDSO has the clock that `clock_gettime` reads.
#[inline(always)]
unsafe fn note_clock(thread: *mut Thread, ctx: *mut c_void) {
    // SAFETY: the caller vouches for the record; the registers are an argument of this tracepoint.
    unsafe {
        let regs = ctx.cast::<*const pt_regs>().read_volatile();
        let clock = (&raw const (*regs).rdi).read_volatile() & 0xffff_ffff;
        if clock >= 64 || VDSO_CLOCKS >> clock & 1 == 0 {
            (*thread).kernel_clocks += 1;
        }
    }
}

/// Whether a call begins, if the thread is not in its usual state.
#[inline(never)]
unsafe fn begins(thread: *mut Thread, call: u64, ctx: *mut c_void) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe {
        if (*thread).state & IN_CALL != 0 {
            // Returns are no longer seen while the programs are being detached.
            if (&raw const (*settings()).over).read_volatile() != 0 {
                tally(thread, Counter::EnterLate);
                return false;
            }
            tally(thread, Counter::EnterLostReturn);
        }
        (*thread).state &= !IS_NEW;
        let regs = ctx.cast::<*const pt_regs>().read_volatile();
        !suspended::goes_on(thread, call, regs)
    }
}

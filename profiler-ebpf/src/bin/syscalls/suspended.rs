//! Calls that a signal interrupts.
//!
//! Such a call returns a code that no program ever sees. When the kernel delivers the signal, it decides how the call continues.
//! If a handler runs, the call ends with EINTR, or is restarted when the handler has returned. If none runs, it is restarted at
//! once, either as itself or as `restart_syscall`. We follow that decision, so that it counts as one call, however often it is
//! restarted.

use core::ffi::c_void;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_ktime_get_ns};
use profiler_common::{
    opaque::{not_negative, opaque},
    syscalls::{COMPAT, Counter, HAS_SUSPENDED, IN_CALL, MAX_SUSPENDED, Suspended, SuspendedFile, Thread},
};
use profiler_ebpf::{
    atomic,
    task::{is_candidate, member, task, tid_of},
};

use crate::{
    cells::{Fate, finish, note},
    look::look,
    maps::{ACTION_FLAGS, ACTION_HANDLER, FILES},
    threads::{all_done, recorded, tally},
};

/// Codes of the kernel, include/linux/errno.h.
const ERESTARTSYS: u32 = 512;
const ERESTARTNOINTR: u32 = 513;
const ERESTARTNOHAND: u32 = 514;
const ERESTART_RESTARTBLOCK: u32 = 516;
/// `EINTR` as a result.
const INTERRUPTED: i64 = -4;
/// `SA_RESTART` of x86.
const SA_RESTART: u64 = 0x1000_0000;
/// `SIG_DFL` and `SIG_IGN` are 0 and 1.
const LEAST_HANDLER: u64 = 2;
/// `restart_syscall`, native and of i386.
const RESTART_SYSCALL: u64 = 219;
const RESTART_SYSCALL_32: u64 = COMPAT;
/// `rt_sigreturn`, native, of x32, and of i386; and the older `sigreturn` of i386.
const SIGRETURN: [u64; 4] = [15, 0x4000_0000 | 513, COMPAT | 173, COMPAT | 119];

/// Whether a call restores registers: then the result register does not hold a result.
#[inline(always)]
pub(crate) fn is_sigreturn(call: u64) -> bool {
    is_one_of(call, SIGRETURN)
}

/// Whether a number is one of several, without a branch for each, which the verifier would follow.
#[inline(always)]
pub(crate) fn is_one_of<const N: usize>(number: u64, of: [u64; N]) -> bool {
    let mut found = 0;
    for one in of {
        found |= not_negative(opaque(number ^ one).wrapping_sub(1)) ^ 1;
    }
    found != 0
}

/// Whether a result is one of those codes.
#[inline(always)]
pub(crate) fn is_suspension(result: i64) -> bool {
    const CODES: u64 = 1 << (ERESTARTSYS % 64)
        | 1 << (ERESTARTNOINTR % 64)
        | 1 << (ERESTARTNOHAND % 64)
        | 1 << (ERESTART_RESTARTBLOCK % 64);
    let code = result.wrapping_neg() as u64;
    code & !63 == u64::from(ERESTARTSYS) && CODES >> (code & 63) & 1 != 0
}

/// The place of a suspended call.
#[inline(always)]
unsafe fn place(thread: *mut Thread, number: u32) -> *mut Suspended {
    const { assert!(MAX_SUSPENDED.is_power_of_two()) };
    let number = opaque(u64::from(number)) as usize & (MAX_SUSPENDED - 1);
    // SAFETY: the caller vouches for the record; the mask keeps the index within it.
    unsafe { (&raw mut (*thread).suspended).cast::<Suspended>().add(number) }
}

/// The place of its file.
#[inline(always)]
unsafe fn place_of_file(thread: *mut Thread, number: u32) -> *mut SuspendedFile {
    let number = opaque(u64::from(number)) as usize & (MAX_SUSPENDED - 1);
    // SAFETY: as in `place`.
    unsafe { (&raw mut (*thread).suspended_files).cast::<SuspendedFile>().add(number) }
}

/// Suspends the call in progress: it has returned with one of the codes.
///
/// # Safety
/// `thread` is the record of the current thread, `regs` are its registers.
#[inline(never)]
pub(crate) unsafe fn suspend(thread: *mut Thread, result: i64, regs: *const pt_regs) {
    // SAFETY: the caller vouches for both.
    unsafe {
        tally(thread, Counter::ExitSuspended);
        let mut depth = (&raw const (*thread).depth).read_volatile();
        if depth >= MAX_SUSPENDED as u32 {
            // The oldest was left by a handler that did not return.
            tally(thread, Counter::EnterAbandoned);
            for number in 1..MAX_SUSPENDED as u32 {
                *place(thread, number - 1) = *place(thread, number);
                if FILES.load() != 0 {
                    *place_of_file(thread, number - 1) = *place_of_file(thread, number);
                }
            }
            depth = MAX_SUSPENDED as u32 - 1;
        }
        let to = place(thread, depth);
        (*to).call = (*thread).call;
        (*to).start_ns = (*thread).start_ns;
        (*to).ip = (&raw const (*regs).rip).read_volatile();
        (*to).sp = (&raw const (*regs).rsp).read_volatile();
        (*to).code = result.wrapping_neg() as u32;
        (*to).handled = 0;
        (*to).stack = (*thread).stack.into();
        if FILES.load() != 0 {
            let to = place_of_file(thread, depth);
            (*to).file = (*thread).file;
            (*to).inode = (*thread).inode;
            (*to).second = (*thread).second;
            (*to).second_inode = (*thread).second_inode;
            (*to).no_file = (*thread).no_file.into();
        }
        (*thread).depth = depth + 1;
        (*thread).state |= HAS_SUSPENDED;
    }
}

/// Whether the present call is the last suspended one: then that is in progress again.
///
/// # Safety
/// As for [`suspend`].
#[inline(always)]
pub(crate) unsafe fn goes_on(thread: *mut Thread, call: u64, regs: *const pt_regs) -> bool {
    // SAFETY: the caller vouches for both.
    unsafe {
        let depth = (&raw const (*thread).depth).read_volatile();
        if depth == 0 {
            return false;
        }
        let last = place(thread, depth - 1);
        let same = call == (*last).call || call == RESTART_SYSCALL || call == RESTART_SYSCALL_32;
        let ip = (&raw const (*regs).rip).read_volatile();
        let sp = (&raw const (*regs).rsp).read_volatile();
        if !same || (*last).ip != ip || (*last).sp != sp {
            return false; // a call of a handler
        }
        // A handler that ran in between has returned, or the program has left it by a jump and starts a new call.
        let before = (&raw const (*thread).call).read_volatile();
        if (*last).handled != 0 && !is_sigreturn(before) {
            tally(thread, Counter::EnterAbandoned);
            drop_last(thread, depth);
            return false;
        }
        tally(thread, Counter::EnterContinued);
        take_up(thread, last, depth);
        (*thread).state |= IN_CALL;
        true
    }
}

/// Makes the last suspended call the one in progress.
#[inline(always)]
unsafe fn take_up(thread: *mut Thread, last: *const Suspended, depth: u32) {
    // SAFETY: the caller vouches for the record, and for the depth being above 0.
    unsafe {
        (*thread).call = (*last).call;
        (*thread).start_ns = (*last).start_ns;
        (*thread).stack = (*last).stack as u32;
        if FILES.load() != 0 {
            let last = place_of_file(thread, depth - 1);
            (*thread).file = (*last).file;
            (*thread).inode = (*last).inode;
            (*thread).second = (*last).second;
            (*thread).second_inode = (*last).second_inode;
            (*thread).no_file = (*last).no_file as u32;
            (*thread).kept = 0; // calls that close a file are not restarted
        }
        drop_last(thread, depth);
    }
}

/// Drops the last suspended call.
#[inline(always)]
unsafe fn drop_last(thread: *mut Thread, depth: u32) {
    // SAFETY: as above.
    unsafe {
        (*thread).depth = depth - 1;
        if depth == 1 {
            (*thread).state &= !HAS_SUSPENDED;
        }
    }
}

/// A signal is delivered: (number, information, action).
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/signal_deliver")]
pub(crate) fn syscalls_signal(ctx: *mut c_void) -> i32 {
    let task = task();
    if !is_candidate(task) {
        return 0;
    }
    let Some(thread) = recorded(tid_of(task)) else { return 0 };
    // SAFETY: the thread's own record, and an argument of which the verifier knows the type.
    unsafe {
        let depth = (&raw const (*thread).depth).read_volatile();
        if depth == 0 {
            return 0;
        }
        let action = ctx.cast::<*const u8>().add(2).read_volatile();
        let handler: u64 = member(action, ACTION_HANDLER.load());
        let flags: u64 = member(action, ACTION_FLAGS.load());
        (*thread).others += 1;
        atomic::barrier();
        if !deliver(thread, depth, handler, flags) {
            all_done();
            return 0;
        }
    }
    let is_to_be_looked_at = finish();
    all_done();
    if is_to_be_looked_at {
        look();
    }
    0
}

/// Decides on the last suspended call as the kernel does (`handle_signal`, arch/x86/kernel/signal.c). Returns whether it
/// ends.
#[inline(never)]
unsafe fn deliver(thread: *mut Thread, depth: u32, handler: u64, flags: u64) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let last = place(thread, depth - 1);
        if handler < LEAST_HANDLER || (*last).handled != 0 {
            return false;
        }
        let code = (&raw const (*last).code).read_volatile();
        if code == ERESTARTNOINTR || (code == ERESTARTSYS && flags & SA_RESTART != 0) {
            (*last).handled = 1;
            return false;
        }
        tally(thread, Counter::Interrupted);
        take_up(thread, last, depth);
        let fate = if (*thread).start_ns == 0 { Fate::UNDER_WAY } else { Fate::RETURNED };
        note(thread, fate, INTERRUPTED, bpf_ktime_get_ns());
        true
    }
}

//! Calls that a signal interrupts. Such a call returns a code that no program ever sees: when the kernel delivers the signal, it decides how
//! the call goes on. If a handler runs, the call ends with `EINTR`, or is begun again when the handler has returned; if none runs, it is
//! begun again at once.
//!
//! A call that goes on counts once, from when it was first begun. Of calls that are held at the same time, because one is made by a handler,
//! only the last is known: the others count from when they are begun again.

use core::ffi::c_void;

use aya_ebpf::{Global, bindings::pt_regs, helpers::generated::bpf_ktime_get_ns};
use profiler_common::{
    call::COMPAT,
    io::{IoCounter, IoThread},
    opaque::{not_negative, opaque},
};

use super::{IoTool, calls, thread};
use crate::{
    ledger::Ledger,
    task::{Task, is_candidate, member, task},
};

/// `k_sigaction.sa.sa_handler`, in bytes, like the next one.
#[unsafe(no_mangle)]
pub static ACTION_HANDLER: Global<u64> = Global::new(0);
/// `k_sigaction.sa.sa_flags`
#[unsafe(no_mangle)]
pub static ACTION_FLAGS: Global<u64> = Global::new(0);

/// Codes of the kernel (include/linux/errno.h), as results are.
const ERESTARTSYS: u64 = -512i64 as u64;
const ERESTARTNOINTR: u64 = -513i64 as u64;
const ERESTART_RESTARTBLOCK: u64 = -516i64 as u64;
/// What the program gets of a call that is not begun again.
const EINTR: u64 = -4i64 as u64;
/// `SA_RESTART` of x86.
const SA_RESTART: u64 = 0x1000_0000;
/// `SIG_DFL` and `SIG_IGN` are 0 and 1.
const LEAST_HANDLER: u64 = 2;
/// `rt_sigreturn`, native, of x32, and of i386; and the older `sigreturn` of i386.
const SIGRETURN: u64 = 15;
const SIGRETURN_X32: u64 = 0x4000_0000 | 513;
const SIGRETURN_I386: u64 = COMPAT | 173;
const OLD_SIGRETURN_I386: u64 = COMPAT | 119;

// What has become of a call that is held, in place of its code.
/// A handler runs, after which the kernel begins it again.
const HANDLED: u64 = 1;
/// A handler has returned, perhaps that one.
const RETURNED: u64 = 2;

/// Whether a result is such a code.
#[inline(always)]
pub(super) fn is_restart(result: u64) -> bool {
    (ERESTART_RESTARTBLOCK..=ERESTARTSYS).contains(&result)
}

/// What the program gets, if the call that has returned so is not begun again. Without a branch, because the verifier would follow both to the
/// end.
#[inline(always)]
pub(super) fn as_seen(result: u64) -> u64 {
    let above = opaque(result.wrapping_sub(ERESTART_RESTARTBLOCK));
    let is_one =
        not_negative(above) & not_negative(opaque((ERESTARTSYS - ERESTART_RESTARTBLOCK).wrapping_sub(above)));
    result ^ (result ^ EINTR) & 0u64.wrapping_sub(is_one)
}

/// Holds the call that has returned with such a code.
///
/// # Safety
/// `thread` is the record of the current thread, `registers` are its registers.
#[inline(always)]
pub(super) unsafe fn hold(thread: *mut IoThread, code: u64, registers: *const pt_regs) {
    // SAFETY: the caller vouches for both.
    unsafe {
        (*thread).held_ns = (*thread).start_ns;
        (*thread).held_call = (*thread).call;
        (*thread).held_as = code;
        (*thread).held_ip = (&raw const (*registers).rip).read_volatile();
        (*thread).held_sp = (&raw const (*registers).rsp).read_volatile();
    }
}

/// A call begins while one is held. Returns when that was begun first, if it is the same one, which the kernel begins again; otherwise 0.
///
/// # Safety
/// As for [`hold`].
#[inline(never)]
pub(super) unsafe fn first_begun(thread: *mut IoThread, call: u64, registers: *const pt_regs) -> u64 {
    // SAFETY: the caller vouches for both.
    unsafe {
        let (held_ns, held_as) = ((*thread).held_ns, (*thread).held_as);
        let (ip, sp) =
            ((&raw const (*registers).rip).read_volatile(), (&raw const (*registers).rsp).read_volatile());
        let is_same = call == (*thread).held_call && ip == (*thread).held_ip && sp == (*thread).held_sp;
        if is_same || held_as != HANDLED && held_as != RETURNED {
            (*thread).held_ns = 0;
            // In a handler that has not returned: the program has left it by a jump, and begins a new call.
            return if is_same && held_as != HANDLED { held_ns } else { 0 };
        }
        // A call of the handler, or of one that has interrupted that.
        let returns = matches!(call, SIGRETURN | SIGRETURN_X32 | SIGRETURN_I386 | OLD_SIGRETURN_I386);
        (*thread).held_as = if returns { RETURNED } else { HANDLED };
        0
    }
}

/// A signal is delivered: (number, information, action).
#[inline(always)]
pub fn signalled<T: IoTool>(ctx: *mut c_void) {
    let task = task();
    if !is_candidate(task) {
        return;
    }
    let Some(thread) = thread::of_current(task) else { return };
    // SAFETY: the thread's own record, and an argument of which the verifier knows the type.
    unsafe {
        if (*thread).held_ns == 0 || !is_restart((*thread).held_as) {
            return;
        }
        let action = ctx.cast::<*const u8>().add(2).read_volatile();
        let handler: u64 = member(action, ACTION_HANDLER.load());
        let flags: u64 = member(action, ACTION_FLAGS.load());
        if handler < LEAST_HANDLER {
            return;
        }
        // As the kernel does (`handle_signal`, arch/x86/kernel/signal.c).
        let code = (*thread).held_as;
        if code == ERESTARTNOINTR || code == ERESTARTSYS && flags & SA_RESTART != 0 {
            (*thread).held_as = HANDLED;
            return;
        }
        (*thread).held_ns = 0;
        end::<T>(task, thread);
    }
}

/// The call that was held ends: its record is still as it was when it returned.
#[inline(always)]
unsafe fn end<T: IoTool>(task: Task, thread: *mut IoThread) {
    let Some(ledger) = Ledger::<T::Counter>::open() else { return };
    ledger.count(T::Counter::SIGNALLED);
    // SAFETY: the caller vouches for the record; a helper without arguments.
    unsafe {
        (*thread).end_ns = bpf_ktime_get_ns();
        let is_added = calls::add::<T>(task, thread);
        ledger.count(if is_added { T::Counter::INTERRUPTED } else { T::Counter::INTERRUPTED_LOST });
    }
}

//! Which threads may be observed: the first check of a program at every system call of the host.
//!
//! The kernel passes such a program the address of the caller's registers, which is at the top of the thread's kernel stack and
//! the same for each of its calls. It identifies the thread without a load or a helper. Those would cost a process that is not
//! observed more than the rest of the program.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::{pt_regs, task_struct},
    helpers::generated::bpf_task_pt_regs,
};
use profiler_common::space::THREAD_SLOTS;

use crate::{atomic, task::Task};

/// The registers of different threads are in different pages.
const PAGE_BITS: u32 = 12;

/// How many threads of targets there are, by the page that has their registers, modulo the number of slots. A count is never too
/// low: a thread is added before its process is observed, or before it runs, and removed as it ends. The section becomes a map of
/// its own, which programs address without a lookup.
#[unsafe(link_section = ".bss.threads")]
#[unsafe(no_mangle)]
static mut THREADS_BY_STACK: [u32; THREAD_SLOTS] = [0; THREAD_SLOTS];

/// How far a pointer is behind another. The verifier accepts the difference of two pointers as a number, and no other result of pointer
/// arithmetic.
#[inline(always)]
#[expect(
    clippy::pointers_in_nomem_asm_block,
    reason = "the pointers are numbers here; nothing reads what they point to"
)]
fn distance(from: *const c_void, to: *const c_void) -> u64 {
    let mut distance = to as u64;
    // SAFETY: a subtraction.
    unsafe { asm!("{0} -= {1}", inout(reg) distance, in(reg) from, options(pure, nomem, nostack)) };
    distance
}

#[inline(always)]
fn slot(registers: *const pt_regs) -> *mut u32 {
    let slots = (&raw mut THREADS_BY_STACK).cast::<u32>();
    // What is subtracted is the same for all programs.
    let distance = distance(slots.cast(), registers.cast());
    // SAFETY: a map value; the mask keeps the index within it.
    unsafe { slots.add((distance >> PAGE_BITS) as usize & (THREAD_SLOTS - 1)) }
}

/// False if the thread with these registers is not observed, except for the few that share a slot with an observed one.
#[inline(always)]
pub fn may_be_observed(registers: *const pt_regs) -> bool {
    // SAFETY: a map value, which others may write at the same time.
    unsafe { slot(registers).read_volatile() != 0 }
}

/// Registers of a thread, as its own system calls will hand them over.
///
/// # Safety
/// `task` was given by the kernel with its type.
#[inline(always)]
unsafe fn registers(task: *mut c_void) -> *const pt_regs {
    // SAFETY: the caller vouches for the task.
    unsafe { bpf_task_pt_regs(task.cast::<task_struct>()) as *const pt_regs }
}

/// [`may_be_observed`] for any thread.
#[inline(always)]
pub fn may_be(task: Task) -> bool {
    // SAFETY: the verifier knows the type of the task.
    may_be_observed(unsafe { registers(task.pointer().cast_mut().cast()) })
}

/// Adds a thread that is to be observed.
///
/// # Safety
/// `task` was given by the kernel with its type.
#[inline(always)]
pub unsafe fn enter(task: *mut c_void) {
    // SAFETY: the caller vouches for the task; a map value.
    unsafe { atomic::add_word(slot(registers(task)), 1) };
}

/// Removes a thread that ends.
///
/// # Safety
/// As for [`enter`].
#[inline(always)]
pub unsafe fn leave(task: *mut c_void) {
    // SAFETY: the caller vouches for the task; a map value.
    unsafe { atomic::add_word(slot(registers(task)), u32::MAX) };
}

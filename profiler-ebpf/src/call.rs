//! System calls of the current thread: their numbers and arguments.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
};
use profiler_common::call::COMPAT;

use crate::{
    file,
    task::{TASK_STATUS, Task},
};

/// `TS_COMPAT` (arch/x86/include/asm/thread_info.h): the task is in a call of i386.
const TS_COMPAT: u32 = 2;
/// From that bit to the bit of [`COMPAT`].
const TO_COMPAT: u32 = COMPAT.trailing_zeros() - TS_COMPAT.trailing_zeros();

/// In the flags of a receive, `MSG_PEEK` and `MSG_ERRQUEUE` (include/linux/socket.h): it takes no data. The second one reads what became of
/// packets that were sent.
pub const TAKES_NOTHING: u64 = 0x2 | 0x2000;

/// Where the registers of arguments are among the saved ones, in bytes: one byte for each argument, the first in the lowest.
const NATIVE: u64 = packed([
    offset_of!(pt_regs, rdi),
    offset_of!(pt_regs, rsi),
    offset_of!(pt_regs, rdx),
    offset_of!(pt_regs, r10),
    offset_of!(pt_regs, r8),
]);
const OF_I386: u64 = packed([
    offset_of!(pt_regs, rbx),
    offset_of!(pt_regs, rcx),
    offset_of!(pt_regs, rdx),
    offset_of!(pt_regs, rsi),
    offset_of!(pt_regs, rdi),
]);

const fn packed([first, second, third, fourth, fifth]: [usize; 5]) -> u64 {
    first as u64 | (second as u64) << 8 | (third as u64) << 16 | (fourth as u64) << 24 | (fifth as u64) << 32
}

/// The call with this number, made by the current task.
#[inline(always)]
pub fn call(task: Task, number: u64) -> u64 {
    let status: u32 = task.member(TASK_STATUS.load());
    number & 0xffff_ffff | u64::from(status & TS_COMPAT) << TO_COMPAT
}

/// An argument, counted from 1 to 5. Without a branch, because the verifier would follow each.
#[inline(always)]
pub fn argument(call: u64, number: u64) -> u64 {
    let is_of_i386 = 0u64.wrapping_sub((call / COMPAT) & 1);
    let places = NATIVE ^ (NATIVE ^ OF_I386) & is_of_i386;
    let place = places >> (8 * (number.wrapping_sub(1) & 7)) & 0xff;
    // SAFETY: a helper that takes the current task.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf().cast()) } as u64;
    // Of calls of i386, the kernel takes the lower half.
    file::read::<u64>(registers + place) & !(is_of_i386 << 32)
}

/// An argument of the call with these registers, which the current task makes. It takes no call of the kernel, unless the call is one of i386.
///
/// # Safety
/// The kernel gave the registers with their type.
#[inline(always)]
pub unsafe fn argument_in(registers: *const pt_regs, call: u64, number: u64) -> u64 {
    if call & COMPAT != 0 {
        return argument(call, number);
    }
    // SAFETY: the caller vouches for the registers.
    unsafe {
        match number {
            1 => (&raw const (*registers).rdi).read_volatile(),
            2 => (&raw const (*registers).rsi).read_volatile(),
            3 => (&raw const (*registers).rdx).read_volatile(),
            4 => (&raw const (*registers).r10).read_volatile(),
            _ => (&raw const (*registers).r8).read_volatile(),
        }
    }
}

//! Walks the user stack of the current thread from wherever it was interrupted.

use core::ptr;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_current_task_btf, generated::bpf_task_pt_regs},
};
use profiler_common::unwind::{
    register,
    walk::{self, Walk},
};

use super::{Found, Here, entry::Place, found, returns, run, set};

/// General registers, by DWARF number (System V ABI for AMD64, figure 3.36).
pub const COUNT: usize = 16;

/// A thread's registers in user mode.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Registers {
    /// By DWARF number.
    pub of: [u64; COUNT],
    /// Address of the instruction.
    pub ip: u64,
    /// Code segment, which is that of 64-bit or of 32-bit code.
    pub cs: u64,
}

/// `__USER_CS` of 64-bit code (arch/x86/include/asm/segment.h).
const USER_CS: u64 = 0x33;

impl Registers {
    /// Whether a walk can begin here: 64-bit user code.
    #[inline(always)]
    pub fn are_walkable(&self) -> bool {
        self.cs == USER_CS
    }
}

/// Takes over registers that the kernel saved.
///
/// # Safety
/// `from` is the context of a program, or was given by the kernel with its type; `to` is in a map.
#[inline(always)]
pub unsafe fn take(from: *const pt_regs, to: *mut Registers) {
    // SAFETY: the caller vouches for both. Volatile: each is loaded on its own, from where it lies.
    unsafe {
        macro_rules! take {
            ($($number:literal $name:ident),*) => {
                $((&raw mut (*to).of).cast::<u64>().add($number)
                    .write_volatile((&raw const (*from).$name).read_volatile());)*
            };
        }
        take!(0 rax, 1 rdx, 2 rcx, 3 rbx, 4 rsi, 5 rdi, 6 rbp, 7 rsp);
        take!(8 r8, 9 r9, 10 r10, 11 r11, 12 r12, 13 r13, 14 r14, 15 r15);
        set!(to, ip, (&raw const (*from).rip).read_volatile());
        set!(to, cs, (&raw const (*from).cs).read_volatile());
    }
}

/// Takes the registers with which the current thread entered the kernel (Linux 5.15): for tracepoints, and for samples
/// that interrupted the kernel.
///
/// # Safety
/// `to` is in a map.
#[inline(always)]
pub unsafe fn take_of_task(to: *mut Registers) {
    // SAFETY: the kernel gives its own pointer to its own task, and to registers with their type.
    unsafe { take(bpf_task_pt_regs(bpf_get_current_task_btf().cast()) as *const pt_regs, to) };
}

/// Collects the addresses of the frames of a thread, from the innermost on. `returned`: whether it has just returned to its
/// instruction, so that the call is the instruction before.
///
/// # Safety
/// `registers` are the current thread's; `frames` points to `FRAME_ROOM` words; all three are in a map, and the caller's
/// own.
#[inline(always)]
pub unsafe fn walk_from(
    registers: *const Registers,
    returned: bool,
    place: Place,
    frames: *mut u64,
    walk: *mut Walk,
) -> Found {
    // SAFETY: the caller vouches for all of them.
    unsafe {
        let of = &raw const (*registers).of;
        let word = |number: u16| of.cast::<u64>().add(usize::from(number)).read_volatile();
        let (sp, fp) = (word(register::RSP.into()), word(register::RBP.into()));
        let trampoline = returns::trampoline();
        let at = returns::position(trampoline, (*registers).ip, sp, word(register::RAX.into()), returned);
        let here = Here { registers: of, rules: ptr::null_mut() };
        walk::open(here, walk, at.sp);
        walk::begin(walk, place.space.into(), at.ip, at.sp, fp, at.returned);
        set!(walk, trampoline, trampoline);
        run(here, place.slot, walk, frames);
        found(walk)
    }
}

//! What return probes have put in place of return addresses.
//!
//! The kernel keeps the originals in a list of the thread, innermost first. It is read by typed loads, at offsets that the loader
//! found in the types of the running kernel.

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_task_btf, bpf_probe_read_user},
};

/// `task_struct.mm`, in bytes, as are the next. All are 0 if one of them is not known: then return probes end walks.
#[unsafe(no_mangle)]
static TASK_MM: Global<u64> = Global::new(0);
/// `mm_struct.uprobes_state.xol_area`
#[unsafe(no_mangle)]
static MM_XOL_AREA: Global<u64> = Global::new(0);
/// `xol_area.vaddr`
#[unsafe(no_mangle)]
static XOL_AREA_VADDR: Global<u64> = Global::new(0);
/// `task_struct.utask`
#[unsafe(no_mangle)]
static TASK_UTASK: Global<u64> = Global::new(0);
/// `uprobe_task.return_instances`
#[unsafe(no_mangle)]
static UTASK_RETURN_INSTANCES: Global<u64> = Global::new(0);
/// `return_instance.stack`
#[unsafe(no_mangle)]
static RETURN_STACK: Global<u64> = Global::new(0);
/// `return_instance.orig_ret_vaddr`
#[unsafe(no_mangle)]
static RETURN_ORIGINAL: Global<u64> = Global::new(0);
/// `return_instance.next`
#[unsafe(no_mangle)]
static RETURN_NEXT: Global<u64> = Global::new(0);

/// `uprobe_task.vaddr`
#[unsafe(no_mangle)]
static UTASK_VADDR: Global<u64> = Global::new(0);

/// The page in which the kernel runs the instructions that it puts in place of the program's code.
const AREA_BYTES: u64 = 4096;
/// Functions with a return probe return to its start (`UPROBE_XOL_SLOT_BYTES`, include/linux/uprobes.h); after that come
/// instructions that are single-stepped out of line.
const TRAMPOLINE_BYTES: u64 = 128;

/// How many probed calls of a thread are searched. The kernel allows 64.
const MAX_RETURNS: usize = 64;

/// A member of a kernel structure whose type the verifier knows.
///
/// # Safety
/// `of` was given by the kernel with its type, or was loaded so; the loader vouches for the offset.
#[inline(always)]
unsafe fn member(of: *const u8, offset: u64) -> *const u8 {
    // SAFETY: the kernel makes such loads safe, whatever they meet.
    unsafe { of.add(offset as usize).cast::<*const u8>().read_volatile() }
}

/// The return address that a function with a return probe seems to have; 0 if the thread's process has no such probe.
#[inline(always)]
pub(super) fn trampoline() -> u64 {
    if XOL_AREA_VADDR.load() == 0 {
        return 0;
    }
    // SAFETY: the current task, by the kernel's own pointer.
    unsafe {
        let mm = member(bpf_get_current_task_btf().cast::<u8>().cast_const(), TASK_MM.load());
        let area = member(mm, MM_XOL_AREA.load());
        if area.is_null() { 0 } else { member(area, XOL_AREA_VADDR.load()) as u64 }
    }
}

/// Where in its program a thread is that was interrupted in the kernel's own page.
pub(super) struct Position {
    pub(super) ip: u64,
    pub(super) sp: u64,
    /// Whether the thread has just returned there.
    pub(super) returned: bool,
}

/// Where in its program a thread with these registers is.
#[inline(always)]
pub(super) fn position(trampoline: u64, ip: u64, sp: u64, rax: u64, returned: bool) -> Position {
    let ahead = ip.wrapping_sub(trampoline);
    if trampoline == 0 || ahead >= AREA_BYTES {
        return Position { ip, sp, returned };
    }
    // SAFETY: the current task, by the kernel's own pointer, and its list.
    unsafe {
        let task = member(bpf_get_current_task_btf().cast::<u8>().cast_const(), TASK_UTASK.load());
        if ahead >= TRAMPOLINE_BYTES {
            return Position { ip: member(task, UTASK_VADDR.load()) as u64, sp, returned };
        }
        let instance = member(task, UTASK_RETURN_INSTANCES.load());
        let slot = member(instance, RETURN_STACK.load()) as u64;
        // The trampoline has pushed up to three registers over the slot from which the return address was popped.
        if slot.wrapping_sub(sp).wrapping_add(8) > 24 {
            return leaving(ahead, sp, rax).unwrap_or(Position { ip, sp, returned });
        }
        Position { ip: member(instance, RETURN_ORIGINAL.load()) as u64, sp: slot + 8, returned: true }
    }
}

/// The position of a thread that is about to leave the trampoline: the probe is off the kernel's list, and the return
/// address is on the stack, above what is still to be popped.
///
/// The trampoline of Linux 6.11 ends with `pop %r11` at 13, `pop %rcx` at 15 and `ret` at 16
/// (`uretprobe_trampoline_entry`, arch/x86/kernel/uprobes.c). The one before is a single `int3`. The kernel writes
/// the return address into the slot that held `rax`: while the slot equals `rax`, it has not, and the position is not known.
#[inline(always)]
unsafe fn leaving(ahead: u64, sp: u64, rax: u64) -> Option<Position> {
    let slot = match ahead {
        13 => sp + 16,
        15 => sp + 8,
        16 => sp,
        _ => return None,
    };
    // SAFETY: the helper may be given any address.
    let ip = unsafe { bpf_probe_read_user(slot as *const u64) }.ok()?;
    (ip != rax).then_some(Position { ip, sp: slot + 8, returned: true })
}

/// The return address that was in a slot of the stack before a return probe replaced it; 0 if it is not known.
#[inline(always)]
pub(super) fn original(slot: u64) -> u64 {
    if XOL_AREA_VADDR.load() == 0 {
        return 0;
    }
    // SAFETY: the current task, by the kernel's own pointer, and its list.
    unsafe {
        let task = member(bpf_get_current_task_btf().cast::<u8>().cast_const(), TASK_UTASK.load());
        let mut instance = member(task, UTASK_RETURN_INSTANCES.load());
        for _ in 0..MAX_RETURNS {
            if instance.is_null() {
                break;
            }
            if member(instance, RETURN_STACK.load()) as u64 == slot {
                return member(instance, RETURN_ORIGINAL.load()) as u64;
            }
            instance = member(instance, RETURN_NEXT.load());
        }
        0
    }
}

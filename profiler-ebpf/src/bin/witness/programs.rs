//! The programs: those that record, and those that are timed.

use core::ffi::c_void;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_get_stackid};
use profiler_common::witness::Context;
use profiler_ebpf::stack::{entry::Place, registers};

use crate::{
    maps::{self, KERNEL_STACKS, SEEN, Slot},
    record::record,
};

/// Bit of `cs` that means user mode.
const USER: u64 = 3;
const BPF_F_USER_STACK: u64 = 1 << 8;
const BPF_ANY: u64 = 0;

/// A sample, of user code or of the kernel.
#[unsafe(no_mangle)]
#[unsafe(link_section = "perf_event")]
pub(crate) fn witness_sample(ctx: *mut c_void) -> u32 {
    let regs = ctx.cast::<pt_regs>().cast_const();
    // SAFETY: the context of a perf event program begins with registers.
    if unsafe { (&raw const (*regs).cs).read_volatile() } & USER == USER {
        // SAFETY: as above.
        witness(ctx, Context::SAMPLE, |slot| unsafe { registers::take(regs, &raw mut (*slot).registers) });
    } else {
        witness(ctx, Context::SAMPLE_IN_KERNEL, of_task);
    }
    0
}

/// A tracepoint.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
pub(crate) fn witness_trace(ctx: *mut c_void) -> i32 {
    witness(ctx, Context::TRACEPOINT, of_task);
    0
}

/// Any probed instruction, whether or not it is a function's first.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn witness_probe(ctx: *mut c_void) -> u32 {
    witness(ctx, Context::PROBE, |slot| probed(ctx, slot));
    0
}

/// A return probe.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uretprobe")]
pub(crate) fn witness_return(ctx: *mut c_void) -> u32 {
    witness(ctx, Context::RETURN, |slot| probed(ctx, slot));
    0
}

fn of_task(slot: *mut Slot) {
    // SAFETY: a map value.
    unsafe { registers::take_of_task(&raw mut (*slot).registers) };
}

#[inline(always)]
fn probed(ctx: *mut c_void, slot: *mut Slot) {
    // SAFETY: the context of a uprobe program is the registers.
    unsafe { registers::take(ctx.cast(), &raw mut (*slot).registers) };
}

#[inline(always)]
fn witness(ctx: *mut c_void, context: u64, take: impl FnOnce(*mut Slot)) {
    let Some((counts, mappings)) = maps::hit() else { return };
    let Some(slot) = maps::claim() else { return counts.lost_slot() };
    take(slot);
    // SAFETY: claimed above.
    unsafe {
        if (*slot).registers.are_walkable() {
            record(ctx, context, mappings, slot, counts);
        } else {
            counts.not_walkable();
        }
        maps::release(slot);
    }
}

/// For timing: a walk, and the check whether its stack is new.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn witness_walk(ctx: *mut c_void) -> u32 {
    let Some((counts, slot_of_mappings)) = maps::hit() else { return 0 };
    let Some(slot) = maps::claim() else {
        counts.lost_slot();
        return 0;
    };
    // SAFETY: claimed above.
    unsafe {
        probed(ctx, slot);
        let place = Place { space: 0, slot: slot_of_mappings, generation: 0, steps: false };
        let frames = (&raw mut (*slot).record.frames).cast();
        let found =
            registers::walk_from(&raw const (*slot).registers, false, place, frames, &raw mut (*slot).walk);
        if SEEN.get_ptr(found.identity).is_none() {
            let _ = SEEN.insert(found.identity, found.depth << 8 | found.end, BPF_ANY);
        }
        maps::release(slot);
    }
    counts.walked();
    0
}

/// For timing: the kernel's own walk, by frame pointers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn witness_kernel(ctx: *mut c_void) -> u32 {
    let Some((counts, _)) = maps::hit() else { return 0 };
    let stacks = (&raw const KERNEL_STACKS).cast_mut().cast();
    // SAFETY: a map of the kind that the helper takes.
    if unsafe { bpf_get_stackid(ctx, stacks, BPF_F_USER_STACK) } >= 0 {
        counts.walked();
    } else {
        counts.not_walkable();
    }
    0
}

/// For timing: what the two above do apart from walking.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub(crate) fn witness_nothing(_ctx: *mut c_void) -> u32 {
    if let Some((counts, _)) = maps::hit() {
        counts.walked();
    }
    0
}

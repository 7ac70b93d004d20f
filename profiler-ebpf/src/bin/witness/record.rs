//! A walk, and the data that it used.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_stack, bpf_loop, bpf_probe_read_user, bpf_ringbuf_output,
};
use profiler_common::unwind::register;
use profiler_common::witness::Context;
use profiler_common::witness::KERNEL_FRAMES;
use profiler_common::witness::PAGE_BYTES;
use profiler_common::witness::RED_ZONE_BYTES;
use profiler_common::witness::Record;
use profiler_common::witness::STACK_BYTES;
use profiler_common::witness::STACK_ROOM;
use profiler_ebpf::stack::{entry::Place, registers};

use crate::maps::{Counts, RECORDS, Slot};

/// The memory beyond the end of the stack may be unreadable: that does not prevent reading what comes before.
const PAGES: u32 = (STACK_ROOM / PAGE_BYTES) as u32;

/// Walks from the registers in a slot, and records the walk.
///
/// # Safety
/// `ctx` is the context of the program, and the slot was claimed.
#[inline(always)]
pub(crate) unsafe fn record(ctx: *mut c_void, context: u64, mappings: u32, slot: *mut Slot, counts: Counts) {
    // SAFETY: the caller vouches for both; sizes are those of the fields.
    unsafe {
        let record = &raw mut (*slot).record;
        (*record).context = context;
        (*record).tid = bpf_get_current_pid_tgid() & 0xffff_ffff;
        (*record).registers = (*slot).registers.of;
        (*record).ip = (*slot).registers.ip;
        let kernel = (&raw mut (*record).kernel).cast();
        let bytes = bpf_get_stack(ctx, kernel, 8 * KERNEL_FRAMES as u32, 0);
        (*record).kernel_depth = if bytes > 0 { bytes as u64 / 8 } else { 0 };
        let sp = (*slot).registers.of[usize::from(register::RSP)];
        copy_stack(record, sp.wrapping_sub(RED_ZONE_BYTES));
        if (&raw const (*record).stack_bytes).read_volatile() == 0 {
            copy_stack(record, sp);
        }
        let frames = (&raw mut (*record).frames).cast();
        let place = Place { space: 0, slot: mappings, generation: 0, steps: false };
        let returned = context == Context::RETURN;
        let found = registers::walk_from(
            &raw const (*slot).registers,
            returned,
            place,
            frames,
            &raw mut (*slot).walk,
        );
        (*record).depth = found.depth;
        (*record).end = found.end;
        (*record).guessed = (*slot).walk.guessed;
        let ring = (&raw const RECORDS).cast_mut().cast();
        if bpf_ringbuf_output(ring, record.cast(), size_of::<Record>() as u64, 0) == 0 {
            counts.walked();
        } else {
            counts.lost_ring();
        }
    }
}

/// Records the stack from an address on.
#[inline(always)]
unsafe fn copy_stack(record: *mut Record, from: u64) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*record).stack_from = from;
        (&raw mut (*record).stack_bytes).write_volatile(0);
        let mut record = record;
        bpf_loop(PAGES, copy_page as *mut c_void, (&raw mut record).cast(), 0);
    }
}

/// Reads on to the end of a page; 1 at the end of what can be read, or of the room.
#[inline(never)]
extern "C" fn copy_page(_turn: u32, record: *mut c_void) -> i64 {
    // SAFETY: a record in a map; the copy ends where its room does.
    unsafe {
        let record = *record.cast::<*mut Record>();
        let done = (&raw const (*record).stack_bytes).read_volatile();
        let from = (*record).stack_from.wrapping_add(done);
        if done >= STACK_BYTES as u64 {
            return 1;
        }
        let bytes = PAGE_BYTES as u64 - (from & (PAGE_BYTES as u64 - 1));
        let to = (&raw mut (*record).stack).cast::<u8>().add(done as usize);
        if bpf_probe_read_user(to.cast(), bytes as u32, from as *const c_void) != 0 {
            return 1;
        }
        (&raw mut (*record).stack_bytes).write_volatile(done + bytes);
        0
    }
}

//! From the frames of a call to the number of its stack.

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_ringbuf_output};
use profiler_common::{
    ledger::Counter,
    memleak::{CALLER_STEPS, ENDED_SOMEHOW, MAX_FRAMES, NO_STACK, RECORD_STACK, RecordHead, Space},
    unwind::walk::End,
};
use profiler_ebpf::stack::entry::{self, Place};

use crate::maps::{RECENT, RING, Recent, STACK_NUMBERS, Thread, count, next_stack};

const SENT: u64 = 1 << 32;
const BPF_NOEXIST: u64 = 1;

/// The number of the current call stack, which is 0 if it cannot be told.
///
/// # Safety
/// `regs` are the registers at the entry of a function, `known` a map value, `thread` the state of the current thread.
#[inline(always)]
pub(crate) unsafe fn number(
    regs: *const pt_regs,
    space: u16,
    known: *const Space,
    thread: *mut Thread,
) -> u32 {
    // SAFETY: the caller vouches for all pointers. The generation is read before the slot is: if another is told in
    // between, the walk is remembered for a generation that is over.
    unsafe {
        let generation = (&raw const (*known).generation).read_volatile();
        let slot = (&raw const (*known).slot).read_volatile();
        let steps = (*known).flags & CALLER_STEPS != 0;
        let place = Place { space, slot, generation, steps };
        let frames = (&raw mut (*thread).frames).cast::<u64>();
        let room = &raw mut (*thread).walk;
        if let Some(number) = entry::recall(regs, place, room) {
            return number;
        }
        let found = entry::walk_at_entry(regs, place, frames, room);
        match found.end {
            End::LIMIT => count(Counter::StackTruncated),
            End::UNREADABLE => count(Counter::StackShort),
            _ => {}
        }
        // Through memory: the verifier would follow the rest of the program once for every depth.
        (*thread).depth = found.depth;
        let end = if slot == 0 { ENDED_SOMEHOW } else { found.end as u8 & 15 };
        (*thread).end = u64::from(end) << 4 | u64::from(found.guessed) << 15;
        let identity = found.identity;
        if (&raw const (*thread).depth).read_volatile() == 0 {
            return NO_STACK;
        }
        // A number is never given to another stack, so what the thread remembers stays true.
        let recent = (&raw mut (*thread).recent).cast::<Recent>().add(identity as usize & (RECENT - 1));
        if (*recent).identity == identity && (*recent).number != 0 {
            let number = (*recent).number as u32;
            if found.end != End::LIMIT && found.end != End::UNREADABLE {
                // Those are counted each time.
                entry::remember(regs, place, room, number);
            }
            return number;
        }
        let known = STACK_NUMBERS.get_ptr_mut(identity);
        if let Some(known) = known
            && *known & SENT != 0
        {
            (*recent).identity = identity;
            (*recent).number = *known & (SENT - 1);
            return *known as u32;
        }
        introduce(identity, space, thread)
    }
}

/// Gives a new stack a number and sends its frames, or sends them again if they did not fit into the ring before.
#[inline(never)]
unsafe fn introduce(identity: u64, space: u16, thread: *mut Thread) -> u32 {
    // SAFETY: as for `number`.
    unsafe {
        let number = match STACK_NUMBERS.get_ptr_mut(identity) {
            Some(known) => *known as u32,
            None => {
                let Some(number) = next_stack() else {
                    count(Counter::StackTableFull);
                    return NO_STACK;
                };
                if STACK_NUMBERS.insert(identity, u64::from(number), BPF_NOEXIST).is_ok() {
                    number
                } else if let Some(known) = STACK_NUMBERS.get_ptr_mut(identity) {
                    *known as u32 // another CPU was faster
                } else {
                    count(Counter::StackTableFull);
                    return NO_STACK;
                }
            }
        };
        let depth = (*thread).depth.min(MAX_FRAMES as u64);
        let head = RecordHead { kind: RECORD_STACK, depth: depth as u8, space, stack: number };
        (*thread).head = core::mem::transmute::<RecordHead, u64>(head) | (*thread).end;
        let bytes = 8 + 8 * (depth & 127);
        let record = &raw mut (*thread).head;
        if bpf_ringbuf_output((&raw const RING).cast_mut().cast(), record.cast(), bytes, 0) != 0 {
            count(Counter::StackRingFull);
        } else if let Some(known) = STACK_NUMBERS.get_ptr_mut(identity) {
            *known = u64::from(number) | SENT;
        }
        number
    }
}

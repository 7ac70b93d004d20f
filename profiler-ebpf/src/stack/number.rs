//! From the frames of a walk to the number of its stack. A stack has the same number in all tools of an observation, and its
//! frames are sent once.

use aya_ebpf::{
    Global,
    bindings::pt_regs,
    macros::map,
    maps::{Array, HashMap},
};
use profiler_common::{
    event::Event,
    ledger::Ledger,
    record::{ENDED_SOMEHOW, NO_STACK, RECORD_STACK, RecordHead},
    space::{CALLER_STEPS, Space},
    unwind::walk::{End, FRAME_ROOM, MAX_FRAMES, Walk},
};

use super::{
    entry::{self, Place, Room},
    registers::{self, Registers},
};
use crate::{atomic, ledger::count, log, ring};

const BPF_F_NO_PREALLOC: u32 = 1;
const SENT: u64 = 1 << 32;
const BPF_NOEXIST: u64 = 1;

/// Stack numbers below this one may be given out.
#[unsafe(no_mangle)]
static MAX_STACKS: Global<u32> = Global::new(2);

/// The number of a stack by its identity, and in the upper half whether its frames were sent.
#[map]
static STACK_NUMBERS: HashMap<u64, u64> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);

/// The next stack number.
#[map]
static NEXT_STACK: Array<u64> = Array::with_max_entries(1, 0);

/// Remarks on the quality of stacks, which each tool counts in its own ledger.
pub trait Remarks {
    /// The counters of the tool.
    type Counter: Ledger;
    /// The stack was deeper than the limit.
    const TRUNCATED: Self::Counter;
    /// The stack could not be read beyond its first frame.
    const SHORT: Self::Counter;
    /// All numbers of stacks are taken.
    const TABLE_FULL: Self::Counter;
    /// The frames of a new stack did not fit into the ring; they are sent at its next use.
    const RING_FULL: Self::Counter;
}

/// Working memory of a thread's walks at entries of functions. It lies in a map.
#[repr(C)]
pub struct Walker {
    /// Stacks of the last calls: identity and number, which is 0 for none. Most calls come from a stack that the thread had just
    /// before.
    recent: [Recent; RECENT],
    /// What the walk works with.
    room: Room,
    record: Record,
}

/// The record of a stack as it is sent.
#[repr(C)]
struct Record {
    /// Number of frames below.
    depth: u64,
    /// How the walk ended, as bits of `head`.
    end: u64,
    /// Head of the ring record, directly before the frames.
    head: u64,
    frames: [u64; FRAME_ROOM],
}

/// A recent stack of a thread.
#[repr(C)]
struct Recent {
    identity: u64,
    number: u64,
}

/// How many of them are kept, a power of two.
const RECENT: usize = 8;

impl Walker {
    /// The word at the top of the stack that was looked at last: the return address; 0 if it could not be read.
    ///
    /// # Safety
    /// `walker` is valid, and [`at_entry`] came before.
    #[inline(always)]
    pub unsafe fn top(walker: *const Walker) -> u64 {
        // SAFETY: the caller vouches for the walker.
        unsafe { entry::top(&raw const (*walker).room) }
    }
}

/// The number of the stack of a thread that has just entered a function, or 0 if it is not known.
///
/// # Safety
/// `regs` are the registers at the entry of a function, `known` a map value, `walker` in a map and the current thread's own.
#[inline(always)]
pub unsafe fn at_entry<R: Remarks>(
    regs: *const pt_regs,
    space: u16,
    known: *const Space,
    walker: *mut Walker,
) -> u32 {
    // SAFETY: the caller vouches for all pointers. The generation is read before the slot is: if another is published in
    // between, the walk is remembered for a generation that is over.
    unsafe {
        let generation = (&raw const (*known).generation).read_volatile();
        let slot = (&raw const (*known).slot).read_volatile();
        let steps = (*known).flags & CALLER_STEPS != 0;
        let place = Place { space, slot, generation, steps };
        let record = &raw mut (*walker).record;
        let frames = (&raw mut (*record).frames).cast::<u64>();
        let room = &raw mut (*walker).room;
        if let Some(number) = entry::recall(regs, place, room) {
            return number;
        }
        let found = entry::walk_at_entry(regs, place, frames, room);
        match found.end {
            End::LIMIT => count(R::TRUNCATED),
            End::UNREADABLE => count(R::SHORT),
            _ => {}
        }
        // Through memory: otherwise the verifier would follow the rest of the program once for every depth.
        (*record).depth = found.depth;
        let end = if slot == 0 { ENDED_SOMEHOW } else { found.end as u8 & 15 };
        (*record).end = u64::from(end) << 4 | u64::from(found.guessed) << 15;
        let identity = found.identity;
        if (&raw const (*record).depth).read_volatile() == 0 {
            return NO_STACK;
        }
        // A number is never given to another stack, so what the thread remembers stays true.
        let recent = (&raw mut (*walker).recent).cast::<Recent>().add(identity as usize & (RECENT - 1));
        if (*recent).identity == identity && (*recent).number != 0 {
            let number = (*recent).number as u32;
            if found.end != End::LIMIT && found.end != End::UNREADABLE {
                // Stacks that get a remark are counted each time.
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
        introduce::<R>(identity, space, record)
    }
}

/// Working memory of walks that begin where a thread was interrupted. It lies in a map.
#[repr(C)]
pub struct TaskWalker {
    registers: Registers,
    walk: Walk,
    record: Record,
}

/// The number of the stack with which the current thread entered the kernel, or 0 if it is not known.
///
/// # Safety
/// `known` is a map value, `walker` is in a map, and this call alone uses it.
#[inline(always)]
pub unsafe fn of_task<R: Remarks>(space: u16, known: *const Space, walker: *mut TaskWalker) -> u32 {
    // SAFETY: the caller vouches for all pointers.
    unsafe {
        let slot = (&raw const (*known).slot).read_volatile();
        let registers = &raw mut (*walker).registers;
        registers::take_of_task(registers);
        if !(*registers).are_walkable() {
            count(R::SHORT);
            return NO_STACK;
        }
        let record = &raw mut (*walker).record;
        let place = Place { space, slot, generation: 0, steps: false };
        let frames = (&raw mut (*record).frames).cast::<u64>();
        let found = registers::walk_from(registers, false, place, frames, &raw mut (*walker).walk);
        match found.end {
            End::LIMIT => count(R::TRUNCATED),
            End::UNREADABLE => count(R::SHORT),
            _ => {}
        }
        (*record).depth = found.depth;
        let end = if slot == 0 { ENDED_SOMEHOW } else { found.end as u8 & 15 };
        (*record).end = u64::from(end) << 4 | u64::from(found.guessed) << 15;
        if (&raw const (*record).depth).read_volatile() == 0 {
            return NO_STACK;
        }
        match STACK_NUMBERS.get_ptr_mut(found.identity) {
            Some(known) if *known & SENT != 0 => *known as u32,
            _ => introduce::<R>(found.identity, space, record),
        }
    }
}

/// Gives a new stack a number and sends its frames, or sends them again if they did not fit into the ring before.
#[inline(never)]
unsafe fn introduce<R: Remarks>(identity: u64, space: u16, record: *mut Record) -> u32 {
    // SAFETY: as for `at_entry`.
    unsafe {
        let number = match STACK_NUMBERS.get_ptr_mut(identity) {
            Some(known) => *known as u32,
            None => {
                let Some(number) = next_stack() else {
                    return without_number::<R>(space);
                };
                if STACK_NUMBERS.insert(identity, u64::from(number), BPF_NOEXIST).is_ok() {
                    number
                } else if let Some(known) = STACK_NUMBERS.get_ptr_mut(identity) {
                    *known as u32 // another CPU was faster
                } else {
                    return without_number::<R>(space);
                }
            }
        };
        let depth = (*record).depth.min(MAX_FRAMES as u64);
        let head = RecordHead { kind: RECORD_STACK, depth: depth as u8, space, stack: number };
        (*record).head = core::mem::transmute::<RecordHead, u64>(head) | (*record).end;
        if !ring::send((&raw const (*record).head).cast(), 8 + 8 * (depth & 127)) {
            count(R::RING_FULL);
            log::event(Event::StackRingFull, space.into(), number.into());
        } else if let Some(known) = STACK_NUMBERS.get_ptr_mut(identity) {
            *known = u64::from(number) | SENT;
        }
        number
    }
}

/// The result for a stack that gets no number.
#[inline(always)]
fn without_number<R: Remarks>(space: u16) -> u32 {
    count(R::TABLE_FULL);
    log::event(Event::StackTableFull, space.into(), 0);
    NO_STACK
}

/// A new stack number, or `None` when all are given out.
#[inline(always)]
fn next_stack() -> Option<u32> {
    let next = NEXT_STACK.get_ptr_mut(0)?;
    // SAFETY: a map value.
    let number = unsafe { atomic::take(next) } as u32 + 1; // 0 is NO_STACK
    if number < MAX_STACKS.load() { Some(number) } else { None }
}

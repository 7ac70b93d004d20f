//! Blocks that grow by realloc.
//!
//! What a block had before it grew has not been freed: it keeps its age and its stack, as one part of the block, and what is
//! added is another part. The newest part is in the table of live blocks, under the key of the block; those below are a list in
//! `PARTS`, whose head has the same key. Time is divided into steps (see `step_shift`), and all growth within one step is one
//! part, which has the age of the last growth in it. So lists stay short, and nothing looks older than it is. A block that grows
//! again within the step in which it was allocated counts as new. Of the parts of one stack, the lowest stands for the block.
//!
//! User space finds parts by their block. So if a block is lost, and counted as such, the rest of its list is not taken for live
//! memory.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use profiler_common::memleak::{
    Block, GREW, INHERITED, LATER, MAX_PARTS, Part, SIZE_BITS, part_key, stack_bit, step_shift,
};
use profiler_common::space::key_space;
use profiler_ebpf::atomic;

use crate::{
    free::died,
    maps::{NEXT_PART, PART_SHIFT, PARTS, SAMPLE_BYTES, Thread, now_units},
};

const BPF_ANY: u64 = 0;

/// Whether there are parts below this one: never in a sampled run, which keeps no parts.
#[inline(always)]
pub(crate) fn grew(block: Block) -> bool {
    SAMPLE_BYTES.load() == 0 && block.size_bytes & GREW != 0
}

/// Takes the list of a block's parts from under its key, for a realloc that may give the block another key.
///
/// # Safety
/// The thread's own state; it has just taken `old` out of the table.
#[inline(always)]
pub(crate) unsafe fn take_over(thread: *mut Thread) {
    // SAFETY: the caller vouches for the state, and a map value.
    unsafe {
        if !grew((*thread).old) {
            return;
        }
        match PARTS.get_ptr((*thread).old_key) {
            Some(part) => {
                (*thread).old_below = *part;
                let _ = PARTS.remove((*thread).old_key);
            }
            None => (*thread).old.size_bytes &= !GREW,
        }
    }
}

/// Gives the list back to the block that a failed realloc left as it was. Returns whether there was room.
///
/// # Safety
/// The thread's own state.
#[inline(always)]
pub(crate) unsafe fn put_back(thread: *mut Thread) -> bool {
    // SAFETY: the caller vouches for the state.
    unsafe { !grew((*thread).old) || PARTS.insert((*thread).old_key, (*thread).old_below, BPF_ANY).is_ok() }
}

/// What `end` still has to do: the key of the next part.
struct List {
    key: u64,
}

/// Removes the parts of a released block, from the one with this key down.
#[inline(never)]
pub(crate) fn end(key: u64) {
    let mut list = List { key };
    // SAFETY: the callback takes a list, and the loop ends before this does (Linux 5.17).
    unsafe { bpf_loop(MAX_PARTS, end_one as *mut c_void, (&raw mut list).cast(), 0) };
}

/// One part; 1 when there are no more.
#[inline(never)]
extern "C" fn end_one(_turn: u32, list: *mut c_void) -> i64 {
    // SAFETY: the list of `end`, which waits for this loop, and a map value.
    unsafe {
        let list = list.cast::<List>();
        let key = (*list).key;
        let Some(part) = PARTS.get_ptr(key) else { return 1 };
        let Part { block, below, .. } = *part;
        if PARTS.remove(key).is_err() {
            return 1;
        }
        died(block);
        (*list).key = below;
        i64::from(below == 0)
    }
}

/// Values of [`Thread::resized`]: what happens to the block that a realloc has taken over. There was none.
pub(crate) const NOTHING: u32 = 0;
/// It is released.
pub(crate) const RELEASED: u32 = 1;
/// It continues, with `old` as its newest part.
pub(crate) const KEPT: u32 = 2;
/// It should continue, but there is no room for its parts: it ends, and a new block begins.
pub(crate) const NO_ROOM: u32 = 3;
/// It continues without some of its parts, which have not been removed yet.
const SHRUNK: u32 = 4;
/// Value of [`Thread::size_bytes_left`]: not even the lowest part is left.
const NONE_LEFT: u64 = u64::MAX;
/// A stack that has no totals.
const NOBODY: u32 = u32::MAX;

/// Decides what happens to the block that a realloc has taken over, and notes it in `resized`. `goes_on`: the call has returned a
/// block, whose key this is. Separate functions do this, and leave their result in a map, so that the verifier follows the rest
/// once, and not for each path through them.
///
/// # Safety
/// The thread's own state.
#[inline(always)]
pub(crate) unsafe fn settle(thread: *mut Thread, key: u64, goes_on: bool) {
    // SAFETY: the caller vouches for the state.
    unsafe {
        if SAMPLE_BYTES.load() != 0 {
            // A sampled run samples each call by all of its bytes: what it adds to the existing block has no weight of its
            // own.
            died((*thread).old);
            (*thread).resized = RELEASED;
        } else {
            (*thread).resized = RELEASED;
            (*thread).size_bytes_left = NONE_LEFT;
            if goes_on {
                (*thread).resized = NO_ROOM;
                (*thread).ends.stack = NOBODY;
                change(thread, key);
                keep(thread, key);
                count_end(thread);
            }
            take_off_all(thread);
            shed(thread, key);
        }
        (*thread).old_key = 0;
    }
}

/// Keeps the list of parts under the key of the block.
#[inline(never)]
unsafe fn keep(thread: *mut Thread, key: u64) {
    // SAFETY: as for `settle`.
    unsafe {
        // There may already be a list, if the release of a block at this address was not seen. It is of no use.
        if (*thread).resized == KEPT
            && grew((*thread).old)
            && PARTS.insert(key, (*thread).old_below, BPF_ANY).is_err()
        {
            take_off(thread); // the part of this call: the call is counted where it begins a new block
            (*thread).resized = NO_ROOM;
            (*thread).size_bytes_left = NONE_LEFT;
        }
    }
}

/// Counts what ends although the block continues.
#[inline(never)]
unsafe fn count_end(thread: *mut Thread) {
    // SAFETY: as for `settle`.
    died(unsafe { (*thread).ends });
}

/// Removes the parts that are no longer needed.
#[inline(never)]
unsafe fn take_off_all(thread: *mut Thread) {
    // SAFETY: as for `settle`; the callback takes the thread's state, and the loop ends before this does.
    unsafe {
        let mut given = thread; // only what lies on the stack can be given
        bpf_loop(MAX_PARTS, take_one_off as *mut c_void, (&raw mut given).cast(), 0);
    }
}

/// Keeps what is left of a block that shrank.
#[inline(never)]
unsafe fn shed(thread: *mut Thread, key: u64) {
    // SAFETY: as for `settle`.
    unsafe {
        if (*thread).resized == SHRUNK {
            let marks = (*thread).old.size_bytes & !SIZE_BITS;
            let below_bytes = if marks & GREW != 0 { (*thread).old_below.total_bytes } else { 0 };
            (*thread).old.size_bytes = ((*thread).size_bytes_left - below_bytes) | marks;
            (*thread).resized = KEPT;
            if marks & GREW != 0 {
                // Its place is free: the list was there until this call.
                let _ = PARTS.insert(key, (*thread).old_below, BPF_ANY);
            }
        }
    }
}

/// Adds to the newest part, puts another one above it, or removes parts, if there is room.
#[inline(never)]
unsafe fn change(thread: *mut Thread, key: u64) {
    // SAFETY: as for `settle`.
    unsafe {
        let old = (*thread).old;
        let new = Block { size_bytes: (*thread).size_bytes, born_units: now_units(), stack: (*thread).stack };
        let own_bytes = old.size_bytes & SIZE_BITS;
        let mut resized = KEPT;
        let (mut below_bytes, mut below) = (0, 0);
        if old.size_bytes & GREW != 0 {
            (below_bytes, below) = ((*thread).old_below.total_bytes, (*thread).old_below.stacks);
        }
        let least = PART_SHIFT.load();
        let step = step_shift(least, new.born_units);
        let within = below == 0 || new.size_bytes > below_bytes; // a block of 0 bytes is one, too
        if within && old.born_units >> step == new.born_units >> step {
            // Growth within one step is one part. If steps are long, the end of the other part is not a sign of short
            // lifetimes.
            let goes_on = old.stack == new.stack || step > least;
            (*thread).ends = Block { size_bytes: old.size_bytes | (LATER * u64::from(goes_on)), ..old };
            let marks = old.size_bytes & (GREW | INHERITED) | later(below, new.stack);
            (*thread).old = Block { size_bytes: (new.size_bytes - below_bytes) | marks, ..new };
        } else if new.size_bytes > below_bytes + own_bytes {
            let stacks = below | stack_bit(old.stack);
            if !push(thread, key, below_bytes + own_bytes, stacks) {
                return;
            }
            let marks = GREW | later(stacks, new.stack);
            (*thread).old = Block { size_bytes: (new.size_bytes - below_bytes - own_bytes) | marks, ..new };
        } else if new.size_bytes > (below_bytes + own_bytes) / 2 {
            // The call gave nothing that was not there before.
            (*thread).ends = Block { size_bytes: LATER, ..new };
            resized = SHRUNK;
        } else {
            (*thread).resized = RELEASED; // most of it was
            return;
        }
        (*thread).size_bytes_left = new.size_bytes;
        (*thread).resized = resized;
    }
}

/// [`LATER`], if a part of this stack is among those below.
#[inline(always)]
fn later(below: u64, stack: u32) -> u64 {
    LATER * u64::from(below & stack_bit(stack) != 0)
}

/// Makes the newest part of a growing block one of those below. Returns whether there was room.
#[inline(always)]
unsafe fn push(thread: *mut Thread, key: u64, total_bytes: u64, stacks: u64) -> bool {
    // SAFETY: as for `settle`, and a map value.
    unsafe {
        let mut below = 0;
        if (*thread).old.size_bytes & GREW != 0 {
            let Some(next) = NEXT_PART.get_ptr_mut(0) else { return false };
            below = part_key(key_space(key), atomic::take(next));
            if PARTS.insert(below, (*thread).old_below, BPF_ANY).is_err() {
                return false;
            }
        }
        (*thread).old.size_bytes &= !GREW;
        (*thread).old_below = Part { block: (*thread).old, total_bytes, below, stacks };
        true
    }
}

/// Removes the newest part, until those below have less than `size_bytes_left`; 1 when they do.
#[inline(never)]
extern "C" fn take_one_off(_turn: u32, given: *mut c_void) -> i64 {
    // SAFETY: the state that `shed` gives, and a map value.
    unsafe {
        let thread = *given.cast::<*mut Thread>();
        let old = (*thread).old;
        let left = (*thread).size_bytes_left;
        let lowest = old.size_bytes & GREW == 0;
        if left != NONE_LEFT && (lowest || left > (*thread).old_below.total_bytes) {
            return 1;
        }
        died(old);
        if lowest {
            return 1;
        }
        take_off(thread);
        0
    }
}

/// Makes the part below the newest one the newest.
#[inline(always)]
unsafe fn take_off(thread: *mut Thread) {
    // SAFETY: as for `settle`, and a map value.
    unsafe {
        let Part { block, below, .. } = (*thread).old_below;
        (*thread).old = block;
        if below != 0
            && let Some(part) = PARTS.get_ptr(below)
        {
            (*thread).old_below = *part;
            let _ = PARTS.remove(below);
            (*thread).old.size_bytes |= GREW;
        }
    }
}

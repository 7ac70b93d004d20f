//! Blocks that grow by realloc.
//!
//! What a block had before it grew has not been freed: it keeps its age and its stack, as one part of the block, and what
//! is added is another part. The newest part is in the table of live blocks, under the key of the block; those below are
//! a list in `PARTS`, whose head has the same key. Time is cut into steps, an eighth of the age asked about or less, and
//! what comes within one step is one part, as old as the last of it: so a list stays short, and nothing looks older than
//! it is. A block that grows again within the step in which it was allocated counts as a new one.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use profiler_common::memleak::{Block, GREW, MAX_PARTS, Part, SIZE_BITS, key_space, part_key, step_shift};
use profiler_ebpf::atomic;

use crate::{
    free::{died, ended},
    maps::{NEXT_PART, PART_SHIFT, PARTS, SAMPLE_BYTES, Thread, now_units},
};

const BPF_NOEXIST: u64 = 1;

/// Whether there are parts below this one: never in a sampled run, which keeps no parts.
#[inline(always)]
pub(crate) fn grew(block: Block) -> bool {
    SAMPLE_BYTES.load() == 0 && block.size_bytes & GREW != 0
}

/// Takes the list of a block's parts from its key, for a realloc that may give the block another one.
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

/// Gives the list back to the block that a failed realloc has left as it was; whether there was room.
///
/// # Safety
/// The thread's own state.
#[inline(always)]
pub(crate) unsafe fn put_back(thread: *mut Thread) -> bool {
    // SAFETY: the caller vouches for the state.
    unsafe {
        !grew((*thread).old) || PARTS.insert((*thread).old_key, (*thread).old_below, BPF_NOEXIST).is_ok()
    }
}

/// Releases the block that a realloc has taken over.
///
/// # Safety
/// The thread's own state.
#[inline(always)]
pub(crate) unsafe fn end_old(thread: *mut Thread) {
    // SAFETY: the caller vouches for the state.
    unsafe {
        if SAMPLE_BYTES.load() != 0 {
            return died((*thread).old);
        }
        let (mut last, mut below) = ((*thread).old, 0);
        if grew(last) {
            let part = (*thread).old_below;
            ended(last, last.stack == part.block.stack);
            (last, below) = (part.block, part.below);
        }
        end(below, last.stack, last.born_units, true);
    }
}

/// What `end` has before it: the key of the next part, and the last one.
struct List {
    key: u64,
    last: Block,
    dies: u64,
}

/// Takes a list of parts out, from the one with this key down. The stack and the birth are those of the part above it.
/// `dies`: the block was released.
#[inline(never)]
pub(crate) fn end(key: u64, stack: u32, born_units: u32, dies: bool) {
    let mut list = List { key, last: Block { size_bytes: 0, born_units, stack }, dies: u64::from(dies) };
    // SAFETY: the callback takes a list, and the loop ends before this does (Linux 5.17).
    unsafe { bpf_loop(MAX_PARTS, end_one as *mut c_void, (&raw mut list).cast(), 0) };
    if dies {
        died(list.last);
    }
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
        if (*list).dies != 0 {
            ended((*list).last, (*list).last.stack == block.stack);
        }
        ((*list).key, (*list).last) = (below, block);
        i64::from(below == 0)
    }
}

/// Values of [`Thread::resized`]: see there.
pub(crate) const KEPT: u32 = 1;
pub(crate) const NO_ROOM: u32 = 2;

/// Puts the parts of a block that was reallocated into their places; the newest, which goes into the table, is left in `old`.
/// Where there is no room, what was there before has to end, and a new block begins.
///
/// A function of its own that says in a map what came of it: the verifier then follows the rest once, and not for each way
/// through this.
///
/// # Safety
/// The thread's own state; the call has returned a block, whose key this is.
#[inline(never)]
pub(crate) unsafe fn resize(thread: *mut Thread, key: u64) {
    // SAFETY: the caller vouches for the state.
    unsafe {
        // There may be a list already, if the release of a block at this address was not seen.
        let kept = change(thread, key)
            && (!grew((*thread).old) || PARTS.insert(key, (*thread).old_below, BPF_NOEXIST).is_ok());
        (*thread).resized = if kept { KEPT } else { NO_ROOM };
    }
}

/// Adds to the newest part, puts another one above it, or takes parts off; false where there is no room.
#[inline(always)]
unsafe fn change(thread: *mut Thread, key: u64) -> bool {
    // SAFETY: as for `resize`.
    unsafe {
        let old = (*thread).old;
        let new = Block { size_bytes: (*thread).size_bytes, born_units: now_units(), stack: (*thread).stack };
        let (own_bytes, mark) = (old.size_bytes & SIZE_BITS, old.size_bytes & GREW);
        let below_bytes = if mark != 0 { (*thread).old_below.total_bytes } else { 0 };
        let step = step_shift(PART_SHIFT.load(), new.born_units);
        let within = mark == 0 || new.size_bytes > below_bytes; // a block of 0 bytes is one, too
        if within && old.born_units >> step == new.born_units >> step {
            ended(old, old.stack == new.stack); // what comes in the same step is one part
            let marks = old.size_bytes & !SIZE_BITS;
            (*thread).old = Block { size_bytes: (new.size_bytes - below_bytes) | marks, ..new };
        } else if new.size_bytes > below_bytes + own_bytes {
            if !push(thread, key, below_bytes + own_bytes) {
                return false;
            }
            (*thread).old = Block { size_bytes: (new.size_bytes - below_bytes - own_bytes) | GREW, ..new };
        } else {
            ended(new, true); // the call gave nothing that was not there before
            cut(thread);
        }
        true
    }
}

/// Makes the newest part of a block that grows one of those below; whether there was room.
#[inline(always)]
unsafe fn push(thread: *mut Thread, key: u64, total_bytes: u64) -> bool {
    // SAFETY: as for `resize`, and a map value.
    unsafe {
        let mut below = 0;
        if (*thread).old.size_bytes & GREW != 0 {
            let Some(next) = NEXT_PART.get_ptr_mut(0) else { return false };
            below = part_key(key_space(key), atomic::take(next));
            if PARTS.insert(below, (*thread).old_below, BPF_NOEXIST).is_err() {
                return false;
            }
        }
        (*thread).old.size_bytes &= !GREW;
        (*thread).old_below = Part { block: (*thread).old, total_bytes, below };
        true
    }
}

/// Takes parts off a block that shrank, the newest first, until the rest has its size.
#[inline(always)]
unsafe fn cut(thread: *mut Thread) {
    // SAFETY: as for `resize`; the callback takes the thread's state, and the loop ends before this does.
    unsafe {
        let mut given = thread; // only what lies on the stack can be given
        bpf_loop(MAX_PARTS, cut_one as *mut c_void, (&raw mut given).cast(), 0);
        let marks = (*thread).old.size_bytes & !SIZE_BITS;
        let below_bytes = if marks & GREW != 0 { (*thread).old_below.total_bytes } else { 0 };
        (*thread).old.size_bytes = ((*thread).size_bytes - below_bytes) | marks;
    }
}

/// Takes the newest part off; 1 when it is needed.
#[inline(never)]
extern "C" fn cut_one(_turn: u32, given: *mut c_void) -> i64 {
    // SAFETY: the state that `cut` gives, and a map value.
    unsafe {
        let thread = *given.cast::<*mut Thread>();
        let Part { block, total_bytes, below } = (*thread).old_below;
        if (*thread).old.size_bytes & GREW == 0 || (*thread).size_bytes > total_bytes {
            return 1;
        }
        ended((*thread).old, (*thread).old.stack == block.stack);
        (*thread).old = block;
        if below != 0
            && let Some(part) = PARTS.get_ptr(below)
        {
            (*thread).old_below = *part;
            let _ = PARTS.remove(below);
            (*thread).old.size_bytes |= GREW;
        }
        0
    }
}

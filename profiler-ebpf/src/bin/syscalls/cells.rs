//! Counts the outcomes of calls.

use core::ptr;

use profiler_common::{
    event::Event,
    histogram::{BUCKETS, bucket},
    opaque::opaque,
    syscalls::{Cell, Counter, DIRECT_CALLS, ErrorKey, SharedKey, Thread},
};
use profiler_ebpf::{
    FIRST_ERROR, atomic, log,
    task::{comm, task, tid_of},
};

use crate::{
    errors::{add_errors, fail},
    look::is_to_be_looked_at,
    maps::{
        CELLS, FREE_CELLS, INDIRECT, MAX_CELLS, NEXT_CELL, NO_CELL, NUMBER_CALLS, SHARED, count, has_bit,
    },
    suspended::is_sigreturn,
    threads::{recorded, tally},
};

const BPF_NOEXIST: u64 = 1;
/// How often to try to replace the longest time in a cell that others write too.
const MAX_TRIES: usize = 4;

/// Adds a call that has returned to a cell that only this thread writes.
///
/// # Safety
/// `cell` is a map value, and the thread's own.
#[inline(always)]
pub(crate) unsafe fn add(cell: *mut Cell, duration_ns: u64, result: u64) {
    // SAFETY: the caller vouches for the cell; the index is that of a bucket.
    unsafe {
        (*cell).count += 1;
        (*cell).total_ns += duration_ns;
        if result < FIRST_ERROR {
            (*cell).results += result & (*cell).results_mask;
        }
        (*cell).zeros += u64::from(result == 0);
        if duration_ns > (*cell).max_ns {
            (*cell).max_ns = duration_ns;
        }
        let at = opaque(bucket(duration_ns) as u64) as usize;
        if at < BUCKETS {
            *(&raw mut (*cell).histogram).cast::<u64>().add(at) += 1;
        }
    }
}

/// The same for a cell that other threads write too.
#[inline(always)]
unsafe fn add_shared(cell: *mut Cell, duration_ns: u64, result: u64) {
    // SAFETY: as above.
    unsafe {
        atomic::add(&raw mut (*cell).count, 1);
        atomic::add(&raw mut (*cell).total_ns, duration_ns);
        if result < FIRST_ERROR {
            atomic::add(&raw mut (*cell).results, result & (*cell).results_mask);
        }
        atomic::add(&raw mut (*cell).zeros, u64::from(result == 0));
        raise(&raw mut (*cell).max_ns, duration_ns);
        let at = opaque(bucket(duration_ns) as u64) as usize;
        if at < BUCKETS {
            atomic::add((&raw mut (*cell).histogram).cast::<u64>().add(at), 1);
        }
    }
}

/// Makes a value in a map at least as large as another.
///
/// # Safety
/// `max` points to an aligned 64-bit value in a map.
#[inline(always)]
pub(crate) unsafe fn raise(max: *mut u64, value: u64) {
    for _ in 0..MAX_TRIES {
        // SAFETY: the caller vouches for the place.
        unsafe {
            let before = max.read_volatile();
            if value <= before || atomic::replace(max, before, value) {
                return;
            }
        }
    }
    count(Counter::MaxRaced);
}

/// The outcome of a call, as a number for records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate(u64);

impl Fate {
    /// It returned.
    pub(crate) const RETURNED: Fate = Fate(0);
    /// It returned, and was in progress at the start.
    pub(crate) const UNDER_WAY: Fate = Fate(1);
    /// It was refused before it began.
    pub(crate) const REFUSED: Fate = Fate(2);
    /// Its thread ended.
    pub(crate) const ENDED: Fate = Fate(3);

    /// The number in records.
    #[inline(always)]
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

/// Notes the end of the thread's last call, for [`finish`].
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn note(thread: *mut Thread, fate: Fate, result: i64, now_ns: u64) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*thread).fate = fate.0;
        (*thread).result = result as u64;
        (*thread).duration_ns = now_ns.wrapping_sub((*thread).start_ns);
    }
}

/// What was noted.
#[derive(Clone, Copy)]
struct Noted {
    call: u64,
    fate: Fate,
    result: u64,
    duration_ns: u64,
}

impl Noted {
    #[inline(always)]
    unsafe fn read(thread: *const Thread) -> Noted {
        // SAFETY: the caller vouches for the record.
        unsafe {
            Noted {
                call: (&raw const (*thread).call).read_volatile(),
                fate: Fate((&raw const (*thread).fate).read_volatile()),
                result: (&raw const (*thread).result).read_volatile(),
                duration_ns: (&raw const (*thread).duration_ns).read_volatile(),
            }
        }
    }

    /// Whether the call returned an error.
    #[inline(always)]
    fn has_failed(self) -> bool {
        self.fate != Fate::ENDED && self.result >= FIRST_ERROR && !is_sigreturn(self.call)
    }

    /// The number that a call returned, if it returns one.
    #[inline(always)]
    fn number(self) -> u64 {
        if self.fate == Fate::ENDED || self.result >= FIRST_ERROR { 0 } else { self.result }
    }
}

/// Counts the end of the current thread's last call, which was noted. Returns whether to look at it more closely.
///
/// Neither this step nor the others of these programs take pointers. So the verifier follows each step once, and not once for
/// every way in which the previous one may end; old kernels would look at several times as many instructions otherwise.
#[inline(never)]
pub(crate) fn finish() -> bool {
    let index = own_index();
    if index == 0 { finish_shared() } else { finish_own(index) }
}

/// Counts the call in a cell of its thread's own.
#[inline(never)]
fn finish_own(index: u32) -> bool {
    let Some(thread) = recorded(tid_of(task())) else { return false };
    let Some(cell) = CELLS.get_ptr_mut(index) else { return false };
    // SAFETY: the record of the current thread, and a cell that is its own.
    unsafe {
        let noted = Noted::read(thread);
        if noted.fate == Fate::RETURNED {
            add(cell, noted.duration_ns, noted.result);
        } else {
            add_other(cell, noted);
        }
        // Before the errors: otherwise the verifier would follow it once for each path through them.
        let is_wanted =
            noted.fate == Fate::RETURNED && is_to_be_looked_at(thread, noted.duration_ns, noted.result);
        if noted.has_failed() {
            fail(thread, cell, noted.result as i64);
        }
        is_wanted
    }
}

/// Counts the call in the cell that threads of this name share.
#[inline(never)]
fn finish_shared() -> bool {
    let Some(thread) = recorded(tid_of(task())) else { return false };
    // SAFETY: the record of the current thread; the cell is a map value.
    unsafe {
        let noted = Noted::read(thread);
        let cell = shared_cell(thread);
        if cell.is_null() {
            lose(thread, noted.fate);
            return false;
        }
        if noted.fate == Fate::RETURNED {
            add_shared(cell, noted.duration_ns, noted.result);
        } else {
            add_other(cell, noted);
        }
        let is_wanted =
            noted.fate == Fate::RETURNED && is_to_be_looked_at(thread, noted.duration_ns, noted.result);
        if noted.has_failed() {
            add_errors(thread, 0, noted.result.wrapping_neg(), 1);
        }
        is_wanted
    }
}

/// Counts a call whose beginning or end is not known.
#[inline(always)]
unsafe fn add_other(cell: *mut Cell, noted: Noted) {
    // SAFETY: the caller vouches for the cell.
    unsafe {
        match noted.fate {
            Fate::REFUSED => atomic::add(&raw mut (*cell).refused, 1),
            Fate::ENDED => atomic::add(&raw mut (*cell).ended, 1),
            _ => atomic::add(&raw mut (*cell).under_way, 1),
        }
        atomic::add(&raw mut (*cell).results, noted.number() & (*cell).results_mask);
    }
}

/// Counts that there was no memory for the cell of a call.
#[inline(always)]
unsafe fn lose(thread: *mut Thread, fate: Fate) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        // Each hit that the call has had is lost.
        if matches!(fate, Fate::RETURNED | Fate::ENDED) && (*thread).start_ns != 0 {
            tally(thread, Counter::EnterLostCell);
        }
        if fate != Fate::ENDED {
            tally(thread, Counter::ExitLostCell);
        }
        log::event(Event::CellRefused, (*thread).tid.into(), (*thread).call);
    }
}

/// Index of the current thread's own cell for its last call; 0 if no cell is left.
#[inline(never)]
fn own_index() -> u32 {
    let Some(thread) = recorded(tid_of(task())) else { return 0 };
    // SAFETY: the record of the current thread.
    unsafe {
        let call = (&raw const (*thread).call).read_volatile();
        let known = known_cell(thread, call);
        if known == 0 { new_cell(thread, call) } else { known }
    }
}

/// Where a record has the cell index of a native call.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn index_place(thread: *mut Thread, call: u64) -> *mut u16 {
    // SAFETY: the caller vouches for the record; the mask keeps the index within it.
    unsafe { (&raw mut (*thread).cells).cast::<u16>().add(opaque(call) as usize & (DIRECT_CALLS - 1)) }
}

/// The key of the cell index of any other call.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn indirect_key(thread: *mut Thread, call: u64) -> ErrorKey {
    // SAFETY: the caller vouches for the record.
    unsafe { ErrorKey { space: (*thread).space, tid: (*thread).tid, call, error: 0, comm: [0; 2] } }
}

/// Index of the cell of a call that the thread has made before, or 0.
#[inline(always)]
unsafe fn known_cell(thread: *mut Thread, call: u64) -> u32 {
    // SAFETY: the caller vouches for the record.
    unsafe {
        if call < DIRECT_CALLS as u64 {
            return index_place(thread, call).read_volatile().into();
        }
        INDIRECT.get(indirect_key(thread, call)).copied().unwrap_or(0)
    }
}

/// Index of a new cell for a call of the thread; 0 if none is left.
#[inline(always)]
unsafe fn new_cell(thread: *mut Thread, call: u64) -> u32 {
    let index = free_cell();
    let Some(cell) = CELLS.get_ptr_mut(index) else { return 0 };
    if index == 0 {
        return 0;
    }
    // SAFETY: the caller vouches for the record; the cell is a map value that nobody else has.
    unsafe {
        if call < DIRECT_CALLS as u64 {
            index_place(thread, call).write_volatile(index as u16);
        } else if INDIRECT.insert(indirect_key(thread, call), index, BPF_NOEXIST).is_err() {
            let _ = FREE_CELLS.push(index, 0);
            return 0;
        }
        (*cell).tid = (*thread).tid;
        describe(cell, thread);
        (*cell).next = (*thread).first_cell;
        (*thread).first_cell = index.into();
    }
    index
}

/// Index of a cell that no thread has; 0 if there is none.
#[inline(always)]
fn free_cell() -> u32 {
    if let Ok(Some(index)) = FREE_CELLS.pop() {
        return index;
    }
    let Some(next) = NEXT_CELL.get_ptr_mut(0) else { return 0 };
    let most = u64::from(MAX_CELLS.load());
    // SAFETY: a map value. Read first, so that the number does not grow without bound.
    unsafe {
        if next.read_volatile() + 1 >= most {
            return 0;
        }
        let index = atomic::take(next) + 1;
        if index < most { index as u32 } else { 0 }
    }
}

/// The cell of the call that threads of the current thread's name share; null if there is no memory.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(never)]
pub(crate) unsafe fn shared_cell(thread: *mut Thread) -> *mut Cell {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let space = (*thread).shared_space as u32;
        let key = SharedKey { space: space.into(), call: (*thread).call, comm: comm(task()) };
        if let Some(cell) = SHARED.get_ptr_mut(key) {
            return cell;
        }
        let Some(nothing) = NO_CELL.get_ptr(0) else { return ptr::null_mut() };
        let nothing: &Cell = &*nothing;
        // Another thread may be faster, and describe it in the same way.
        let _ = SHARED.insert(key, nothing, BPF_NOEXIST);
        let Some(cell) = SHARED.get_ptr_mut(key) else { return ptr::null_mut() };
        describe(cell, thread);
        (*cell).space = space;
        cell
    }
}

#[inline(always)]
unsafe fn describe(cell: *mut Cell, thread: *mut Thread) {
    // SAFETY: the caller vouches for both, and the record is the current thread's.
    unsafe {
        let call = (*thread).call;
        (*cell).space = (*thread).space;
        (*cell).call = call;
        (*cell).comm = comm(task());
        (*cell).results_mask = 0u64.wrapping_sub(has_bit(&NUMBER_CALLS, call).into());
    }
}

//! The record of the current thread.

use core::ptr;

use aya_ebpf::{
    macros::{btf_map, map},
    maps::{Array, Stack},
};
use profiler_common::{
    event::Event,
    io::{IoCounter, IoEnded, IoThread, OWN_NUMBERS, TURN_BUCKETS},
    opaque::opaque,
};

use super::{IoTool, settings};
use crate::{
    atomic,
    ledger::{count, count_more},
    log, space,
    task::{Task, TaskStorage, comm, is_candidate, task, tgid_of, tid_of},
};

const BPF_F_MMAPABLE: u32 = 1 << 10;

/// How many threads may be found by the low bits of their ids.
const SLOTS: usize = 1 << 13;

/// Flag in [`IO_RECORDS`]: the thread has entered a call, or returned from one, since the observation began.
const ENTERED: u64 = 1 << 32;
/// The number of the record of a thread in the low 32 bits (0: it has none), and [`ENTERED`].
#[btf_map]
static IO_RECORDS: TaskStorage<u64> = TaskStorage::new();
/// Records, from 1 on. The loader sets the size, and that of the next.
#[map]
static IO_THREADS: Array<IoThread> = Array::with_max_entries(2, BPF_F_MMAPABLE);
/// Records that were given back.
#[map]
static IO_FREE_THREADS: Stack<u32> = Stack::with_max_entries(2, 0);
/// How many records were given out, not counting reused ones.
#[map]
static IO_NEXT_THREAD: Array<u64> = Array::with_max_entries(1, 0);
/// What threads that have ended have cost.
#[map]
static IO_ENDED: Array<IoEnded> = Array::with_max_entries(1, 0);

/// Id of a thread that has a record, and in the upper half the number of the record, by the low bits of the id; 0: free. Of threads that share a
/// slot, one has it. Each takes and clears only its own. The section becomes a map of its own, which programs address without a lookup and
/// without a call of the kernel.
#[unsafe(link_section = ".bss.io_slots")]
#[unsafe(no_mangle)]
static mut IO_SLOTS: [u64; SLOTS] = [0; SLOTS];

/// The slot of a thread.
#[inline(always)]
fn slot(tid: u32) -> *mut u64 {
    // SAFETY: a map value; the mask keeps the index within it.
    unsafe { (&raw mut IO_SLOTS).cast::<u64>().add(opaque(tid.into()) as usize & (SLOTS - 1)) }
}

/// The record of a thread that has a slot, as all have but for those that share theirs.
#[inline(always)]
pub fn in_slot(tid: u32) -> Option<*mut IoThread> {
    // SAFETY: a map value.
    let found = unsafe { slot(tid).read_volatile() };
    if found as u32 == tid { IO_THREADS.get_ptr_mut((found >> 32) as u32) } else { None }
}

/// A thread no longer has its record.
#[inline(always)]
fn leave_slot(tid: u32) {
    let slot = slot(tid);
    // SAFETY: a map value, which nobody else changes as long as it has this thread.
    unsafe {
        if tid != 0 && slot.read_volatile() as u32 == tid {
            slot.write_volatile(0);
        }
    }
}

/// One of the numbers that the tool keeps of a thread.
///
/// # Safety
/// `thread` is its record; `place` is below their number.
#[inline(always)]
pub unsafe fn own(thread: *mut IoThread, place: usize) -> *mut u64 {
    // SAFETY: the caller vouches for both.
    unsafe { (&raw mut (*thread).own).cast::<u64>().add(place) }
}

/// The record of the current thread, if its process is observed. If there is none for it, the hit is counted as lost.
#[inline(always)]
pub fn current<T: IoTool>(task: Task) -> Option<*mut IoThread> {
    if let Some(thread) = in_slot(tid_of(task)) {
        return Some(thread);
    }
    let thread = without_slot::<T>(task);
    if thread.is_null() { None } else { Some(thread) }
}

/// The record of the current thread, if it has one.
#[inline(always)]
pub fn known() -> Option<*mut IoThread> {
    of_current(task())
}

/// The record of the current thread, which this task is, if it has one.
#[inline(always)]
pub fn of_current(task: Task) -> Option<*mut IoThread> {
    if let Some(thread) = in_slot(tid_of(task)) {
        return Some(thread);
    }
    described(IO_RECORDS.current()?)
}

/// The record of any thread, if it has one.
#[inline(always)]
pub fn of(task: Task) -> Option<*mut IoThread> {
    if let Some(thread) = in_slot(tid_of(task)) {
        return Some(thread);
    }
    described(IO_RECORDS.of(task)?)
}

/// The record with this number, unless it is to be described again.
#[inline(always)]
fn described(number: *const u64) -> Option<*mut IoThread> {
    // SAFETY: the number of a thread.
    let thread = IO_THREADS.get_ptr_mut(unsafe { *number } as u32)?;
    // SAFETY: record 0 belongs to no thread; others to this one.
    if unsafe { (*thread).tid } != 0 { Some(thread) } else { None }
}

/// The record of a thread without a slot, or a new one; null as for [`new`].
#[inline(never)]
fn without_slot<T: IoTool>(task: Task) -> *mut IoThread {
    match IO_RECORDS.current().and_then(|number| described(number)) {
        Some(thread) => thread,
        None => new::<T>(task),
    }
}

/// The record of a thread that has none yet, or whose record is to be described again. Null if its process is not observed, or if none is
/// left.
#[inline(always)]
fn new<T: IoTool>(task: Task) -> *mut IoThread {
    // SAFETY: a value in a section.
    if !is_candidate(task) || unsafe { (&raw const (*settings()).begun).read_volatile() } == 0 {
        return ptr::null_mut();
    }
    let tgid = tgid_of(task);
    let Some(space) = space::of_process(tgid) else { return ptr::null_mut() };
    let Some(known) = space::get(space) else { return ptr::null_mut() };
    // SAFETY: map values: a record belongs to this thread as soon as it is given out.
    unsafe {
        // A launched child that is not its command yet, or a process that got no number because none was left.
        if (&raw const (*known).execs_to_come).read_volatile()
            | (&raw const (*known).replaced).read_volatile()
            != 0
        {
            return ptr::null_mut();
        }
        let record = match IO_RECORDS.current() {
            Some(number) if *number as u32 == 0 => {
                *number = ENTERED | u64::from(free_record());
                *number as u32
            }
            Some(number) => *number as u32,
            None => 0,
        };
        let thread = if record == 0 { None } else { IO_THREADS.get_ptr_mut(record) };
        let Some(thread) = thread else {
            // Its return is not seen either.
            count(T::Counter::ENTERED);
            count(T::Counter::LOST_THREAD);
            log::event(Event::ThreadRefused, tid_of(task).into(), tgid.into());
            return ptr::null_mut();
        };
        (*thread).tgid = tgid;
        (*thread).space = space;
        (*thread).used = 1;
        (*thread).used_as = 0;
        (*thread).off_ns = 0;
        (*thread).held_ns = 0;
        (*thread).turned_ns = 0;
        (*thread).waited_in = 0;
        (*thread).waited_for = 0;
        (*thread).comm = comm(task);
        forget_turns(thread);
        let tid = tid_of(task);
        (*thread).tid = tid;
        // If it is taken, the thread goes on without.
        atomic::replace(slot(tid), 0, u64::from(tid) | u64::from(record) << 32);
        thread
    }
}

/// Whether the current thread is one of a target and returns from a call that it entered before the observation began. True at most once for
/// each thread.
#[inline(always)]
pub(super) fn was_in_call() -> bool {
    let task = task();
    // SAFETY: a value in a section.
    if !is_candidate(task) || unsafe { (&raw const (*settings()).begun).read_volatile() } == 0 {
        return false;
    }
    let Some(space) = space::of_process(tgid_of(task)) else { return false };
    let (Some(known), Some(number)) = (space::get(space), IO_RECORDS.current()) else { return false };
    // SAFETY: map values.
    unsafe {
        let is_first = *number == 0;
        *number |= ENTERED;
        // Not a launched child that is not its command yet, nor a process that got no number because none was left.
        is_first
            && (&raw const (*known).execs_to_come).read_volatile()
                | (&raw const (*known).replaced).read_volatile()
                == 0
    }
}

/// The number of a free record; 0 if there is none.
#[inline(always)]
fn free_record() -> u32 {
    if let Ok(Some(number)) = IO_FREE_THREADS.pop() {
        return number;
    }
    let Some(next) = IO_NEXT_THREAD.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value. Read first, so that the number does not grow without bound.
    unsafe {
        let last = next.read_volatile() as u32;
        if IO_THREADS.get_ptr(last + 1).is_none() {
            return 0;
        }
        let number = atomic::take(next) as u32 + 1;
        if IO_THREADS.get_ptr(number).is_none() { 0 } else { number }
    }
}

/// The current thread ends: its record is given back.
#[inline(always)]
pub fn ended<T: IoTool>() {
    if !is_candidate(task()) {
        return;
    }
    let (Some(number), Some(sums)) = (IO_RECORDS.current(), IO_ENDED.get_ptr_mut(0)) else { return };
    // SAFETY: the thread's own record and number, and a map value.
    unsafe {
        let record = *number as u32;
        if record == 0 {
            return;
        }
        *number = 0;
        let Some(thread) = IO_THREADS.get_ptr_mut(record) else { return };
        leave_slot((*thread).tid);
        if (*thread).used_as != 0 {
            count_more(T::Counter::ENDED_IN_CALL, 1);
        }
        atomic::add(&raw mut (*sums).calls, (*thread).calls);
        atomic::add(&raw mut (*sums).operations, (*thread).operations);
        atomic::add(&raw mut (*sums).walk_ns, (*thread).walk_ns);
        (*thread).tid = 0;
        (*thread).calls = 0;
        (*thread).operations = 0;
        (*thread).walk_ns = 0;
        (*thread).used_as = 0;
        (*thread).off_ns = 0;
        forget_turns(thread);
        let _ = IO_FREE_THREADS.push(record, 0);
    }
}

/// Forgets what a thread has done before it became another program, or what another one has done.
#[inline(always)]
unsafe fn forget_turns(thread: *mut IoThread) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        for place in 0..OWN_NUMBERS {
            (&raw mut (*thread).own).cast::<u64>().add(place).write_volatile(0);
        }
        for bucket in 0..TURN_BUCKETS {
            (&raw mut (*thread).turns).cast::<u32>().add(bucket).write_volatile(0);
            (&raw mut (*thread).turns_ns).cast::<u64>().add(bucket).write_volatile(0);
        }
    }
}

/// The current thread has become another program, perhaps with another id: its record is described again at its next call.
#[inline(always)]
pub fn execed() {
    if is_candidate(task())
        && let Some(thread) = known()
    {
        // SAFETY: the thread's own record.
        unsafe {
            leave_slot((*thread).tid);
            (*thread).tid = 0;
        }
    }
}

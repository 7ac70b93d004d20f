//! Finds the record of the current task.

use core::ptr;

use profiler_common::{
    event::Event,
    syscalls::{CHILDREN, Counter, IS_NEW, Thread, of_thread},
};
use profiler_ebpf::{
    atomic, log, space,
    task::{Task, comm, is_candidate, task, tgid_of, tid_of},
};

use crate::maps::{
    BEYOND, FREE_THREADS, MAX_THREADS, NEXT_THREAD, NO_THREAD, SLOT_MASK, SLOTS, THREADS, count, settings,
};

const BPF_NOEXIST: u64 = 1;

/// The record of the current thread, whose process may be observed; `None` if it is not. If there is no memory for the record of
/// an observed thread, the hit is counted as `lost`.
#[inline(always)]
pub(crate) fn current(task: Task, lost: Counter) -> Option<*mut Thread> {
    let tid = tid_of(task);
    if let Some(thread) = in_slot(tid) {
        return Some(thread);
    }
    let thread = beyond_or_new(tid, task, lost);
    if thread.is_null() { None } else { Some(thread) }
}

/// The record of a thread that has a slot.
#[inline(always)]
pub(crate) fn in_slot(tid: u32) -> Option<*mut Thread> {
    let slot = SLOTS.get_ptr(tid & SLOT_MASK.load())?;
    // SAFETY: a map value. What concerns a thread is only written by this thread.
    let slot = unsafe { slot.read_volatile() };
    if slot as u32 == tid { THREADS.get_ptr_mut((slot >> 32) as u32) } else { None }
}

/// The record of a thread that has one.
#[inline(always)]
pub(crate) fn recorded(tid: u32) -> Option<*mut Thread> {
    in_slot(tid).or_else(|| BEYOND.get_ptr_mut(tid))
}

/// The record of a thread without a slot: a new one, if its process is observed. Null if it is not, or if there is no memory.
#[inline(never)]
fn beyond_or_new(tid: u32, task: Task, lost: Counter) -> *mut Thread {
    if let Some(thread) = BEYOND.get_ptr_mut(tid) {
        return thread;
    }
    // SAFETY: a value in a section.
    if !is_candidate(task) || unsafe { (&raw const (*settings()).begun).read_volatile() } == 0 {
        return ptr::null_mut();
    }
    // SAFETY: the current task, and map values: a record belongs to this thread as soon as it is given out.
    unsafe {
        let tgid = tgid_of(task);
        let Some(number) = space::of_process(tgid) else { return ptr::null_mut() };
        let Some(space) = space::get(number) else { return ptr::null_mut() };
        // A launched child that is not its command yet, or a process that got no number because none was left.
        if (&raw const (*space).execs_to_come).read_volatile()
            | (&raw const (*space).replaced).read_volatile()
            != 0
        {
            return ptr::null_mut();
        }
        let child_of = (&raw const (*space).child_of).read_volatile();
        let shared = if child_of == 0 { number.into() } else { (child_of - 1) | u64::from(CHILDREN) };
        if let Some(thread) = with_slot(tid) {
            describe(thread, tid, tgid, number, shared, task);
            return thread;
        }
        if let Some(nothing) = NO_THREAD.get_ptr(0) {
            let nothing: &Thread = &*nothing;
            let _ = BEYOND.insert(tid, nothing, BPF_NOEXIST);
        }
        let Some(thread) = BEYOND.get_ptr_mut(tid) else {
            count(lost);
            log::event(Event::ThreadRefused, tid.into(), tgid.into());
            return ptr::null_mut();
        };
        describe(thread, tid, tgid, number, shared, task);
        thread
    }
}

/// A record for the thread in its slot, if a record is left and the slot is free.
#[inline(always)]
fn with_slot(tid: u32) -> Option<*mut Thread> {
    let slot = SLOTS.get_ptr_mut(tid & SLOT_MASK.load())?;
    // SAFETY: a map value; several threads may want the same slot.
    unsafe {
        if slot.read_volatile() != 0 {
            return None;
        }
        let number = free_record()?;
        if !atomic::replace(slot, 0, u64::from(tid) | u64::from(number) << 32) {
            // Another thread was faster.
            let _ = FREE_THREADS.push(number, 0);
            return None;
        }
        THREADS.get_ptr_mut(number)
    }
}

/// The number of a free record.
#[inline(always)]
fn free_record() -> Option<u32> {
    if let Ok(Some(number)) = FREE_THREADS.pop() {
        return Some(number);
    }
    let next = NEXT_THREAD.get_ptr_mut(0)?;
    let most = u64::from(MAX_THREADS.load());
    // SAFETY: a map value. Read first, so that the number does not grow without bound.
    unsafe {
        if next.read_volatile() + 1 >= most {
            return None;
        }
        let number = atomic::take(next) + 1;
        if number < most { Some(number as u32) } else { None }
    }
}

/// Counts the outcome of a hit.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn tally(thread: *mut Thread, counter: Counter) {
    // SAFETY: the caller vouches for the record; the counter is one of those that it has.
    unsafe { *(&raw mut (*thread).outcomes).cast::<u64>().add(of_thread(counter)) += 1 };
}

/// Marks the record as consistent again: the program is done with it. Each program that changes a record or its cells has counted
/// that it began.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn done(thread: *mut Thread) {
    atomic::barrier();
    // SAFETY: the caller vouches for the record.
    unsafe {
        let done = &raw mut (*thread).done;
        done.write_volatile(done.read_volatile() + 1);
    }
}

/// [`done`] for the record of the current thread, unless it is gone.
#[inline(never)]
pub(crate) fn all_done() {
    if let Some(thread) = recorded(tid_of(task())) {
        // SAFETY: the record of the current thread.
        unsafe { done(thread) };
    }
}

#[inline(always)]
unsafe fn describe(thread: *mut Thread, tid: u32, tgid: u32, space: u32, shared_space: u64, task: Task) {
    // SAFETY: the caller vouches for both.
    unsafe {
        (*thread).tid = tid;
        (*thread).tgid = tgid;
        (*thread).space = space;
        (*thread).shared_space = shared_space;
        (*thread).state = IS_NEW;
        (*thread).comm = comm(task);
    }
}

//! Threads that end, and programs that are replaced by others.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_loop;
use profiler_common::opaque::opaque;
use profiler_common::syscalls::{
    Counter, HAS_ENDED, HAS_EXECED, IN_CALL, MAX_SUSPENDED, OF_THREADS, Suspended, Thread, of_thread,
};
use profiler_ebpf::{
    atomic,
    task::{comm, is_candidate, task, tid_of},
};

use crate::{
    cells::{Fate, finish, note},
    fold,
    maps::{BEYOND, EXECED, FREE_THREADS, SLOT_MASK, SLOTS, THREADS, folds},
    threads::{done, in_slot, recorded, tally},
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// Programs that a thread was before and that give their room back.
const MOST_PROGRAMS: u32 = 8;

/// A thread ends.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exit")]
pub(crate) fn syscalls_thread_exit(_ctx: *mut c_void) -> i32 {
    let task = task();
    if !is_candidate(task) {
        return 0;
    }
    let Some(thread) = recorded(tid_of(task)) else { return 0 };
    // SAFETY: the thread's own record; the callbacks take nothing, and the loops end before this does.
    unsafe {
        (*thread).others += 1;
        atomic::barrier();
        (*thread).comm = comm(task);
        bpf_loop(1 + MAX_SUSPENDED as u32, end_one as *mut c_void, ptr::null_mut(), 0);
        bpf_loop(1 + MOST_PROGRAMS, retire_one as *mut c_void, ptr::null_mut(), 0);
    }
    0
}

/// Counts an unfinished call of the current thread, in progress or suspended; 1 when there are no more.
#[inline(never)]
extern "C" fn end_one(_turn: u32, _nothing: *mut c_void) -> i64 {
    let Some(thread) = recorded(tid_of(task())) else { return 1 };
    // SAFETY: the thread's own record; the mask keeps the index within it.
    unsafe {
        let depth = (&raw const (*thread).depth).read_volatile();
        if (*thread).state & IN_CALL != 0 {
            (*thread).state &= !IN_CALL;
        } else if depth == 0 {
            return 1;
        } else {
            let last = opaque(u64::from(depth - 1)) as usize & (MAX_SUSPENDED - 1);
            let suspended = (&raw const (*thread).suspended).cast::<Suspended>().add(last);
            (*thread).call = (*suspended).call;
            (*thread).start_ns = (*suspended).start_ns;
            (*thread).depth = depth - 1;
        }
        if (*thread).start_ns == 0 {
            tally(thread, Counter::EndedSinceBefore);
        }
        note(thread, Fate::ENDED, 0, 0);
    }
    finish();
    0
}

/// Closes the record of the current thread, if it continues in another address space. Returns whether it does.
#[inline(never)]
pub(crate) fn retire_after_exec() -> bool {
    let Some(thread) = recorded(tid_of(task())) else { return false };
    // SAFETY: the thread's own record.
    if unsafe { (*thread).state } & HAS_EXECED == 0 {
        return false;
    }
    // SAFETY: as above. Handlers in which the old program made the exec do not return to what they interrupted.
    unsafe {
        let depth = (&raw const (*thread).depth).read_volatile();
        if depth != 0 {
            let abandoned = of_thread(Counter::EnterAbandoned);
            *(&raw mut (*thread).outcomes).cast::<u64>().add(abandoned) += u64::from(depth);
            (*thread).depth = 0;
        }
    }
    keep_for_later();
    true
}

/// Closes the record of the current thread, which has one and continues in another address space. Its cells are given back when
/// the thread ends: if that happened here, the verifier would follow it in the program at the return of every call.
#[inline(never)]
fn keep_for_later() {
    let tid = tid_of(task());
    let number = own_number(tid);
    if number != 0
        && let Some(thread) = recorded(tid)
    {
        // SAFETY: the thread's own record; the value is copied at once.
        unsafe { (*thread).before = EXECED.get(tid).copied().unwrap_or(0).into() };
        let _ = EXECED.insert(tid, number, BPF_ANY);
    }
    close();
}

/// Retires the current thread, and then its records from before each exec, the last one first; 1 when there are no
/// more.
#[inline(never)]
extern "C" fn retire_one(turn: u32, _nothing: *mut c_void) -> i64 {
    let tid = tid_of(task());
    if turn != 0 && !take_up_earlier(tid) {
        return 1;
    }
    retire();
    0
}

/// Gives the current thread, which has retired, the record that it had before its last exec. False if there is none.
#[inline(always)]
fn take_up_earlier(tid: u32) -> bool {
    // SAFETY: the value is copied at once.
    let Some(number) = (unsafe { EXECED.get(tid).copied() }) else { return false };
    let (Some(slot), Some(thread)) = (SLOTS.get_ptr_mut(tid & SLOT_MASK.load()), THREADS.get_ptr_mut(number))
    else {
        return false;
    };
    // SAFETY: map values; nobody else has the record. Another thread may have taken the slot.
    unsafe {
        let before = (&raw const (*thread).before).read_volatile() as u32;
        if before == 0 {
            let _ = EXECED.remove(tid);
        } else {
            let _ = EXECED.insert(tid, before, BPF_ANY);
        }
        (*thread).before = 0;
        if !fold::is_wanted() || !atomic::replace(slot, 0, u64::from(tid) | u64::from(number) << 32) {
            return false;
        }
        (*thread).others += 1;
        atomic::barrier();
    }
    true
}

/// Closes the record of the current thread, which has one, and keeps its cells.
#[inline(never)]
fn close() {
    let tid = tid_of(task());
    let Some(thread) = recorded(tid) else { return };
    // SAFETY: the thread's own record.
    unsafe {
        (*thread).state = HAS_ENDED;
        if own_number(tid) != 0 {
            done(thread);
            return free_slot(tid);
        }
    }
    leave_beyond(tid);
}

/// Closes the record of the current thread, which has one and has ended.
#[inline(never)]
fn retire() {
    let tid = tid_of(task());
    let number = own_number(tid);
    if !fold::is_wanted() {
        return close();
    }
    // SAFETY: a value in a section.
    unsafe { atomic::add(&raw mut (*folds()).begun, 1) };
    let is_empty = fold::fold_cells();
    if number == 0 {
        leave_beyond(tid);
    } else {
        let Some(thread) = recorded(tid) else { return };
        // SAFETY: the thread's own record.
        unsafe {
            (*thread).state = HAS_ENDED;
            if is_empty {
                fold::fold_record(thread);
            } else {
                done(thread);
            }
        }
        free_slot(tid);
        if is_empty {
            let _ = FREE_THREADS.push(number, 0);
        }
    }
    // SAFETY: a value in a section.
    unsafe { atomic::add(&raw mut (*folds()).done, 1) };
}

/// Removes the record of the current thread, which is found by hashing.
#[inline(never)]
fn leave_beyond(tid: u32) {
    // SAFETY: a value in a section.
    unsafe { atomic::add(&raw mut (*folds()).begun, 1) };
    if let Some(thread) = BEYOND.get_ptr_mut(tid) {
        // SAFETY: the thread's own record.
        unsafe { fold::fold_record(thread) };
        let _ = BEYOND.remove(tid);
    }
    // SAFETY: as above.
    unsafe { atomic::add(&raw mut (*folds()).done, 1) };
}

/// The number of the record in the slot of the current thread; 0 if it has none there.
#[inline(always)]
fn own_number(tid: u32) -> u32 {
    let Some(slot) = SLOTS.get_ptr(tid & SLOT_MASK.load()) else { return 0 };
    // SAFETY: a map value. What concerns a thread is only written by this thread.
    let slot = unsafe { slot.read_volatile() };
    if slot as u32 == tid { (slot >> 32) as u32 } else { 0 }
}

/// Frees the slot of the current thread, which has one.
#[inline(always)]
fn free_slot(tid: u32) {
    if let Some(slot) = SLOTS.get_ptr_mut(tid & SLOT_MASK.load()) {
        // SAFETY: a map value, and this thread's own.
        unsafe { slot.write_volatile(0) };
    }
}

/// A process replaces its program: (task, previous thread id, program). If another thread than the first one does so, it takes
/// over the id of the first thread, which has ended.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exec")]
pub(crate) fn syscalls_exec(ctx: *mut c_void) -> i32 {
    // SAFETY: an argument of this tracepoint.
    let before = unsafe { ctx.cast::<u64>().add(1).read_volatile() } as u32;
    let task = task();
    if !is_candidate(task) {
        return 0;
    }
    let Some(thread) = recorded(before) else { return 0 };
    // SAFETY: the thread's own record, and a value in a section.
    unsafe {
        (*thread).state |= HAS_EXECED;
        atomic::add(&raw mut (*folds()).begun, 1);
    }
    let now = tid_of(task);
    if before != now {
        move_record(before, now);
    }
    // SAFETY: as above.
    unsafe { atomic::add(&raw mut (*folds()).done, 1) };
    0
}

/// Moves the record: the current thread has a new id.
#[inline(never)]
fn move_record(before: u32, now: u32) -> u32 {
    let has_slot = in_slot(before).is_some();
    let Some(thread) = recorded(before) else { return 0 };
    // SAFETY: the thread's own record, and map values.
    unsafe {
        (*thread).tid = now;
        let record: &Thread = &*thread;
        let Some(slot) = SLOTS.get_ptr_mut(before & SLOT_MASK.load()) else { return 0 };
        if !has_slot {
            let _ = BEYOND.insert(now, record, BPF_NOEXIST);
            let _ = BEYOND.remove(before);
            return 0;
        }
        let held = slot.read_volatile();
        slot.write_volatile(0);
        let Some(to) = SLOTS.get_ptr_mut(now & SLOT_MASK.load()) else { return 0 };
        if !atomic::replace(to, 0, held >> 32 << 32 | u64::from(now)) {
            let _ = BEYOND.insert(now, record, BPF_NOEXIST);
            // The counts continue there.
            forget(thread);
        }
    }
    0
}

/// Empties a record that continues elsewhere. Its number is not given out again.
#[inline(always)]
unsafe fn forget(thread: *mut Thread) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*thread).tid = 0;
        (*thread).enters = 0;
        (*thread).exits = 0;
        (*thread).others = 0;
        (*thread).done = 0;
        (*thread).walk_ns = 0;
        (*thread).first_cell = 0;
        for place in 0..OF_THREADS.len() {
            (&raw mut (*thread).outcomes).cast::<u64>().add(place).write_volatile(0);
        }
        (*thread).state = HAS_ENDED;
    }
}

//! Threads that end, and programs that are replaced by others.

use core::ffi::c_void;

use profiler_common::syscalls::{Counter, HAS_ENDED, HAS_EXECED, IN_CALL, MAX_SUSPENDED, Suspended, Thread};
use profiler_ebpf::atomic;

use crate::{
    cells::{Fate, finish},
    maps::{BEYOND, SLOT_MASK, SLOTS, count, count_more},
    threads::{comm, in_slot, is_candidate, recorded, task, tid_of},
};

const BPF_NOEXIST: u64 = 1;

/// A thread ends.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exit")]
pub(crate) fn syscalls_thread_exit(_ctx: *mut c_void) -> i32 {
    let task = task();
    if !is_candidate(task) {
        return 0;
    }
    let Some(thread) = recorded(tid_of(task)) else { return 0 };
    // SAFETY: the thread's own record.
    unsafe {
        (*thread).comm = comm(task);
        if (*thread).state & IN_CALL != 0 {
            end(thread);
        }
        for number in 0..MAX_SUSPENDED {
            if (&raw const (*thread).depth).read_volatile() as usize > number {
                let suspended = (&raw const (*thread).suspended).cast::<Suspended>().add(number);
                (*thread).call = (*suspended).call;
                (*thread).start_ns = (*suspended).start_ns;
                end(thread);
            }
        }
        (*thread).depth = 0;
        retire(thread);
    }
    0
}

/// Counts the thread's last call as one that does not return.
#[inline(never)]
unsafe fn end(thread: *mut Thread) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        if (*thread).start_ns == 0 {
            count(Counter::EndedSinceBefore);
        }
        finish(thread, Fate::ENDED, 0, 0);
    }
}

/// Closes the record of the current thread: it has ended, or goes on in another address space.
///
/// # Safety
/// `thread` is that record.
#[inline(never)]
pub(crate) unsafe fn retire(thread: *mut Thread) {
    let tid = tid_of(task());
    // SAFETY: the caller vouches for the record; a slot with the thread's id is the thread's own.
    unsafe {
        (*thread).state = HAS_ENDED;
        let Some(slot) = SLOTS.get_ptr_mut(tid & SLOT_MASK.load()) else { return };
        if slot.read_volatile() as u32 == tid {
            slot.write_volatile(0);
        } else {
            count_more(Counter::EnterHits, (*thread).enters);
            count_more(Counter::ExitHits, (*thread).exits);
            let _ = BEYOND.remove(tid);
        }
    }
}

/// A program is replaced by another: (task, thread id before, program). If it is not the first thread that does so, it takes over the
/// id of the first thread, which has ended.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exec")]
pub(crate) fn syscalls_exec(ctx: *mut c_void) -> i32 {
    // SAFETY: an argument of this tracepoint.
    let before = unsafe { ctx.cast::<u64>().add(1).read_volatile() } as u32;
    let task = task();
    if !is_candidate(task) {
        return 0;
    }
    let now = tid_of(task);
    let has_slot = in_slot(before).is_some();
    let Some(thread) = recorded(before) else { return 0 };
    // SAFETY: the thread's own record, and map values.
    unsafe {
        (*thread).state |= HAS_EXECED;
        if before == now {
            return 0;
        }
        (*thread).tid = now;
        let Some(slot) = SLOTS.get_ptr_mut(before & SLOT_MASK.load()) else { return 0 };
        if !has_slot {
            let _ = BEYOND.insert(now, &*thread, BPF_NOEXIST);
            let _ = BEYOND.remove(before);
            return 0;
        }
        let held = slot.read_volatile();
        slot.write_volatile(0);
        let Some(to) = SLOTS.get_ptr_mut(now & SLOT_MASK.load()) else { return 0 };
        if !atomic::replace(to, 0, held >> 32 << 32 | u64::from(now)) {
            let _ = BEYOND.insert(now, &*thread, BPF_NOEXIST);
            // What it counted goes on there.
            (*thread).enters = 0;
            (*thread).exits = 0;
            (*thread).state = HAS_ENDED;
        }
    }
    0
}

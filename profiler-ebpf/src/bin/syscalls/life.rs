//! Threads that end, and programs that are replaced by others.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_loop;
use profiler_common::opaque::opaque;
use profiler_common::syscalls::{Counter, HAS_ENDED, HAS_EXECED, IN_CALL, MAX_SUSPENDED, Suspended, Thread};
use profiler_ebpf::atomic;

use crate::{
    cells::{Fate, finish, note},
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
    // SAFETY: the thread's own record; the callback takes nothing, and the loop ends before this does.
    unsafe {
        (*thread).comm = comm(task);
        bpf_loop(1 + MAX_SUSPENDED as u32, end_one as *mut c_void, ptr::null_mut(), 0);
    }
    retire();
    0
}

/// Counts a call of the current thread that does not return, be it under way or suspended; 1 when there are no more.
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
            count(Counter::EndedSinceBefore);
        }
        note(thread, Fate::ENDED, 0, 0);
    }
    finish();
    0
}

/// Closes the record of the current thread, if it goes on in another address space; whether it does.
#[inline(never)]
pub(crate) fn retire_after_exec() -> bool {
    let Some(thread) = recorded(tid_of(task())) else { return false };
    // SAFETY: the thread's own record.
    if unsafe { (*thread).state } & HAS_EXECED == 0 {
        return false;
    }
    retire();
    true
}

/// Closes the record of the current thread, which has one: it has ended, or goes on in another address space.
#[inline(never)]
fn retire() {
    let tid = tid_of(task());
    let Some(thread) = recorded(tid) else { return };
    // SAFETY: the thread's own record; a slot with the thread's id is the thread's own.
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
            // What it counted goes on there.
            (*thread).enters = 0;
            (*thread).exits = 0;
            (*thread).state = HAS_ENDED;
        }
    }
    0
}

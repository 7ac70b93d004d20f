//! Faults of mapped files for which a thread has to wait: those that the kernel calls major.
//!
//! A tracepoint shows when the kernel looks for a page of a file (Linux 6.11), and an event of perf when a major fault is over, with the
//! address. Faults that find their page at once cost nothing: a few of them pass the tracepoint, and the event does not count them.

use core::{ffi::c_void, mem::offset_of};

use aya_ebpf::{Global, bindings::bpf_perf_event_data, helpers::generated::bpf_ktime_get_ns};
use profiler_common::{
    disk::{Counter, FAULT_CALLS, FAULT_FETCHED, FAULT_MARK, FAULT_START},
    io::{OF_OTHER_KIND, unknown},
};
use profiler_ebpf::{
    file::{known, mapped},
    io::{
        IO_KINDS, TASK_FETCHED,
        aside::{self, Ended},
        thread::{self, own},
    },
    ledger::count,
    task::{Task, comm, is_candidate, task},
    threads,
};

use crate::programs::{Disk, once};

/// `task_struct.min_flt`, in bytes, and the next one.
#[unsafe(no_mangle)]
static TASK_MINOR: Global<u64> = Global::new(0);
/// `task_struct.maj_flt`
#[unsafe(no_mangle)]
static TASK_MAJOR: Global<u64> = Global::new(0);
/// How such a fault is counted, as [`CallUse`](profiler_common::io::CallUse) has it.
#[unsafe(no_mangle)]
static FAULT_USE: Global<u64> = Global::new(0);
/// 1 if the kernel has the tracepoint.
#[unsafe(no_mangle)]
static HAS_FAULT_START: Global<u32> = Global::new(0);

/// How many faults of a thread are over.
#[inline(always)]
fn faults(task: Task) -> u64 {
    task.member::<u64>(TASK_MINOR.load()).wrapping_add(task.member(TASK_MAJOR.load()))
}

/// What a thread has fetched from devices, in bytes; 0 if the kernel does not count it.
#[inline(always)]
fn fetched(task: Task) -> u64 {
    match TASK_FETCHED.load() {
        0 => 0,
        offset => task.member(offset),
    }
}

/// The kernel looks for a page of a file: (the file's pages, number of the page). It does so again in the same fault after it has waited.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/mm_filemap_fault")]
pub(crate) fn disk_fault(_ctx: *mut c_void) -> i32 {
    let task = task();
    if threads::may_be(task)
        && let Some(thread) = thread::current::<Disk>(task)
    {
        // SAFETY: the thread's own record, and a helper without arguments.
        unsafe {
            let mark = faults(task);
            let calls = (*thread).calls;
            let is_same = *own(thread, FAULT_MARK) == mark && *own(thread, FAULT_CALLS) == calls;
            if !is_same || *own(thread, FAULT_START) == 0 {
                *own(thread, FAULT_START) = bpf_ktime_get_ns();
                *own(thread, FAULT_MARK) = mark;
                *own(thread, FAULT_CALLS) = calls;
                *own(thread, FAULT_FETCHED) = fetched(task);
            }
        }
    }
    0
}

/// A major fault of any thread is over.
#[unsafe(no_mangle)]
#[unsafe(link_section = "perf_event")]
pub(crate) fn disk_faulted(ctx: *mut c_void) -> i32 {
    if is_candidate(task()) {
        // SAFETY: a word of the context.
        ended(unsafe { ctx.cast::<u64>().add(offset_of!(bpf_perf_event_data, addr) / 8).read_volatile() });
    }
    0
}

#[inline(always)]
fn ended(address: u64) {
    // Without a record it belongs to no target, or there was no room for one, which is counted.
    if thread::current::<Disk>(task()).is_none() {
        return;
    }
    count(Counter::FaultHits);
    if !begin() {
        return count(Counter::FaultSwapped);
    }
    if !find(address) {
        return count(Counter::FaultOther);
    }
    count(if aside::finish_here::<Disk>() { Counter::FaultCounted } else { Counter::FaultLost });
}

/// Begins the record of a fault that is over. Returns whether a page of a file was looked for in it: otherwise it was one that had been
/// swapped out.
#[inline(never)]
fn begin() -> bool {
    let Some(thread) = thread::known() else { return false };
    let task = task();
    // SAFETY: the thread's own record, and a helper without arguments.
    unsafe {
        let end_ns = bpf_ktime_get_ns();
        let start_ns = *own(thread, FAULT_START);
        // The kernel has counted it just now.
        let is_this = start_ns != 0
            && *own(thread, FAULT_MARK) == faults(task).wrapping_sub(1)
            && *own(thread, FAULT_CALLS) == (*thread).calls;
        *own(thread, FAULT_START) = 0;
        if !is_this && HAS_FAULT_START.load() != 0 {
            return false;
        }
        let ended = Ended {
            tid: (*thread).tid,
            space: (*thread).space,
            comm: comm(task),
            used_as: FAULT_USE.load(),
            // Without the tracepoint, user space knows that the time means nothing.
            start_ns: if is_this { start_ns } else { end_ns },
            end_ns,
            result: 0,
        };
        let Some(record) = aside::begin(&ended) else { return false };
        if is_this && TASK_FETCHED.load() != 0 {
            (*record).fetched = fetched(task).wrapping_sub(*own(thread, FAULT_FETCHED));
        }
    }
    true
}

/// Finds the file at the address. Returns whether it is of a kind that is counted.
#[inline(never)]
fn find(address: u64) -> bool {
    let path = once::disk_mapped_at(address);
    let Some(record) = aside::record() else { return false };
    // SAFETY: the record that was begun, and a helper without arguments.
    unsafe {
        let file = match mapped::why_not(path) {
            Some(why) => unknown(why),
            None => known::find(path, IO_KINDS.load(), bpf_ktime_get_ns()).0,
        };
        (&raw mut (*record).files).cast::<u32>().write_volatile(file);
        file != OF_OTHER_KIND
    }
}

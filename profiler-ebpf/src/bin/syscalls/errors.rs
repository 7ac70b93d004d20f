//! Counts the errors of calls: a few kinds in the cell of the call, others in the table of errors.

use profiler_common::{
    event::Event,
    syscalls::{CELL_ERRORS, Cell, Counter, ErrorKey, Thread},
};
use profiler_ebpf::{
    atomic, log,
    task::{comm, task},
};

use crate::maps::{ERRORS, count_more};

const BPF_NOEXIST: u64 = 1;

/// Counts an error in a cell of the thread.
///
/// # Safety
/// `thread` is the record of the current thread, and `cell` one of its own.
#[inline(always)]
pub(crate) unsafe fn fail(thread: *mut Thread, cell: *mut Cell, result: i64) {
    let error = result.wrapping_neg() as u64;
    // SAFETY: the caller vouches for both.
    unsafe {
        let (errors, counts) =
            ((&raw mut (*cell).errors).cast::<u64>(), (&raw mut (*cell).error_counts).cast::<u64>());
        for place in 0..CELL_ERRORS {
            let there = errors.add(place).read_volatile();
            if there == 0 {
                errors.add(place).write_volatile(error);
            }
            if there == 0 || there == error {
                *counts.add(place) += 1;
                return;
            }
        }
        add_errors(thread, (*thread).tid, error, 1);
    }
}

/// Counts errors in the table of errors.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(never)]
pub(crate) unsafe fn add_errors(thread: *mut Thread, tid: u32, error: u64, more: u64) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let space = if tid == 0 { (*thread).shared_space as u32 } else { (*thread).space };
        let key = ErrorKey { space, tid, call: (*thread).call, error, comm: comm(task()) };
        if ERRORS.get_ptr_mut(key).is_none() {
            let _ = ERRORS.insert(key, 0, BPF_NOEXIST);
        }
        match ERRORS.get_ptr_mut(key) {
            Some(counted) => atomic::add(counted, more),
            None => {
                count_more(Counter::ErrorLost, more);
                log::event(Event::ErrorRefused, tid.into(), (*thread).call);
            }
        }
    }
}

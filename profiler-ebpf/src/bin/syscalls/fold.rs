//! Threads that have ended give their cells back: the counts are added to the shared cells of their name.

use core::{ffi::c_void, mem::offset_of, ptr};

use aya_ebpf::helpers::generated::bpf_loop;
use profiler_common::{
    histogram::BUCKETS,
    opaque::opaque,
    syscalls::{CELL_ERRORS, Cell, Counter, DIRECT_CALLS, OF_THREADS, Thread},
};
use profiler_ebpf::{
    atomic,
    task::{task, tid_of},
};

use crate::{
    cells::{index_place, indirect_key, raise, shared_cell},
    errors::add_errors,
    maps::{CELLS, FREE_CELLS, INDIRECT, MAX_CELLS, MAX_THREADS, NEXT_CELL, NEXT_THREAD, count_more},
    threads::recorded,
};

/// How many cells a thread may have: more than there are calls.
const MOST_CELLS: u32 = 1 << 11;
/// How many buckets one turn of the kernel's loop adds: the verifier looks at one turn.
const BUCKETS_AT_A_TIME: usize = 16;
const _: () = assert!(BUCKETS.is_multiple_of(BUCKETS_AT_A_TIME), "no bucket is left over");

/// Whether half of the room for threads or cells is in use. Until then, threads that have ended keep their cells.
#[inline(always)]
pub(crate) fn is_wanted() -> bool {
    let (Some(cells), Some(threads)) = (NEXT_CELL.get_ptr(0), NEXT_THREAD.get_ptr(0)) else { return false };
    // SAFETY: map values.
    unsafe {
        2 * cells.read_volatile() >= MAX_CELLS.load().into()
            || 2 * threads.read_volatile() >= MAX_THREADS.load().into()
    }
}

/// Adds the current thread's cells to those of its name, and frees them. Returns whether none is left.
#[inline(never)]
pub(crate) fn fold_cells() -> bool {
    // SAFETY: the callback takes nothing, and the loop ends before this does.
    unsafe { bpf_loop(MOST_CELLS, fold_one as *mut c_void, ptr::null_mut(), 0) };
    let Some(thread) = recorded(tid_of(task())) else { return false };
    // SAFETY: the thread's own record.
    unsafe { (&raw const (*thread).first_cell).read_volatile() == 0 }
}

/// Moves the counters of a record, which another thread is going to use, to the ledger.
///
/// # Safety
/// `thread` is the record of the current thread, which has ended.
#[inline(always)]
pub(crate) unsafe fn fold_record(thread: *mut Thread) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        count_more(Counter::EnterHits, (*thread).enters);
        count_more(Counter::ExitHits, (*thread).exits);
        (*thread).enters = 0;
        (*thread).exits = 0;
        (*thread).others = 0;
        (*thread).done = 0;
        (*thread).walk_ns = 0;
        for (place, counter) in OF_THREADS.into_iter().enumerate() {
            let counted = (&raw mut (*thread).outcomes).cast::<u64>().add(place);
            let more = counted.read_volatile();
            if more != 0 {
                count_more(counter, more);
                counted.write_volatile(0);
            }
        }
        (*thread).tid = 0;
        (*thread).depth = 0;
        (*thread).kernel_clocks = 0;
    }
}

struct Histograms {
    from: *mut u64,
    to: *mut u64,
}

/// Folds the first cell of the current thread; 1 if there is none, or no memory for the shared cell.
#[inline(never)]
extern "C" fn fold_one(_turn: u32, _nothing: *mut c_void) -> i64 {
    let Some(thread) = recorded(tid_of(task())) else { return 1 };
    // SAFETY: the thread's own record, its own cell, and a map value that others write too.
    unsafe {
        let index = (&raw const (*thread).first_cell).read_volatile() as u32;
        if index == 0 {
            return 1;
        }
        let Some(cell) = CELLS.get_ptr_mut(index) else { return 1 };
        let call = (&raw const (*cell).call).read_volatile();
        (*thread).call = call;
        let shared = shared_cell(thread);
        if shared.is_null() {
            return 1;
        }
        add_all(shared, cell);
        bpf_loop(CELL_ERRORS as u32, fold_error as *mut c_void, ptr::null_mut(), 0);
        if call < DIRECT_CALLS as u64 {
            index_place(thread, call).write_volatile(0);
        } else {
            let _ = INDIRECT.remove(indirect_key(thread, call));
        }
        (*thread).first_cell = (&raw const (*cell).next).read_volatile();
        (*cell).tid = 0;
        let _ = FREE_CELLS.push(index, 0);
    }
    0
}

/// Adds a cell to another one that others write too, and empties it.
#[inline(always)]
unsafe fn add_all(to: *mut Cell, from: *mut Cell) {
    /// Where the sums of a cell are.
    const SUMS: [usize; 7] = [
        offset_of!(Cell, count),
        offset_of!(Cell, total_ns),
        offset_of!(Cell, results),
        offset_of!(Cell, zeros),
        offset_of!(Cell, ended),
        offset_of!(Cell, under_way),
        offset_of!(Cell, refused),
    ];
    // SAFETY: the caller vouches for both.
    unsafe {
        for sum in SUMS {
            let (to, from) = (to.byte_add(sum).cast::<u64>(), from.byte_add(sum).cast::<u64>());
            atomic::add(to, from.read_volatile());
            from.write_volatile(0);
        }
        raise(&raw mut (*to).max_ns, (*from).max_ns);
        (*from).max_ns = 0;
        let mut histograms =
            Histograms { from: (&raw mut (*from).histogram).cast(), to: (&raw mut (*to).histogram).cast() };
        bpf_loop(
            (BUCKETS / BUCKETS_AT_A_TIME) as u32,
            add_buckets as *mut c_void,
            (&raw mut histograms).cast(),
            0,
        );
    }
}

#[inline(never)]
extern "C" fn add_buckets(turn: u32, histograms: *mut Histograms) -> i64 {
    // SAFETY: the caller's, with histograms of cells.
    unsafe {
        let (from, to) = ((*histograms).from, (*histograms).to);
        let first = opaque(u64::from(turn) * BUCKETS_AT_A_TIME as u64) as usize;
        if first > BUCKETS - BUCKETS_AT_A_TIME {
            return 1;
        }
        for bucket in first..first + BUCKETS_AT_A_TIME {
            let count = from.add(bucket).read_volatile();
            if count != 0 {
                atomic::add(to.add(bucket), count);
                from.add(bucket).write_volatile(0);
            }
        }
    }
    0
}

/// Moves an error of the current thread's first cell to the table of errors, which has those of all shared cells.
#[inline(never)]
extern "C" fn fold_error(turn: u32, _nothing: *mut c_void) -> i64 {
    const { assert!(CELL_ERRORS.is_power_of_two()) };
    let Some(thread) = recorded(tid_of(task())) else { return 1 };
    // SAFETY: the thread's own record, and its own cell; the mask keeps the place within it.
    unsafe {
        let Some(cell) = CELLS.get_ptr_mut((&raw const (*thread).first_cell).read_volatile() as u32) else {
            return 1;
        };
        let place = opaque(turn.into()) as usize & (CELL_ERRORS - 1);
        let error = (&raw mut (*cell).errors).cast::<u64>().add(place);
        let counted = (&raw mut (*cell).error_counts).cast::<u64>().add(place);
        let (number, more) = (error.read_volatile(), counted.read_volatile());
        if number == 0 {
            return 1;
        }
        error.write_volatile(0);
        counted.write_volatile(0);
        add_errors(thread, 0, number, more);
    }
    0
}

//! Sums by file, and by second.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_loop,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use profiler_common::{
    event::Event,
    file::NO_FILE,
    histogram::{BUCKETS, bucket},
    io::{
        CallUse, FIRST_DURATIONS, IS_SAMPLE, IoCell, IoCounter, IoHistogram, IoKey, IoSecond, IoThread, LOST,
        OF_OTHER_KIND, SECOND_OPERATIONS, SECONDS,
    },
    opaque::opaque,
};

use super::IoTool;
use crate::{FIRST_ERROR, atomic, ledger::count, log};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_NOEXIST: u64 = 1;
/// How often to try to replace the longest time in a cell that others write too.
const MAX_TRIES: usize = 4;
const NS_PER_S: u64 = 1_000_000_000;
// Results of failed calls (include/uapi/asm-generic/errno-base.h and errno.h).
const EAGAIN: u64 = -11i64 as u64;
const EINPROGRESS: u64 = -115i64 as u64;
const EIO: u64 = -5i64 as u64;
const ENOSPC: u64 = -28i64 as u64;
const EDQUOT: u64 = -122i64 as u64;

/// Cells. The loader sets the size.
#[map]
static IO_CELLS: HashMap<IoKey, IoCell> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);
/// Cells for what found no room there, by address space and operation. The loader sets the size.
#[map]
static IO_BEYOND: HashMap<IoKey, IoCell> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);
/// Histograms, from 1 on. The loader sets the size.
#[map]
static IO_HISTOGRAMS: Array<IoHistogram> = Array::with_max_entries(2, 0);
/// How many were given out.
#[map]
static IO_NEXT_HISTOGRAM: Array<u64> = Array::with_max_entries(1, 0);
/// Sums by second and operation, of each CPU. The loader sets the size.
#[map]
static IO_SECONDS: PerCpuArray<IoSecond> = PerCpuArray::with_max_entries(2, 0);
/// Zeroes to copy from.
#[map]
static IO_NO_CELL: Array<IoCell> = Array::with_max_entries(1, 0);

// Turns of the loop over the files of an operation: the first file, the second, and the first again for one that has ended with it.
const FIRST: u32 = 0;
const ALSO: u32 = 2;

/// What the kernel's loop hands to each of its turns.
pub struct Of {
    /// The record of an operation that has ended.
    pub record: *mut IoThread,
}

/// Notes what an operation that has ended has moved, as far as its result shows.
///
/// # Safety
/// `record` is a record that nobody else writes meanwhile.
#[inline(always)]
pub unsafe fn note_moved(record: *mut IoThread) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let result = (*record).result;
        let moves = result < FIRST_ERROR && CallUse::of_bits((*record).ended_as).is_in_bytes();
        (*record).bytes = if moves { result } else { 0 };
        (*record).messages = u64::from(moves && result != 0);
        (*record).also = 0;
        (*record).also_ns = 0;
    }
}

/// Adds an operation that has ended to the sums of its files. Few have two.
///
/// # Safety
/// `record` is a record that nobody else writes meanwhile.
#[inline(always)]
pub unsafe fn add_all<T: IoTool>(record: *mut IoThread) {
    let mut of = Of { record };
    // SAFETY: the caller vouches for the record. The callback gets a pointer to it, and the loop ends before this function does. A loop in
    // any case: the verifier follows all of it for each place that it is called from.
    unsafe {
        let second = (&raw const (*record).files).cast::<u32>().add(1).read_volatile();
        let has_also = T::ENDS_ALSO && (&raw const (*record).also).read_volatile() != 0;
        let turns = if has_also { ALSO + 1 } else { 1 + u32::from(second != OF_OTHER_KIND) };
        bpf_loop(turns, add::<T> as *mut c_void, (&raw mut of).cast(), 0);
    }
}

/// The same for one that has only one file.
///
/// # Safety
/// As for [`add_all`].
#[inline(always)]
pub unsafe fn add_only<T: IoTool>(record: *mut IoThread) {
    let mut of = Of { record };
    // SAFETY: the caller vouches for the record.
    unsafe { add_first::<T>(&raw mut of) }
}

#[inline(always)]
unsafe fn add_first<T: IoTool>(of: *mut Of) {
    // SAFETY: the caller vouches for the record. Not part of its caller: before Linux 6.2 there would not be enough room on the stack.
    unsafe {
        add::<T>(FIRST, of.cast());
        if T::ENDS_ALSO && (&raw const (*(*of).record).also).read_volatile() != 0 {
            add::<T>(ALSO, of.cast());
        }
    }
}

/// [`add_one`], as a turn of the kernel's loop.
///
/// # Safety
/// `of` points to an [`Of`] with a record that nobody else writes meanwhile.
#[inline(never)]
unsafe extern "C" fn add<T: IoTool>(turn: u32, of: *mut c_void) -> i64 {
    // SAFETY: the caller vouches for the record.
    unsafe { add_one::<T>(turn, (*of.cast::<Of>()).record) };
    0
}

/// Adds an operation that has ended to the sums of the first of its files, and then of the second.
///
/// # Safety
/// `thread` is a record that nobody else writes meanwhile.
#[inline(always)]
unsafe fn add_one<T: IoTool>(turn: u32, thread: *mut IoThread) {
    let is_also = T::ENDS_ALSO && turn == ALSO;
    let turn = opaque(turn.into()) as usize & 1;
    // SAFETY: the caller vouches for the record; the mask keeps the index within it. Cells are map values.
    unsafe {
        let used = CallUse::of_bits((*thread).ended_as);
        let operation = match (is_also, turn) {
            (true, _) => (*thread).also as u32,
            (false, 0) => used.operation(),
            _ => used.second(),
        };
        let file = (&raw const (*thread).files).cast::<u32>().add(turn).read_volatile();
        if operation == 0 || file == OF_OTHER_KIND {
            return;
        }
        let key = IoKey { space: (*thread).space, file, operation: operation.into(), comm: (*thread).comm };
        let Some(cell) = cell::<T>(&key) else {
            log::event(Event::CellRefused, (*thread).tid.into(), (*thread).call);
            (*thread).added |= LOST;
            return;
        };
        let before = atomic::take(&raw mut (*cell).count);
        if !is_also {
            add_result(thread, cell, (turn == 0) == (used.second() == 0 || used.reads_first()));
        }
        let duration_ns =
            if is_also { (*thread).also_ns } else { (*thread).end_ns.wrapping_sub((*thread).start_ns) };
        atomic::add(&raw mut (*cell).total_ns, duration_ns);
        raise(&raw mut (*cell).max_ns, duration_ns);
        if before < FIRST_DURATIONS as u64 {
            let place = opaque(before) as usize & (FIRST_DURATIONS - 1);
            (&raw mut (*cell).first).cast::<u64>().add(place).write_volatile(duration_ns);
        } else {
            sort_in::<T>(cell, duration_ns);
        }
        if before & (before + 1) == 0 {
            (*thread).added |= IS_SAMPLE;
        }
    }
}

/// Adds what the operation has moved. `reads`: whether this is the file that it has read from.
#[inline(always)]
unsafe fn add_result(thread: *const IoThread, cell: *mut IoCell, reads: bool) {
    // SAFETY: the caller vouches for both.
    unsafe {
        match (*thread).result {
            EAGAIN | EINPROGRESS => atomic::add(&raw mut (*cell).not_ready, 1),
            result @ FIRST_ERROR.. => {
                atomic::add(&raw mut (*cell).errors, 1);
                if result == ENOSPC || result == EDQUOT {
                    atomic::add(&raw mut (*cell).without_space, 1);
                }
                if result == EIO {
                    atomic::add(&raw mut (*cell).io_errors, 1);
                }
            }
            _ => {
                atomic::add(&raw mut (*cell).messages, (*thread).messages);
                atomic::add(&raw mut (*cell).bytes, (*thread).bytes);
            }
        }
        // What a call has fetched was read from one of its files.
        let fetched = (*thread).fetched;
        if fetched != 0 && reads {
            atomic::add(&raw mut (*cell).device_bytes, fetched);
            atomic::add(&raw mut (*cell).from_device, 1);
        }
    }
}

/// The cell of a key.
#[inline(always)]
unsafe fn cell<T: IoTool>(key: &IoKey) -> Option<*mut IoCell> {
    if let Some(cell) = IO_CELLS.get_ptr_mut(key) {
        return Some(cell);
    }
    // SAFETY: zeroes in a map.
    let nothing = unsafe { &*IO_NO_CELL.get_ptr(0)? };
    let _ = IO_CELLS.insert(key, nothing, BPF_NOEXIST);
    if let Some(cell) = IO_CELLS.get_ptr_mut(key) {
        return Some(cell);
    }
    count(T::Counter::WITHOUT_CELL);
    let rest = IoKey { space: key.space, file: NO_FILE, operation: key.operation, comm: [0; 2] };
    if IO_BEYOND.get_ptr_mut(rest).is_none() {
        let _ = IO_BEYOND.insert(rest, nothing, BPF_NOEXIST);
    }
    IO_BEYOND.get_ptr_mut(rest)
}

/// Adds a duration to the histogram of a cell.
#[inline(always)]
unsafe fn sort_in<T: IoTool>(cell: *mut IoCell, duration_ns: u64) {
    // SAFETY: the caller vouches for the cell; the index is that of a bucket.
    unsafe {
        let mut number = (&raw const (*cell).histogram).read_volatile();
        if number == 0 {
            let new = new_histogram();
            if new != 0 && !atomic::replace(&raw mut (*cell).histogram, 0, new) {
                // Another thread was faster; this one stays unused.
            }
            number = (&raw const (*cell).histogram).read_volatile();
        }
        let Some(histogram) = (if number == 0 { None } else { IO_HISTOGRAMS.get_ptr_mut(number as u32) })
        else {
            atomic::add(&raw mut (*cell).without_histogram, 1);
            return count(T::Counter::WITHOUT_HISTOGRAM);
        };
        let at = opaque(bucket(duration_ns) as u64) as usize;
        if at < BUCKETS {
            atomic::add((&raw mut (*histogram).counts).cast::<u64>().add(at), 1);
        }
    }
}

/// The number of a new histogram; 0 if none is left.
#[inline(always)]
fn new_histogram() -> u64 {
    let Some(next) = IO_NEXT_HISTOGRAM.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value. Read first, so that the number does not grow without bound.
    unsafe {
        if IO_HISTOGRAMS.get_ptr(next.read_volatile() as u32 + 1).is_none() {
            return 0;
        }
        let number = atomic::take(next) + 1;
        if IO_HISTOGRAMS.get_ptr(number as u32).is_none() { 0 } else { number }
    }
}

/// The file that an operation that has ended stands for, and what it was, see [`CallUse::on_file`].
///
/// # Safety
/// `thread` is a record that nobody else writes meanwhile.
#[inline(always)]
pub(super) unsafe fn first_of_kind(thread: *const IoThread) -> (u32, u32) {
    // SAFETY: the caller vouches for the record.
    unsafe { CallUse::of_bits((*thread).ended_as).on_file((&raw const (*thread).files).read_volatile()) }
}

/// Adds an operation that has ended to the sums of its second: of two files, what it was on each.
///
/// # Safety
/// `thread` is a record that nobody else writes meanwhile.
#[inline(always)]
pub unsafe fn add_to_second(thread: *mut IoThread) {
    let mut of = Of { record: thread };
    // SAFETY: the caller vouches for the record. The callback gets a pointer to it, and the loop ends before this function does.
    unsafe {
        let used = CallUse::of_bits((*thread).ended_as);
        bpf_loop(
            1 + u32::from(used.second() != 0),
            add_turn_to_second as *mut c_void,
            (&raw mut of).cast(),
            0,
        );
    }
}

/// Adds it as the operation on the first of its files, or on the second.
///
/// # Safety
/// As for [`add`].
#[inline(never)]
unsafe extern "C" fn add_turn_to_second(turn: u32, of: *mut c_void) -> i64 {
    // SAFETY: the caller vouches for the record; the rest is a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        let thread = (*of.cast::<Of>()).record;
        let second = (*thread).end_ns / NS_PER_S;
        let used = CallUse::of_bits((*thread).ended_as);
        let turn = opaque(turn.into()) as usize & 1;
        if (&raw const (*thread).files).cast::<u32>().add(turn).read_volatile() == OF_OTHER_KIND {
            return 0;
        }
        let operation = if turn == 0 { used.operation() } else { used.second() };
        let place = (second as usize & (SECONDS - 1)) * SECOND_OPERATIONS
            + (operation as usize & (SECOND_OPERATIONS - 1));
        let Some(sums) = IO_SECONDS.get_ptr_mut(place as u32) else { return 0 };
        if (*sums).second != second {
            (*sums).second = second;
            (*sums).count = 0;
            (*sums).messages = 0;
            (*sums).bytes = 0;
            (*sums).total_ns = 0;
            (*sums).max_ns = 0;
        }
        (*sums).count += 1;
        (*sums).messages += (*thread).messages;
        (*sums).bytes += (*thread).bytes;
        let duration_ns = (*thread).end_ns.wrapping_sub((*thread).start_ns);
        (*sums).total_ns += duration_ns;
        if duration_ns > (*sums).max_ns {
            (*sums).max_ns = duration_ns;
        }
    }
    0
}

/// Makes a value in a map at least as large as another.
///
/// # Safety
/// `max` points to an aligned 64-bit value in a map.
#[inline(always)]
unsafe fn raise(max: *mut u64, value: u64) {
    for _ in 0..MAX_TRIES {
        // SAFETY: the caller vouches for the place.
        unsafe {
            let before = max.read_volatile();
            if value <= before || atomic::replace(max, before, value) {
                return;
            }
        }
    }
}

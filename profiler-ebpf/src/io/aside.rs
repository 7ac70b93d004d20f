//! Operations that no system call of a thread shows: each is put into a record of its own when it has ended, and counted from there.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use profiler_common::{
    io::{IoThread, LOST, OF_OTHER_KIND},
    record::NO_STACK,
};

use super::{IO_STACKS, IoTool, cells, sample};

/// The record of an operation that is counted: it has no thread of its own.
#[map]
static IO_ASIDE: PerCpuArray<IoThread> = PerCpuArray::with_max_entries(1, 0);

/// What is known of such an operation when it has ended.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ended {
    /// The thread that has asked for it, and its name.
    pub tid: u32,
    pub space: u32,
    pub comm: [u64; 2],
    /// What it is, as [`CallUse`](profiler_common::io::CallUse) has it.
    pub used_as: u64,
    /// From when until when it took, in nanoseconds.
    pub start_ns: u64,
    pub end_ns: u64,
    /// Negative results are errors.
    pub result: u64,
}

/// Begins the record of an operation. Its file is still to be filled in.
#[inline(always)]
pub fn begin(ended: &Ended) -> Option<*mut IoThread> {
    let record = IO_ASIDE.get_ptr_mut(0)?;
    // SAFETY: a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        (*record).tid = ended.tid;
        (*record).space = ended.space;
        (*record).comm = ended.comm;
        (*record).ended_as = ended.used_as;
        (*record).call = 0;
        (*record).start_ns = ended.start_ns;
        (*record).end_ns = ended.end_ns;
        (*record).result = ended.result;
        (*record).fetched = 0;
        (*record).added = 0;
        cells::note_moved(record);
        (*record).files = [OF_OTHER_KIND; 2];
    }
    Some(record)
}

/// The record that was begun.
#[inline(always)]
pub fn record() -> Option<*mut IoThread> {
    IO_ASIDE.get_ptr_mut(0)
}

/// Counts the operation whose record was begun. Returns whether there was room for it. `flags`: those of its sample.
#[inline(always)]
pub fn finish<T: IoTool>(flags: u64) -> bool {
    let is_added = add::<T>();
    if is_to_be_sent::<T>() {
        send::<T>(NO_STACK, flags);
    }
    is_added
}

/// [`finish`] for an operation in which the current thread was, and whose stack may be taken.
#[inline(always)]
pub fn finish_here<T: IoTool>() -> bool {
    let is_added = add::<T>();
    if is_to_be_sent::<T>() {
        let stack = if IO_STACKS.load() == 0 { NO_STACK } else { sample::stack::<T>() };
        send::<T>(stack, 0);
    }
    is_added
}

/// Adds it to the sums. Returns whether there was room for it.
#[inline(never)]
fn add<T: IoTool>() -> bool {
    let Some(record) = IO_ASIDE.get_ptr_mut(0) else { return false };
    // SAFETY: as in `begin`.
    unsafe {
        T::ended(record);
        cells::add_only::<T>(record);
        cells::add_to_second(record);
        (&raw const (*record).added).read_volatile() & LOST == 0
    }
}

/// Whether it is sent by itself.
#[inline(never)]
fn is_to_be_sent<T: IoTool>() -> bool {
    let Some(record) = IO_ASIDE.get_ptr(0) else { return false };
    // SAFETY: as in `begin`.
    unsafe { sample::is_wanted(record) && sample::may_send::<T>(sample::is_slow(record)) }
}

#[inline(never)]
fn send<T: IoTool>(stack: u32, flags: u64) {
    if let Some(record) = IO_ASIDE.get_ptr_mut(0) {
        // SAFETY: as in `begin`.
        unsafe { sample::send_record::<T>(record, stack, flags) };
    }
}

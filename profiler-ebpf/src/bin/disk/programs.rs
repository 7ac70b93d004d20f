//! Entries and returns of calls, and the ends of threads.

use core::ffi::c_void;

use profiler_common::disk::Counter;
use profiler_ebpf::{
    io::{Outcomes, calls, thread, uring},
    stack::number::Remarks,
};

/// Where this tool counts.
struct Disk;

impl Remarks for Disk {
    type Counter = Counter;
    const TRUNCATED: Counter = Counter::StackTruncated;
    const SHORT: Counter = Counter::StackShort;
    const TABLE_FULL: Counter = Counter::StackTableFull;
    const RING_FULL: Counter = Counter::StackRingFull;
}

impl Outcomes for Disk {
    const ENTERED: Counter = Counter::EnterHits;
    const BEGAN: Counter = Counter::Began;
    const OTHER: Counter = Counter::Other;
    const ENDED_IN_CALL: Counter = Counter::EndedInCall;
    const LOST_THREAD: Counter = Counter::LostThread;
    const RETURNED: Counter = Counter::ExitHits;
    const COUNTED: Counter = Counter::Counted;
    const NOT_COUNTED: Counter = Counter::NotCounted;
    const RESTARTED: Counter = Counter::Restarted;
    const LOST_CELL: Counter = Counter::LostCell;
    const WITHOUT_CELL: Counter = Counter::WithoutCell;
    const WITHOUT_HISTOGRAM: Counter = Counter::WithoutHistogram;
    const LOST_SAMPLE: Counter = Counter::LostSample;
    const SPARED: Counter = Counter::Spared;
    const RING_SUBMITTED: Counter = Counter::RingSubmitted;
    const RING_COUNTED: Counter = Counter::RingCounted;
    const RING_OTHER: Counter = Counter::RingOther;
    const RING_LOST: Counter = Counter::RingLost;
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sys_enter")]
pub(crate) fn disk_enter(ctx: *mut c_void) -> i32 {
    calls::began::<Disk>(ctx);
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sys_exit")]
pub(crate) fn disk_exit(ctx: *mut c_void) -> i32 {
    calls::returned::<Disk>(ctx);
    0
}

/// A thread ends.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exit")]
pub(crate) fn disk_thread_exit(_ctx: *mut c_void) -> i32 {
    thread::ended::<Disk>();
    0
}

/// A process replaces its program.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exec")]
pub(crate) fn disk_exec(_ctx: *mut c_void) -> i32 {
    thread::execed();
    0
}

/// A request of io_uring is submitted.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/io_uring_submit_req")]
pub(crate) fn disk_submit(ctx: *mut c_void) -> i32 {
    uring::submitted::<Disk>(ctx);
    0
}

/// A request of io_uring is completed.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/io_uring_complete")]
pub(crate) fn disk_completed(ctx: *mut c_void) -> i32 {
    uring::completed::<Disk>(ctx);
    0
}

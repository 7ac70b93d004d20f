//! Entries and returns of calls, and the ends of threads.

use core::ffi::c_void;

use profiler_common::disk::Counter;
use profiler_ebpf::io::{IoTool, calls, thread, uring};

/// This tool.
struct Disk;

impl IoTool for Disk {
    type Counter = Counter;
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

//! Entries and returns of calls, and the ends of threads.

use core::ffi::c_void;

use profiler_common::{disk::Counter, io::CallUse};
use profiler_ebpf::{
    file::mapped,
    io::{IoTool, calls, named, restarted, thread, uring},
};

use crate::aio;

/// This tool.
pub(crate) struct Disk;

impl IoTool for Disk {
    type Counter = Counter;

    #[inline(always)]
    fn mapped_at(address: u64) -> u64 {
        once::disk_mapped_at(address)
    }

    #[inline(always)]
    fn followed_began(used: CallUse) {
        if !used.waits() {
            once::disk_submitting();
        }
    }

    #[inline(always)]
    fn followed_returned(used: CallUse, result: u64) {
        if used.waits() {
            once::disk_fetched(result);
        } else {
            once::disk_handed_over(result);
        }
    }
}

/// What few calls need. The verifier follows a function with a symbol once and by itself, whatever its callers know, and any other anew for
/// each state in which it is called: without symbols, these would more than double what it follows. They take and return numbers.
pub(crate) mod once {
    use super::{Disk, aio, mapped, named};

    /// [`mapped::at`].
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn disk_mapped_at(address: u64) -> u64 {
        mapped::at(address)
    }

    /// [`named::file_so_far`].
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn disk_file_so_far() -> u32 {
        named::file_so_far::<Disk>()
    }

    /// [`aio::submitting`]. Kernels take only functions with symbols that return a number, here and below.
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn disk_submitting() -> u32 {
        aio::submitting();
        0
    }

    /// [`aio::noted`].
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn disk_noted(address: u64) -> u32 {
        aio::noted(address)
    }

    /// [`aio::submitted`].
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn disk_handed_over(result: u64) -> u32 {
        aio::submitted(result);
        0
    }

    /// [`aio::fetched`].
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn disk_fetched(result: u64) -> u32 {
        aio::fetched(result);
        0
    }

    /// [`aio::ended`].
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn disk_ended(address: u64) -> u32 {
        aio::ended(address);
        0
    }
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

/// A signal is delivered.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/signal_deliver")]
pub(crate) fn disk_signal(ctx: *mut c_void) -> i32 {
    restarted::signalled::<Disk>(ctx);
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

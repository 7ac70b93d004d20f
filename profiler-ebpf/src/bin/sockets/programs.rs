//! Entries and returns of calls, and the ends of threads.

use core::ffi::c_void;

use profiler_common::{
    io::{CallUse, IoThread},
    sockets::Counter,
};
use profiler_ebpf::{
    call::argument,
    file::{self, service},
    io::{IoTool, calls, restarted, thread, uring},
};

use crate::{answers, moved};

/// This tool.
struct Sockets;

impl IoTool for Sockets {
    type Counter = Counter;
    const ENDS_ALSO: bool = true;

    #[inline(always)]
    fn find(path: u64, kinds: u32, now_ns: u64) -> (u32, u64) {
        service::find(path, kinds, now_ns)
    }

    #[inline(always)]
    fn find_known(path: u64, _kinds: u32, _now_ns: u64) -> Option<(u32, u64)> {
        service::find_known(path)
    }

    #[inline(always)]
    fn identity(path: u64) -> u64 {
        service::identity(path)
    }

    /// The only call that is followed is `listen`.
    #[inline(always)]
    fn followed_returned(_used: CallUse, result: u64) {
        if result == 0
            && let Some(thread) = thread::known()
        {
            // SAFETY: the thread's own record.
            let call = unsafe { (*thread).call };
            service::listens(file::of_descriptor(argument(call, 1) as u32));
        }
    }

    #[inline(always)]
    unsafe fn turned(thread: *mut IoThread) {
        // SAFETY: the caller vouches for the record.
        unsafe { answers::turned(thread) };
    }

    #[inline(always)]
    unsafe fn ended(record: *mut IoThread) {
        // SAFETY: the caller vouches for the record.
        unsafe { moved::ended(record) };
    }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sys_enter")]
pub(crate) fn sockets_enter(ctx: *mut c_void) -> i32 {
    calls::began::<Sockets>(ctx);
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sys_exit")]
pub(crate) fn sockets_exit(ctx: *mut c_void) -> i32 {
    calls::returned::<Sockets>(ctx);
    0
}

/// A signal is delivered.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/signal_deliver")]
pub(crate) fn sockets_signal(ctx: *mut c_void) -> i32 {
    restarted::signalled::<Sockets>(ctx);
    0
}

/// A thread ends.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exit")]
pub(crate) fn sockets_thread_exit(_ctx: *mut c_void) -> i32 {
    thread::ended::<Sockets>();
    0
}

/// A process replaces its program.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exec")]
pub(crate) fn sockets_exec(_ctx: *mut c_void) -> i32 {
    thread::execed();
    0
}

/// A request of io_uring is submitted.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/io_uring_submit_req")]
pub(crate) fn sockets_submit(ctx: *mut c_void) -> i32 {
    uring::submitted::<Sockets>(ctx);
    0
}

/// A request of io_uring is completed.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/io_uring_complete")]
pub(crate) fn sockets_completed(ctx: *mut c_void) -> i32 {
    uring::completed::<Sockets>(ctx);
    0
}

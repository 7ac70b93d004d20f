//! Operations of io_uring, which no system call shows. Whichever thread submits an operation for a process, even one that polls
//! the ring, has the id of that process.

use core::ffi::c_void;

use profiler_common::{
    event::Event,
    syscalls::{Counter, UringKey},
};
use profiler_ebpf::{
    atomic,
    io::uring::REQUEST_OPCODE,
    log, space,
    task::{Task, is_candidate, member, task, tgid_of},
};

use crate::maps::{URING, count};

const BPF_NOEXIST: u64 = 1;

/// An operation is submitted: (request).
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/io_uring_submit_req")]
pub(crate) fn syscalls_submit(ctx: *mut c_void) -> i32 {
    let task = task();
    if is_candidate(task) {
        // SAFETY: an argument of which the verifier knows the type.
        let operation: u8 = unsafe { member(ctx.cast::<*const u8>().read_volatile(), REQUEST_OPCODE.load()) };
        add(task, operation.into());
    }
    0
}

#[inline(always)]
fn add(task: Task, operation: u32) {
    let Some(space) = space::of_process(tgid_of(task)) else { return };
    let key = UringKey { space, operation };
    if URING.get_ptr_mut(key).is_none() {
        let _ = URING.insert(key, 0, BPF_NOEXIST);
    }
    match URING.get_ptr_mut(key) {
        // SAFETY: a map value.
        Some(operations) => unsafe { atomic::add(operations, 1) },
        None => {
            count(Counter::UringLost);
            log::event(Event::UringRefused, space.into(), operation.into());
        }
    }
}

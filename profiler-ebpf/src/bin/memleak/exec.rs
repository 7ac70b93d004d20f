//! A target that replaces itself by exec: its addresses mean nothing any more, from this moment on.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_loop, bpf_ringbuf_output},
    programs::BtfTracePointContext,
};
use profiler_common::memleak::{MAX_SPACES, RECORD_EXEC, RecordHead};

use crate::maps::{RING, SPACES};

/// `sched_process_exec`: runs after the new image is in place and before its first instruction.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exec")]
pub(crate) fn memleak_exec(ctx: *mut c_void) -> i32 {
    let _ = BtfTracePointContext::new(ctx).as_ptr();
    // SAFETY: a helper without arguments.
    let mut tgid = unsafe { bpf_get_current_pid_tgid() } >> 32;
    // All of them: an exec is rare, and so are targets.
    // SAFETY: the callback takes what it is given here, and the loop ends before this does (Linux 5.17).
    unsafe { bpf_loop(MAX_SPACES, look_at as *mut c_void, (&raw mut tgid).cast(), 0) };
    0
}

/// Looks at one address space; 1 when there are no more.
#[inline(never)]
extern "C" fn look_at(number: u32, tgid: *mut c_void) -> i64 {
    let Some(space) = SPACES.get_ptr_mut(number) else { return 1 };
    // SAFETY: what `memleak_exec` gives, and a map value, in which only this program writes these fields once the loader has made
    // the space known; a process execs one at a time.
    unsafe {
        if u64::from((*space).tgid) != *tgid.cast::<u64>() || (*space).replaced != 0 {
            return 0;
        }
        if (*space).execs_to_come > 0 {
            (*space).execs_to_come -= 1;
            return 0;
        }
        (*space).replaced = 1;
        let head = RecordHead { kind: RECORD_EXEC, depth: 0, space: number as u16, stack: 0 };
        // A lost record is not lost knowledge: user space also reads `replaced`.
        let ring = (&raw const RING).cast_mut().cast();
        let _ = bpf_ringbuf_output(ring, (&raw const head).cast_mut().cast(), 8, 0);
    }
    0
}

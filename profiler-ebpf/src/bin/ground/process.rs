//! Processes that replace themselves, fork, or end.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _, Global, helpers::generated::bpf_get_current_pid_tgid, programs::BtfTracePointContext,
};
use profiler_common::{
    event::Event,
    record::{RECORD_BEGUN, RECORD_EXEC, RECORD_FORK, RecordHead},
};
use profiler_ebpf::{
    log, ring,
    space::{self, Origin},
    task::{Task, tgid_of, tid_of},
    threads,
};

/// Whether processes that targets fork are observed too.
#[unsafe(no_mangle)]
static FOLLOW_CHILDREN: Global<u32> = Global::new(0);
/// Whether every process of the host that starts is reported: user space looks for a name or a cgroup.
#[unsafe(no_mangle)]
static REPORT_BEGINNINGS: Global<u32> = Global::new(0);
/// Offset of `task_struct.signal`.
#[unsafe(no_mangle)]
static TASK_SIGNAL: Global<u64> = Global::new(0);
/// Offset of `signal_struct.live`.
#[unsafe(no_mangle)]
static SIGNAL_LIVE: Global<u64> = Global::new(0);

/// `sched_process_exec`: runs after the new image is in place and before its first instruction. Addresses of the old image no
/// longer mean anything.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exec")]
pub(crate) fn ground_exec(ctx: *mut c_void) -> i32 {
    let _ = BtfTracePointContext::new(ctx).as_ptr();
    // SAFETY: a helper without arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let Some(number) = space::of_process(tgid) else {
        report_beginning(tgid);
        return 0;
    };
    let Some(old) = space::get(number) else { return 0 };
    // SAFETY: a map value, in which only this program writes these fields once the loader has made the space known; a process
    // execs one at a time.
    unsafe {
        if (*old).replaced != 0 {
            return 0;
        }
        if (*old).execs_to_come > 0 {
            (*old).execs_to_come -= 1;
            return 0;
        }
    }
    let next = space::open(tgid, number, Origin::Execed).unwrap_or(0);
    // SAFETY: as above. Written after the next space is complete: user space looks for that when it sees this.
    unsafe { (&raw mut (*old).replaced).write_volatile(1) };
    if !ring::send_head(&RecordHead { kind: RECORD_EXEC, depth: 0, space: number as u16, stack: next }) {
        log::event(Event::RecordLost, tgid.into(), number.into());
    }
    log::event(Event::Execed, tgid.into(), next.into());
    0
}

/// `task_newtask`: runs in the parent before the child does, which may be a thread. Unlike `sched_process_fork`, it also reports
/// the workers that the kernel makes for io_uring in a process, and those end like threads.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/task_newtask")]
pub(crate) fn ground_fork(ctx: *mut c_void) -> i32 {
    // SAFETY: a helper without arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let is_candidate = space::may_be_observed(tgid);
    if !is_candidate && REPORT_BEGINNINGS.load() == 0 {
        return 0;
    }
    // SAFETY: the first argument is the child, of which the kernel knows the type; the offsets are those of this kernel.
    let (task, pid, child) = unsafe {
        let task = *ctx.cast::<*const u8>();
        (task, tid_of(Task::given(task)), tgid_of(Task::given(task)))
    };
    if pid != child {
        if is_candidate {
            // Whether or not its process is in the table of targets yet.
            // SAFETY: as above.
            unsafe { threads::enter(task.cast_mut().cast()) };
        }
        return 0;
    }
    let parent = if FOLLOW_CHILDREN.load() == 0 { None } else { space::of_process(tgid) };
    let Some(parent) = parent else {
        report_beginning(child);
        return 0;
    };
    let Some(of_parent) = space::get(parent) else { return 0 };
    // SAFETY: a map value.
    if unsafe { (*of_parent).replaced | (*of_parent).execs_to_come } != 0 {
        return 0;
    }
    let Some(number) = space::open(child, parent, Origin::Forked) else { return 0 };
    // SAFETY: as above. The child does not run yet.
    unsafe { threads::enter(task.cast_mut().cast()) };
    if !ring::send_head(&RecordHead { kind: RECORD_FORK, depth: 0, space: number as u16, stack: parent }) {
        log::event(Event::RecordLost, child.into(), number.into());
    }
    0
}

/// `sched_process_exit`: runs in each thread that ends, after its last system call. When the last thread ends, the process leaves
/// the table before its id can be reused.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_process_exit")]
pub(crate) fn ground_exit(ctx: *mut c_void) -> i32 {
    // SAFETY: a helper without arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if !space::may_be_observed(tgid) || space::of_process(tgid).is_none() {
        return 0;
    }
    // SAFETY: the first argument is the current task, of which the kernel knows the type, as of what it points to; the offsets are
    // those of this kernel. Threads of processes in the table have entered. The kernel has counted this thread out already.
    let live = unsafe {
        let task = *ctx.cast::<*const u8>();
        threads::leave(task.cast_mut().cast());
        let signal = task.add(TASK_SIGNAL.load() as usize).cast::<*const u8>().read_volatile();
        signal.add(SIGNAL_LIVE.load() as usize).cast::<u32>().read_volatile()
    };
    if live == 0 {
        space::close(tgid);
    }
    0
}

/// Runs for each thread of a process that is about to be observed.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) fn ground_thread(ctx: *mut c_void) -> i32 {
    // SAFETY: the second member of `struct bpf_iter__task` is a task, or null at the end.
    unsafe {
        let task = *ctx.cast::<*mut c_void>().add(1);
        if !task.is_null() {
            threads::enter(task);
        }
    }
    0
}

/// Reports a process that has started, or has become another program, and is not observed.
#[inline(always)]
fn report_beginning(tgid: u32) {
    if REPORT_BEGINNINGS.load() != 0 {
        ring::send_head(&RecordHead { kind: RECORD_BEGUN, depth: 0, space: 0, stack: tgid });
    }
}

//! What operations wait for: where in the kernel their threads stop running.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_get_stack, bpf_ktime_get_ns},
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use profiler_common::{
    disk::{Counter, WAIT_FRAMES, Wait, WaitKey},
    io::{CallUse, IoThread},
};
use profiler_ebpf::{atomic, hash::hash, io::thread, ledger, task::Task, threads};

use crate::programs::once;

const BPF_NOEXIST: u64 = 1;
/// The hash of frames that could not be found.
const NOT_WALKED: u64 = 0;
/// Frames on top that belong to this program and to the tracepoint: there are as many in each stack.
const OWN_FRAMES: u64 = 3;

/// All of its memory is there from the start: while the scheduler holds its lock, there may be none to be had.
#[map]
static WAITS: HashMap<WaitKey, Wait> = HashMap::with_max_entries(4096, 0);
/// Room for a wait that is new.
#[map]
static WAIT_ROOM: PerCpuArray<Wait> = PerCpuArray::with_max_entries(1, 0);

/// Another thread runs: (preempted, previous task, next task, state of the previous). The state is that in which the previous one has asked for
/// the switch: it may have been woken by now, and still waits for a processor.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sched_switch")]
pub(crate) fn disk_switch(ctx: *mut c_void) -> i32 {
    // SAFETY: arguments of which the verifier knows the types.
    let (preempted, before, next, state) = unsafe {
        let arguments = ctx.cast::<u64>();
        (
            arguments.read_volatile(),
            Task::given(arguments.add(1).cast::<*const u8>().read_volatile()),
            Task::given(arguments.add(2).cast::<*const u8>().read_volatile()),
            arguments.add(3).read_volatile() as u32,
        )
    };
    if threads::may_be(next)
        && let Some(thread) = thread::of(next)
    {
        // SAFETY: its record, which only programs on the thread itself write besides.
        unsafe { goes_on(thread) };
    }
    if preempted & 0xff == 0
        && state != 0
        && threads::may_be(before)
        && let Some(thread) = thread::of(before)
    {
        // SAFETY: as above.
        unsafe { stops(thread, ctx) };
    }
    0
}

#[inline(always)]
unsafe fn key(thread: *const IoThread) -> WaitKey {
    // SAFETY: the caller vouches for the record.
    unsafe {
        WaitKey {
            space: (*thread).space,
            file: (*thread).wait_file as u32,
            operation: on_file(thread).1.into(),
            place: (*thread).wait,
        }
    }
}

/// The file of the present call, and the operation on it. Of a call between a file and something else, such as sendfile, it may be the
/// second.
#[inline(always)]
unsafe fn on_file(thread: *const IoThread) -> (u32, u32) {
    // SAFETY: the caller vouches for the record.
    unsafe { CallUse::of_bits((*thread).used_as).on_file((&raw const (*thread).files).read_volatile()) }
}

/// A thread stops running.
#[inline(always)]
unsafe fn stops(thread: *mut IoThread, ctx: *mut c_void) {
    // SAFETY: the caller vouches for the record; the room is a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        let used = CallUse::of_bits((*thread).used_as);
        if used.operation() == 0 {
            return;
        }
        if (*thread).off_ns != 0 {
            // Now and then, the kernel does not show that a thread runs again.
            ledger::count(Counter::WaitLost);
        }
        (*thread).off_call = (*thread).calls;
        (*thread).wait_file =
            if used.files().path() != 0 { once::disk_file_so_far().into() } else { on_file(thread).0.into() };
        let Some(room) = WAIT_ROOM.get_ptr_mut(0) else { return };
        (*thread).wait = walk(room, ctx);
        (*thread).off_ns = bpf_ktime_get_ns();
        let key = key(thread);
        let file = u64::from(key.file) | key.operation << 32;
        if (*thread).waited_in == key.place && (*thread).waited_for == file {
            return;
        }
        (*thread).waited_in = key.place;
        (*thread).waited_for = file;
        if WAITS.get_ptr_mut(key).is_none() {
            (*room).count = 0;
            (*room).total_ns = 0;
            (*room).max_ns = 0;
            // By reference: a copy would take so much of the stack that Linux 6.1 refuses the program.
            let wait: &Wait = &*room;
            let _ = WAITS.insert(key, wait, BPF_NOEXIST);
        }
    }
}

/// Walks the kernel stack of the current thread. Returns a hash of its frames.
#[inline(always)]
unsafe fn walk(room: *mut Wait, ctx: *mut c_void) -> u64 {
    // SAFETY: the caller vouches for the room.
    unsafe {
        let frames = (&raw mut (*room).frames).cast::<u64>();
        // Without the kernel's loop, each turn of which is a call. What is behind the last frame stays as it is.
        for place in 0..WAIT_FRAMES {
            frames.add(place).write_volatile(0);
        }
        const BYTES: u32 = (WAIT_FRAMES * size_of::<u64>()) as u32;
        if bpf_get_stack(ctx, frames.cast(), BYTES, OWN_FRAMES) <= 0 {
            return NOT_WALKED;
        }
        (0..WAIT_FRAMES).fold(0, |sum, place| hash(sum, frames.add(place).read_volatile()))
    }
}

/// A thread runs again.
#[inline(always)]
unsafe fn goes_on(thread: *mut IoThread) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let since_ns = (*thread).off_ns;
        if since_ns == 0 {
            return;
        }
        (*thread).off_ns = 0;
        if (*thread).off_call != (*thread).calls {
            // That it ran again was not shown, and the call is over.
            return ledger::count(Counter::WaitLost);
        }
        let waited_ns = bpf_ktime_get_ns().wrapping_sub(since_ns);
        let Some(wait) = WAITS.get_ptr_mut(key(thread)) else { return ledger::count(Counter::WaitLost) };
        atomic::add(&raw mut (*wait).count, 1);
        atomic::add(&raw mut (*wait).total_ns, waited_ns);
        if waited_ns > (*wait).max_ns {
            (*wait).max_ns = waited_ns;
        }
    }
}

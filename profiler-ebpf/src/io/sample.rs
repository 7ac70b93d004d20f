//! Single operations that are sent to user space with their stacks: slow ones, and a few others of each cell.

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, macros::map, maps::PerCpuArray};
use profiler_common::{
    io::{CallUse, IS_SAMPLE, IoCounter, IoSample, IoThread},
    record::{NO_STACK, RecordHead},
};

use super::{IO_STACKS, IoTool, settings, thread};
use crate::{
    ledger::count,
    ring::{self, RECORD_KIND},
    space,
    stack::number::{self, TaskWalker},
};

/// How many a CPU sends in a span: of those that are slow, and of the others.
const MOST: u64 = 200;
/// A span is 2^30 ns, about a second.
const SPAN_SHIFT: u32 = 30;

/// How many a CPU has sent in a span of time.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sent {
    span: u64,
    slow: u64,
    others: u64,
}

#[map]
static IO_SENT: PerCpuArray<Sent> = PerCpuArray::with_max_entries(1, 0);
/// Working memory of walks. Several programs walk, but none of them is preempted or interrupts another.
#[map]
static IO_WALKER: PerCpuArray<TaskWalker> = PerCpuArray::with_max_entries(1, 0);

/// Whether an operation that was added to the sums is to be sent by itself: it was chosen as a sample, or is slow.
///
/// # Safety
/// `record` is its record, which nobody else writes meanwhile.
#[inline(always)]
pub(super) unsafe fn is_wanted(record: *const IoThread) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe { (&raw const (*record).added).read_volatile() & IS_SAMPLE != 0 || is_slow(record) }
}

/// Whether an operation is slow, or the answer that ended with it is. A receive or accept that waits for others is not slow by itself.
///
/// # Safety
/// As for [`is_wanted`].
#[inline(always)]
pub(super) unsafe fn is_slow(record: *const IoThread) -> bool {
    // SAFETY: the caller vouches for the record; a value in a section.
    unsafe {
        let slow_ns = (&raw const (*settings()).slow_ns).read_volatile();
        let own_ns = (*record).end_ns.wrapping_sub((*record).start_ns);
        let is_patient = CallUse::of_bits((*record).ended_as).is_patient();
        !is_patient && own_ns >= slow_ns || (*record).also != 0 && (*record).also_ns >= slow_ns
    }
}

/// Sends the operation that the current thread has ended.
#[inline(never)]
pub fn send<T: IoTool>() {
    let Some(thread) = thread::known() else { return };
    // SAFETY: the thread's own record.
    if !may_send::<T>(unsafe { is_slow(thread) }) {
        return;
    }
    // SAFETY: a helper without arguments.
    let begun_ns = unsafe { bpf_ktime_get_ns() };
    let stack = if IO_STACKS.load() == 0 { NO_STACK } else { stack::<T>() };
    if let Some(thread) = thread::known() {
        // SAFETY: the thread's own record, and a helper without arguments.
        unsafe {
            send_record::<T>(thread, stack, 0);
            (*thread).walk_ns += bpf_ktime_get_ns() - begun_ns;
        }
    }
}

/// Sends an operation that has ended, as its record has it. `stack`: the number of its stack; `flags`: those of [`IoSample::operation`].
///
/// # Safety
/// `thread` is a record that nobody else writes meanwhile.
#[inline(always)]
pub(super) unsafe fn send_record<T: IoTool>(thread: *mut IoThread, stack: u32, flags: u64) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let head =
            RecordHead { kind: RECORD_KIND.load() as u8, depth: 0, space: (*thread).space as u16, stack };
        let used = CallUse::of_bits((*thread).ended_as);
        let (mut file, mut operation) = super::cells::first_of_kind(thread);
        let mut start_ns = (*thread).start_ns;
        let also = (*thread).also as u32;
        let slow_ns = (&raw const (*settings()).slow_ns).read_volatile();
        let is_slow_itself = (*thread).end_ns.wrapping_sub(start_ns) >= slow_ns;
        if also != 0 && (used.is_patient() || !is_slow_itself && (*thread).also_ns >= slow_ns) {
            file = (&raw const (*thread).files).cast::<u32>().read_volatile();
            operation = also;
            start_ns = (*thread).end_ns.wrapping_sub((*thread).also_ns);
        }
        let sample = IoSample {
            head: core::mem::transmute::<RecordHead, u64>(head),
            tid: (*thread).tid,
            file,
            call: (*thread).call,
            operation: u64::from(operation) | flags,
            start_ns,
            duration_ns: (*thread).end_ns.wrapping_sub(start_ns),
            result: (*thread).result,
            device_bytes: (*thread).fetched,
            comm: (*thread).comm,
        };
        if !ring::send_unhurried((&raw const sample).cast(), size_of::<IoSample>() as u64) {
            count(T::Counter::LOST_SAMPLE);
        }
    }
}

/// Whether this CPU may send another one in the present span. If not, that is counted.
#[inline(always)]
pub(super) fn may_send<T: IoTool>(slow: bool) -> bool {
    let Some(sent) = IO_SENT.get_ptr_mut(0) else { return false };
    // SAFETY: a map value of this CPU, which no other program uses before this one ends; a helper without arguments.
    unsafe {
        let span = bpf_ktime_get_ns() >> SPAN_SHIFT;
        if (*sent).span != span {
            *sent = Sent { span, slow: 0, others: 0 };
        }
        let of = if slow { &raw mut (*sent).slow } else { &raw mut (*sent).others };
        if *of < MOST {
            *of += 1;
            return true;
        }
    }
    count(if slow { T::Counter::SPARED_SLOW } else { T::Counter::SPARED });
    false
}

/// The number of the current thread's stack. It takes no pointers, so that the verifier follows the walk once.
#[inline(never)]
pub(super) fn stack<T: IoTool>() -> u32 {
    // SAFETY: the thread's own record.
    let Some(space) = thread::known().map(|thread| unsafe { (*thread).space }) else { return NO_STACK };
    let (Some(known), Some(walker)) = (space::get(space), IO_WALKER.get_ptr_mut(0)) else { return NO_STACK };
    // SAFETY: map values; the walker is not used by anyone else before this program ends.
    unsafe { number::of_task::<T>(space as u16, known, walker) }
}

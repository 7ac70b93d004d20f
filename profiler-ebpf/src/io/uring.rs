//! Operations of io_uring, which no system call shows: from their submission to their completion.

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    helpers::generated::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use profiler_common::{
    file::Unknown,
    io::{
        CallUse, IS_SAMPLE, IoCounter, IoThread, LOST, OF_OTHER_KIND, URING_OPERATIONS, UringRequest, unknown,
    },
    record::NO_STACK,
};

use super::{IO_KINDS, IoTool, cells, sample};
use crate::{
    file,
    ledger::count,
    space,
    task::{Task, comm, is_candidate, member, task, tgid_of, tid_of},
};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_ANY: u64 = 0;

/// `io_kiocb.opcode`, in bytes, like the next ones.
#[unsafe(no_mangle)]
pub static REQUEST_OPCODE: Global<u64> = Global::new(0);
/// `io_kiocb.file`
#[unsafe(no_mangle)]
static REQUEST_FILE: Global<u64> = Global::new(0);
/// `io_uring_cqe.res`, if the tracepoint of completions has such an entry.
#[unsafe(no_mangle)]
static ENTRY_RESULT: Global<u64> = Global::new(0);
/// 1 if it has; otherwise the result itself is its fourth argument.
#[unsafe(no_mangle)]
static HAS_ENTRY: Global<u32> = Global::new(0);

/// How operations are counted, as [`CallUse`] has it. The loader sets the size.
#[map]
static IO_URING_USES: Array<u64> = Array::with_max_entries(2, 0);
/// Requests under way, by their addresses in the kernel. The loader sets the size.
#[map]
static IO_URING_REQUESTS: HashMap<u64, UringRequest> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);
/// The record of an operation that is counted: it has no thread of its own.
#[map]
static IO_ASIDE: PerCpuArray<IoThread> = PerCpuArray::with_max_entries(1, 0);

/// A request is submitted: (request). Whichever thread submits it, even one that polls the ring, has the id of the process.
#[inline(always)]
pub fn submitted<T: IoTool>(ctx: *mut c_void) {
    let task = task();
    if is_candidate(task)
        && let Some(space) = space::of_process(tgid_of(task))
    {
        // SAFETY: an argument of which the verifier knows the type.
        let (request, operation) = unsafe {
            let request = ctx.cast::<*const u8>().read_volatile();
            (request, member::<u8>(request, REQUEST_OPCODE.load()))
        };
        note::<T>(task, request as u64, operation.into(), space);
    }
}

#[inline(always)]
fn note<T: IoTool>(task: Task, request: u64, operation: u32, space: u32) {
    let used = IO_URING_USES.get_ptr(operation & (URING_OPERATIONS as u32 - 1));
    // SAFETY: a word of a map; a helper without arguments.
    let (used, start_ns) = unsafe { (used.map_or(0, |used| used.read_volatile()), bpf_ktime_get_ns()) };
    if used == 0 {
        // The kernel uses the memory of requests again: one whose completion it did not show may have had this address.
        let _ = IO_URING_REQUESTS.remove(request);
        return;
    }
    count(T::Counter::RING_SUBMITTED);
    let tid = u64::from(tid_of(task));
    let begun = UringRequest { space: space.into(), tid, used_as: used, start_ns, comm: comm(task) };
    if IO_URING_REQUESTS.insert(request, begun, BPF_ANY).is_err() {
        count(T::Counter::RING_LOST);
    }
}

/// A request is completed: (ring, request, entry), or before Linux 6.12 or so (ring, request, data of the program, result, ...).
#[inline(always)]
pub fn completed<T: IoTool>(ctx: *mut c_void) {
    // SAFETY: arguments of this tracepoint; of the entry, the verifier knows the type.
    let (request, result) = unsafe {
        let arguments = ctx.cast::<u64>();
        let result = if HAS_ENTRY.load() == 0 {
            arguments.add(3).read_volatile() as u32
        } else {
            member::<u32>(arguments.add(2).cast::<*const u8>().read_volatile(), ENTRY_RESULT.load())
        };
        (arguments.add(1).read_volatile(), result)
    };
    // SAFETY: the value is copied at once.
    if let Some(begun) = unsafe { IO_URING_REQUESTS.get(request).copied() } {
        let _ = IO_URING_REQUESTS.remove(request);
        if prepare::<T>(request, &begun, result) {
            finish::<T>();
        } else {
            count(T::Counter::RING_OTHER);
        }
    }
}

/// Fills in the record of the operation. Returns whether it is one on a file that is counted.
#[inline(never)]
fn prepare<T: IoTool>(request: u64, begun: &UringRequest, result: u32) -> bool {
    let Some(record) = IO_ASIDE.get_ptr_mut(0) else { return false };
    // SAFETY: a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        (*record).tid = begun.tid as u32;
        (*record).space = begun.space as u32;
        (*record).comm = begun.comm;
        (*record).ended_as = begun.used_as;
        (*record).call = 0;
        (*record).start_ns = begun.start_ns;
        (*record).end_ns = bpf_ktime_get_ns();
        // Negative results are errors.
        (*record).result = result as i32 as i64 as u64;
        (*record).fetched = 0;
        (*record).added = 0;
        cells::note_moved(record);
        (*record).files = [OF_OTHER_KIND; 2];
        let used = CallUse::of_bits(begun.used_as);
        if used.files().descriptor() == 0 {
            // It names a path, which has been forgotten by now.
            (*record).files[0] = unknown(Unknown::Unread);
            return true;
        }
        let file: u64 = file::read(request + REQUEST_FILE.load());
        let (number, identity) = T::find(file::path_of(file), IO_KINDS.load(), begun.start_ns);
        (&raw mut (*record).files).cast::<u32>().write_volatile(number);
        (&raw mut (*record).entries).cast::<u64>().write_volatile(identity);
        number != OF_OTHER_KIND
    }
}

/// Counts it.
#[inline(never)]
fn finish<T: IoTool>() {
    let Some(record) = IO_ASIDE.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    unsafe {
        T::ended(record);
        cells::add_all::<T>(record);
        cells::add_to_second(record);
        let added = (&raw const (*record).added).read_volatile();
        count(if added & LOST == 0 { T::Counter::RING_COUNTED } else { T::Counter::RING_LOST });
        let took_ns = (*record).end_ns.wrapping_sub((*record).start_ns);
        if added & IS_SAMPLE != 0 || took_ns >= sample::slow_ns() {
            if sample::may_send() {
                sample::send_record::<T>(record, NO_STACK);
            } else {
                count(T::Counter::SPARED);
            }
        }
    }
}

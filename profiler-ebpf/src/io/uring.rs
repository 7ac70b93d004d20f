//! Operations of io_uring, which no system call shows: from their submission to their completion.

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    helpers::generated::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};
use profiler_common::{
    file::Unknown,
    io::{
        ASIDE, CallUse, IoCounter, OF_OTHER_KIND, RING_MESSAGE, RING_SYNC, URING_OPERATIONS, UringRequest,
        unknown,
    },
};

use super::{
    CALLED, IO_KINDS, IoTool,
    aside::{self, Ended},
};
use crate::{
    call::TAKES_NOTHING,
    file,
    ledger::count,
    space,
    task::{Task, comm, is_candidate, member, task, tgid_of, tid_of},
};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_ANY: u64 = 0;
/// In the flags of a request: the program wants no completion (`REQ_F_CQE_SKIP`, the bit of `IOSQE_CQE_SKIP_SUCCESS` in include/uapi/linux/io_uring.h).
const CQE_SKIP: u32 = 1 << 6;
/// In the flags of an `fsync`: it is an `fdatasync` (`IORING_FSYNC_DATASYNC`, in the same file).
const DATASYNC: u64 = 1;

/// `io_kiocb.opcode`, in bytes, like the next ones.
#[unsafe(no_mangle)]
pub static REQUEST_OPCODE: Global<u64> = Global::new(0);
/// `io_kiocb.flags`
#[unsafe(no_mangle)]
static RING_REQUEST_FLAGS: Global<u64> = Global::new(0);
/// `io_sync.flags` of a request, from the beginning of its `io_kiocb`; 0: it cannot be found.
#[unsafe(no_mangle)]
static RING_SYNC_FLAGS: Global<u64> = Global::new(0);
/// `io_sr_msg.msg_flags` of a request, in the same way.
#[unsafe(no_mangle)]
static RING_MESSAGE_FLAGS: Global<u64> = Global::new(0);
/// `io_kiocb.ctx`
#[unsafe(no_mangle)]
static REQUEST_RING: Global<u64> = Global::new(0);
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
/// Rings of observed processes, by their addresses.
#[map]
static IO_URING_RINGS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);

/// A request is submitted: (request). Whichever thread submits it, even one that polls the ring, has the id of the process.
#[inline(always)]
pub fn submitted<T: IoTool>(ctx: *mut c_void) {
    let task = task();
    if is_candidate(task)
        && let Some(space) = space::of_process(tgid_of(task))
    {
        // SAFETY: an argument of which the verifier knows the type.
        let request = unsafe { ctx.cast::<*const u8>().read_volatile() };
        note::<T>(task, request, space);
    }
}

#[inline(always)]
fn note<T: IoTool>(task: Task, request: *const u8, space: u32) {
    // SAFETY: the verifier knows the type of the request; a word of a map; a helper without arguments.
    let (ring, mut used, is_silent, start_ns) = unsafe {
        let operation = u32::from(member::<u8>(request, REQUEST_OPCODE.load()));
        let used = IO_URING_USES.get_ptr(operation & (URING_OPERATIONS as u32 - 1));
        let ring = member::<u64>(request, REQUEST_RING.load());
        let is_silent = member::<u32>(request, RING_REQUEST_FLAGS.load()) & CQE_SKIP != 0;
        (ring, used.map_or(0, |used| used.read_volatile()), is_silent, bpf_ktime_get_ns())
    };
    let request = request as u64;
    // The kernel uses the memory of requests again: one whose completion it did not show may have had this address.
    if IO_URING_REQUESTS.remove(request).is_ok() {
        count(T::Counter::RING_UNSEEN);
    }
    if used == 0 {
        return;
    }
    if is_as_flagged(request, CallUse::of_bits(used)) {
        used = CallUse::of_bits(used).as_flagged().bits();
    }
    count(T::Counter::RING_SUBMITTED);
    if IO_URING_RINGS.get_ptr(ring).is_none() {
        let _ = IO_URING_RINGS.insert(ring, 0, BPF_ANY);
    }
    if is_silent {
        // Unless it fails, the kernel does not show its end.
        return count(T::Counter::RING_UNSEEN);
    }
    let tid = u64::from(tid_of(task));
    let begun = UringRequest { space: space.into(), tid, used_as: used, start_ns, ring, comm: comm(task) };
    if IO_URING_REQUESTS.insert(request, begun, BPF_ANY).is_err() {
        count(T::Counter::RING_LOST);
    }
}

/// Whether the flags of a request make another operation of it.
#[inline(always)]
fn is_as_flagged(request: u64, used: CallUse) -> bool {
    let (place, flags) = match used.flags_in() {
        RING_MESSAGE => (RING_MESSAGE_FLAGS.load(), TAKES_NOTHING),
        RING_SYNC => (RING_SYNC_FLAGS.load(), DATASYNC),
        _ => return false,
    };
    // Its operation has filled it in before.
    place != 0 && u64::from(file::read::<u32>(request + place)) & flags != 0
}

/// A request is completed: (ring, request, entry), or before Linux 6.12 or so (ring, request, data of the program, result, ...).
#[inline(always)]
pub fn completed<T: IoTool>(ctx: *mut c_void) {
    // SAFETY: arguments of this tracepoint; of the entry, the verifier knows the type.
    let (ring, request, result) = unsafe {
        let arguments = ctx.cast::<u64>();
        let result = if HAS_ENTRY.load() == 0 {
            arguments.add(3).read_volatile() as u32
        } else {
            member::<u32>(arguments.add(2).cast::<*const u8>().read_volatile(), ENTRY_RESULT.load())
        };
        (arguments.read_volatile(), arguments.add(1).read_volatile(), result)
    };
    if request == 0 {
        if IO_URING_RINGS.get_ptr(ring).is_some() {
            count(T::Counter::RING_GOES_ON);
        }
        return;
    }
    // SAFETY: the value is copied at once.
    if let Some(begun) = unsafe { IO_URING_REQUESTS.get(request).copied() } {
        let _ = IO_URING_REQUESTS.remove(request);
        if begun.ring != ring {
            // One of another process has this address now.
            return count(T::Counter::RING_UNSEEN);
        }
        if prepare::<T>(request, &begun, result) {
            let is_added = aside::finish::<T>(ASIDE);
            count(if is_added { T::Counter::RING_COUNTED } else { T::Counter::RING_LOST });
        } else {
            count(T::Counter::RING_OTHER);
        }
    }
}

/// Fills in the record of the operation. Returns whether it is one on a file that is counted.
#[inline(never)]
fn prepare<T: IoTool>(request: u64, begun: &UringRequest, result: u32) -> bool {
    // SAFETY: a helper without arguments; the record is this program's own.
    unsafe {
        let ended = Ended {
            tid: begun.tid as u32,
            space: begun.space as u32,
            comm: begun.comm,
            used_as: begun.used_as,
            start_ns: begun.start_ns,
            end_ns: bpf_ktime_get_ns(),
            result: result as i32 as i64 as u64,
        };
        let Some(record) = aside::begin(&ended) else { return false };
        let used = CallUse::of_bits(begun.used_as);
        if used.files().descriptor() == 0 {
            // It names a path, which has been forgotten by now.
            (*record).files[0] = unknown(Unknown::Unread);
            return true;
        }
        let file: u64 = file::read(request + REQUEST_FILE.load());
        let has_connected = used.is_known_after() && result as i32 >= 0;
        let kinds = IO_KINDS.load() | if has_connected { CALLED } else { 0 };
        let (number, identity) = T::find(file::path_of(file), kinds, begun.start_ns);
        (&raw mut (*record).files).cast::<u32>().write_volatile(number);
        (&raw mut (*record).entries).cast::<u64>().write_volatile(identity);
        number != OF_OTHER_KIND
    }
}

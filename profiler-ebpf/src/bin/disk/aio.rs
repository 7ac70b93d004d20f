//! Requests of libaio: from `io_submit` until the program has their results, by `io_getevents`.
//!
//! The kernel has no tracepoint for them. A request is a `struct iocb` in the memory of the process, whose address comes back with the result.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_probe_read_user},
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use profiler_common::{
    call::COMPAT,
    disk::{AioKey, AioRequest, Counter, MOST_AIO},
    file::Unknown,
    io::{ASIDE, CallUse, OF_OTHER_KIND, UNKNOWN_FILES, unknown},
};
use profiler_ebpf::{
    FIRST_ERROR,
    call::argument,
    file::{self, known},
    io::{
        FILES_USERS, IO_KINDS,
        aside::{self, Ended},
        thread, use_of,
    },
    ledger::{count, count_more},
    task::{comm, task},
};

use crate::programs::{Disk, once};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// A request (`struct iocb`, include/uapi/linux/aio_abi.h). It is the same for calls of i386.
#[repr(C)]
struct Block {
    data: u64,
    key: u64,
    opcode: u16,
    priority: u16,
    descriptor: u32,
    rest: [u64; 5],
}

/// A result (`struct io_event`).
#[repr(C)]
struct Event {
    data: u64,
    block: u64,
    result: u64,
    second: u64,
}

/// Working memory, which would take too much of the stack.
#[repr(C)]
struct Room {
    block: Block,
    result: Event,
    key: AioKey,
    request: AioRequest,
}

#[map]
static AIO_ROOM: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);
/// Requests under way.
#[map]
static AIO_REQUESTS: HashMap<AioKey, AioRequest> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);

/// What the kernel's loop hands to each of its turns.
struct List {
    /// The call.
    call: u64,
    /// Where the list is, in the memory of the process.
    at: u64,
    /// How many of its requests the kernel has taken.
    taken: u64,
    /// Whether other threads may have changed descriptors meanwhile.
    is_shared: bool,
}

/// The call of the operation that a request stands for: it counts as that (`IOCB_CMD_PREAD` and others). `u64::MAX`: none.
#[inline(always)]
fn meaning(opcode: u16) -> u64 {
    const PREAD64: u64 = 17;
    const PWRITE64: u64 = 18;
    const FSYNC: u64 = 74;
    const FDATASYNC: u64 = 75;
    const PREADV: u64 = 295;
    const PWRITEV: u64 = 296;
    match opcode {
        0 => PREAD64,
        1 => PWRITE64,
        2 => FSYNC,
        3 => FDATASYNC,
        7 => PREADV,
        8 => PWRITEV,
        _ => u64::MAX,
    }
}

/// Reads from the memory of the process. Returns whether it could.
#[inline(always)]
unsafe fn read_user<T>(to: *mut T, address: u64) -> bool {
    // SAFETY: the caller vouches for the room; the helper takes any address.
    unsafe { bpf_probe_read_user(to.cast(), size_of::<T>() as u32, address as *const c_void) == 0 }
}

/// The address of a request in the list of `io_submit`; 0: it could not be read.
#[inline(always)]
unsafe fn block_at(list: &List, turn: u32) -> u64 {
    let mut word = 0u64;
    // SAFETY: a word of the stack.
    unsafe {
        if list.call & COMPAT == 0 {
            let _ = read_user(&raw mut word, list.at + 8 * u64::from(turn));
        } else {
            let mut half = 0u32;
            let _ = read_user(&raw mut half, list.at + 4 * u64::from(turn));
            word = half.into();
        }
    }
    word
}

/// How many requests of a call of `io_submit` are looked at.
#[inline(always)]
fn wanted(call: u64) -> u64 {
    argument(call, 2).min(MOST_AIO)
}

/// `io_submit` begins: (context, number of requests, their addresses).
#[inline(always)]
pub(crate) fn submitting() {
    let Some(thread) = thread::known() else { return };
    // SAFETY: the thread's own record, and a helper without arguments. The callback gets a pointer to the list, and the loop ends before this
    // function does.
    unsafe {
        let call = (*thread).call;
        (*thread).start_ns = bpf_ktime_get_ns();
        let mut list = List { call, at: argument(call, 3), taken: 0, is_shared: false };
        bpf_loop(wanted(call) as u32, note as *mut c_void, (&raw mut list).cast(), 0);
    }
}

/// Notes a request before the kernel looks at it: its result may be fetched by another thread before the call returns.
#[inline(never)]
extern "C" fn note(turn: u32, list: *mut c_void) -> i64 {
    // SAFETY: the list of `submitting`, which waits for this loop.
    let address = unsafe { block_at(&*list.cast::<List>(), turn) };
    count(Counter::AioHits);
    count_other(once::disk_noted(address));
    0
}

/// What a request that is not followed counts as.
#[inline(always)]
fn count_other(outcome: u32) {
    match outcome {
        FOLLOWED => {}
        LOST => count(Counter::AioLost),
        _ => count(Counter::AioOther),
    }
}

const FOLLOWED: u32 = 0;
const LOST: u32 = 1;
const OTHER: u32 = 2;

/// Notes the request at an address of the process. Returns what became of it.
#[inline(always)]
pub(crate) fn noted(address: u64) -> u32 {
    let (Some(room), Some(thread)) = (AIO_ROOM.get_ptr_mut(0), thread::known()) else { return LOST };
    // SAFETY: a map value of this CPU, which no other program uses before this one ends, and the thread's own record.
    unsafe {
        if address == 0 || !read_user(&raw mut (*room).block, address) {
            return LOST;
        }
        let used = use_of(meaning((*room).block.opcode));
        if used == CallUse::NONE {
            return OTHER;
        }
        let descriptor = (*room).block.descriptor;
        let start_ns = (*thread).start_ns;
        let (file, entry) = known::find(file::of_descriptor(descriptor), IO_KINDS.load(), start_ns);
        if file == OF_OTHER_KIND {
            return OTHER;
        }
        (*room).key = AioKey { space: (*thread).space.into(), block: address };
        (*room).request = AioRequest {
            tid: (*thread).tid,
            file,
            descriptor: descriptor.into(),
            entry,
            used_as: used.bits(),
            start_ns,
            comm: comm(task()),
        };
        let (key, request): (&AioKey, &AioRequest) = (&(*room).key, &(*room).request);
        if AIO_REQUESTS.insert(key, request, BPF_NOEXIST).is_ok() {
            return FOLLOWED;
        }
        if AIO_REQUESTS.get_ptr(key).is_none() {
            return LOST;
        }
        // The request that was there has ended, or it could not be submitted again.
        count(Counter::AioUnseen);
        let _ = AIO_REQUESTS.insert(key, request, BPF_ANY);
        FOLLOWED
    }
}

/// `io_submit` has returned: the kernel has taken as many of the requests.
#[inline(always)]
pub(crate) fn submitted(result: u64) {
    let Some(thread) = thread::known() else { return };
    // SAFETY: as in `submitting`.
    unsafe {
        let call = (*thread).call;
        let taken = if result < FIRST_ERROR { result } else { 0 };
        let wanted = wanted(call);
        let is_shared = file::users(task(), FILES_USERS.load()) != 1;
        if taken > wanted {
            count_more(Counter::AioHits, taken - wanted);
            count_more(Counter::AioLost, taken - wanted);
        }
        if taken < wanted || is_shared {
            let mut list = List { call, at: argument(call, 3), taken, is_shared };
            bpf_loop(wanted as u32, confirm as *mut c_void, (&raw mut list).cast(), 0);
        }
    }
}

/// Drops a request that the kernel has not taken, and looks whether the descriptor of another still refers to the same file.
#[inline(never)]
extern "C" fn confirm(turn: u32, list: *mut c_void) -> i64 {
    let (Some(room), Some(thread)) = (AIO_ROOM.get_ptr_mut(0), thread::known()) else { return 1 };
    // SAFETY: as in `note`.
    unsafe {
        let list = &*list.cast::<List>();
        (*room).key = AioKey { space: (*thread).space.into(), block: block_at(list, turn) };
        let key: &AioKey = &(*room).key;
        let Some(request) = AIO_REQUESTS.get_ptr_mut(key) else { return 0 };
        if (*request).start_ns != (*thread).start_ns || (*request).tid != (*thread).tid {
            return 0;
        }
        if u64::from(turn) >= list.taken {
            if AIO_REQUESTS.remove(key).is_ok() {
                count(Counter::AioRefused);
            }
        } else if list.is_shared
            && (*request).file < UNKNOWN_FILES
            && known::entry_of(file::of_descriptor((*request).descriptor as u32)) != (*request).entry
        {
            (*request).file = unknown(Unknown::Changed);
        }
    }
    0
}

/// `io_getevents` has returned with as many results: (context, least, most, results, time).
#[inline(always)]
pub(crate) fn fetched(result: u64) {
    let Some(thread) = thread::known() else { return };
    if result >= FIRST_ERROR {
        return;
    }
    // SAFETY: as in `submitting`.
    unsafe {
        let call = (*thread).call;
        let mut list = List { call, at: argument(call, 4), taken: 0, is_shared: false };
        bpf_loop(result.min(MOST_AIO) as u32, end as *mut c_void, (&raw mut list).cast(), 0);
    }
}

/// Counts the request of a result.
#[inline(never)]
extern "C" fn end(turn: u32, list: *mut c_void) -> i64 {
    // SAFETY: the list of `fetched`, which waits for this loop.
    let address = unsafe { (*list.cast::<List>()).at + u64::from(turn) * size_of::<Event>() as u64 };
    once::disk_ended(address);
    0
}

/// Counts the request whose result is at an address of the process.
#[inline(always)]
pub(crate) fn ended(address: u64) {
    if begin(address) {
        count(if aside::finish::<Disk>(ASIDE) { Counter::AioCounted } else { Counter::AioLost });
    }
}

/// Fills in the record of the request whose result is at an address of the process. Returns whether it was followed.
#[inline(never)]
fn begin(address: u64) -> bool {
    let (Some(room), Some(thread)) = (AIO_ROOM.get_ptr_mut(0), thread::known()) else { return false };
    // SAFETY: as in `noted`.
    unsafe {
        if !read_user(&raw mut (*room).result, address) {
            return false;
        }
        let space = (*thread).space;
        (*room).key = AioKey { space: space.into(), block: (*room).result.block };
        let key: &AioKey = &(*room).key;
        let Some(request) = AIO_REQUESTS.get_ptr(key) else { return false };
        let file = (*request).file;
        let ended = Ended {
            tid: (*request).tid,
            space,
            comm: (*request).comm,
            used_as: (*request).used_as,
            start_ns: (*request).start_ns,
            end_ns: bpf_ktime_get_ns(),
            result: (*room).result.result,
        };
        if AIO_REQUESTS.remove(key).is_err() {
            return false;
        }
        let Some(record) = aside::begin(&ended) else { return false };
        (&raw mut (*record).files).cast::<u32>().write_volatile(file);
        true
    }
}

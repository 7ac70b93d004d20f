//! Requests to devices: those that observed processes cause, and what other processes do to the same devices.
//!
//! A process submits parts of requests. The kernel makes requests of them, and may merge several into one: a request belongs to whoever has
//! submitted its first part. What the kernel writes in the background is submitted by its own threads.

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    helpers::generated::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};
use profiler_common::{
    disk::{self, Counter, DeviceKey, Issued, Neighbour, NeighbourKey, Requests, Submitted},
    histogram::{BUCKETS, bucket},
    opaque::opaque,
};
use profiler_ebpf::{
    atomic,
    io::settings,
    ledger::count,
    space,
    task::{comm, is_candidate, member, task, tgid_of},
};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// The bits of `bio.bi_opf` and `request.cmd_flags` that say what is done (include/linux/blk_types.h).
const OPERATION: u32 = 0xff;
/// The operations that move data (the same file).
const READ: u32 = 0;
const WRITE: u32 = 1;
const ZONE_APPEND: u32 = 13;
/// Value of `issued_ns` of a request that the device has put back.
const PUT_BACK: u64 = 0;

macro_rules! members {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] static $name: Global<u64> = Global::new(0);)*
    };
}

members! {
    /// `bio.bi_bdev`, in bytes, like the next ones.
    BIO_DEVICE,
    /// `bio.bi_opf`
    BIO_FLAGS,
    /// `bio.bi_iter.bi_size`
    BIO_BYTES,
    /// `bio.bi_private`
    BIO_PRIVATE,
    /// `block_device.bd_dev`
    DEVICE_NUMBER,
    /// `request.bio`
    REQUEST_BIO,
    /// `request.cmd_flags`
    REQUEST_FLAGS,
    /// `request.__data_len`
    REQUEST_BYTES,
}

/// Whether other processes are counted.
#[inline(always)]
fn are_neighbours_wanted() -> bool {
    // SAFETY: a value in a section.
    unsafe { (&raw const (*settings()).of_tool).read_volatile() & disk::NEIGHBOURS != 0 }
}

/// Parts of requests, by their addresses in the kernel. Those that are merged stay until they give way to newer ones. The loader sets the size.
#[map]
static SUBMITTED: LruHashMap<u64, Submitted> = LruHashMap::with_max_entries(2, 0);
/// Requests that devices have got, by their addresses.
#[map]
static ISSUED: HashMap<u64, Issued> = HashMap::with_max_entries(8192, BPF_F_NO_PREALLOC);
/// Requests that have ended, by address space, device and operation.
#[map]
static REQUESTS: HashMap<DeviceKey, Requests> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);
/// What other processes have submitted.
#[map]
static NEIGHBOURS: HashMap<NeighbourKey, Neighbour> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);
/// Zeroes to copy from.
#[map]
static NO_REQUESTS: Array<Requests> = Array::with_max_entries(1, 0);

/// Part of a request is submitted: (part).
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/block_bio_queue")]
pub(crate) fn disk_submitted(ctx: *mut c_void) -> i32 {
    let task = task();
    let tgid = tgid_of(task);
    // SAFETY: an argument of which the verifier knows the type.
    let part = unsafe { ctx.cast::<*const u8>().read_volatile() };
    let space = if is_candidate(task) { space::of_process(tgid) } else { None };
    match space {
        Some(space) => {
            // SAFETY: a helper without arguments.
            let submitted = Submitted { space: space.into(), start_ns: unsafe { bpf_ktime_get_ns() } };
            if SUBMITTED.insert(part as u64, submitted, BPF_ANY).is_err() {
                count(Counter::RequestLost);
            }
        }
        None => {
            // A part of a target that was merged into another one is still there, if the kernel has given its address to this one.
            let _ = SUBMITTED.remove(part as u64);
            if are_neighbours_wanted() {
                // SAFETY: the verifier knows the type of the part.
                unsafe { add_neighbour(part, tgid) };
            }
        }
    }
    0
}

/// A part is too large for its device: (piece, where the rest begins). The piece at its beginning is a new part, which refers to what is left.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/block_split")]
pub(crate) fn disk_split(ctx: *mut c_void) -> i32 {
    // SAFETY: an argument of which the verifier knows the type; the value is copied at once.
    unsafe {
        let piece = ctx.cast::<*const u8>().read_volatile();
        let part: u64 = member(piece, BIO_PRIVATE.load());
        match SUBMITTED.get(part).copied() {
            Some(submitted) => {
                if SUBMITTED.insert(piece as u64, submitted, BPF_ANY).is_err() {
                    count(Counter::RequestLost);
                }
            }
            None => {
                let _ = SUBMITTED.remove(piece as u64);
            }
        }
    }
    0
}

/// Counts what another process submits.
#[inline(always)]
unsafe fn add_neighbour(part: *const u8, tgid: u32) {
    // SAFETY: the caller vouches for the part; the rest is a map value.
    unsafe {
        let operation = member::<u32>(part, BIO_FLAGS.load()) & OPERATION;
        if operation != READ && operation != WRITE && operation != ZONE_APPEND {
            // Discards, for example, move nothing, however large the part of the device is.
            return;
        }
        let device: *const u8 = member(part, BIO_DEVICE.load());
        let key = NeighbourKey {
            device: member(device, DEVICE_NUMBER.load()),
            tgid,
            writes: (operation != READ).into(),
            comm: comm(task()),
        };
        let bytes: u32 = member(part, BIO_BYTES.load());
        if NEIGHBOURS.get_ptr_mut(key).is_none() {
            let _ = NEIGHBOURS.insert(key, Neighbour { count: 0, bytes: 0 }, BPF_NOEXIST);
        }
        let Some(neighbour) = NEIGHBOURS.get_ptr_mut(key) else { return count(Counter::NeighbourLost) };
        atomic::add(&raw mut (*neighbour).count, 1);
        atomic::add(&raw mut (*neighbour).bytes, bytes.into());
    }
}

/// A device gets a request: (request).
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/block_rq_issue")]
pub(crate) fn disk_issued(ctx: *mut c_void) -> i32 {
    // SAFETY: an argument of which the verifier knows the type; the value is copied at once.
    unsafe {
        let request = ctx.cast::<*const u8>().read_volatile();
        let part: *const u8 = member(request, REQUEST_BIO.load());
        let Some(Submitted { space, start_ns }) = SUBMITTED.get(part as u64).copied() else {
            if let Some(known) = ISSUED.get_ptr_mut(request as u64)
                && (*known).issued_ns == PUT_BACK
            {
                (*known).issued_ns = bpf_ktime_get_ns();
            } else {
                // The kernel uses the memory of requests again: one whose end was not seen may have had this address.
                let _ = ISSUED.remove(request as u64);
            }
            return 0;
        };
        let _ = SUBMITTED.remove(part as u64);
        let bytes: u32 = member(request, REQUEST_BYTES.load());
        // The request itself has it only while the kernel keeps statistics of the device.
        let device: u32 = member(member::<*const u8>(part, BIO_DEVICE.load()), DEVICE_NUMBER.load());
        let issued = Issued {
            space: space as u32,
            device,
            start_ns,
            issued_ns: bpf_ktime_get_ns(),
            bytes: bytes.into(),
        };
        if ISSUED.insert(request as u64, issued, BPF_ANY).is_err() {
            count(Counter::RequestLost);
        }
    }
    0
}

/// A device has no room for a request that it has got: (request). It gets it again later.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/block_rq_requeue")]
pub(crate) fn disk_put_back(ctx: *mut c_void) -> i32 {
    // SAFETY: an argument of this tracepoint, and a map value.
    unsafe {
        let request = ctx.cast::<u64>().read_volatile();
        if let Some(known) = ISSUED.get_ptr_mut(request) {
            (*known).issued_ns = PUT_BACK;
        }
    }
    0
}

/// Some bytes of a request are done, or all: (request, error, bytes).
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/block_rq_complete")]
pub(crate) fn disk_served(ctx: *mut c_void) -> i32 {
    // SAFETY: arguments, of which the verifier knows the type of the first; the value is copied at once.
    unsafe {
        let request = ctx.cast::<*const u8>().read_volatile();
        let Some(issued) = ISSUED.get(request as u64).copied() else { return 0 };
        let error = ctx.cast::<u64>().add(1).read_volatile() as u32 & 0xff;
        let bytes = ctx.cast::<u64>().add(2).read_volatile() as u32;
        if error == 0 && bytes < member::<u32>(request, REQUEST_BYTES.load()) {
            return 0;
        }
        let _ = ISSUED.remove(request as u64);
        let key = DeviceKey {
            space: issued.space,
            device: issued.device,
            operation: (member::<u32>(request, REQUEST_FLAGS.load()) & OPERATION).into(),
        };
        add(&key, &issued, error != 0);
    }
    0
}

/// Counts a request that has ended.
#[inline(always)]
unsafe fn add(key: &DeviceKey, issued: &Issued, has_failed: bool) {
    if REQUESTS.get_ptr_mut(key).is_none()
        && let Some(nothing) = NO_REQUESTS.get_ptr(0)
    {
        // SAFETY: zeroes in a map.
        let nothing: &Requests = unsafe { &*nothing };
        let _ = REQUESTS.insert(key, nothing, BPF_NOEXIST);
    }
    let Some(requests) = REQUESTS.get_ptr_mut(key) else { return count(Counter::RequestLost) };
    // SAFETY: a map value; the indices are those of buckets.
    unsafe {
        let queued_ns = issued.issued_ns.wrapping_sub(issued.start_ns);
        let served_ns = bpf_ktime_get_ns().wrapping_sub(issued.issued_ns);
        atomic::add(&raw mut (*requests).count, 1);
        atomic::add(&raw mut (*requests).bytes, issued.bytes);
        atomic::add(&raw mut (*requests).errors, has_failed.into());
        atomic::add(&raw mut (*requests).queued_ns, queued_ns);
        atomic::add(&raw mut (*requests).served_ns, served_ns);
        if queued_ns > (*requests).max_queued_ns {
            (*requests).max_queued_ns = queued_ns;
        }
        if served_ns > (*requests).max_served_ns {
            (*requests).max_served_ns = served_ns;
        }
        let at = opaque(bucket(queued_ns) as u64) as usize;
        if at < BUCKETS {
            atomic::add((&raw mut (*requests).queued).cast::<u64>().add(at), 1);
        }
        let at = opaque(bucket(served_ns) as u64) as usize;
        if at < BUCKETS {
            atomic::add((&raw mut (*requests).served).cast::<u64>().add(at), 1);
        }
    }
}

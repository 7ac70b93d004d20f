//! The ring that user space reads: frames of new stacks, events of targets, and single calls.

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query},
    macros::map,
    maps::RingBuf,
};
use profiler_common::record::{RECORD_OF_TOOL, RecordHead};

/// Kind of the records of the tool.
#[unsafe(no_mangle)]
pub static RECORD_KIND: Global<u32> = Global::new(RECORD_OF_TOOL as u32);

#[map]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

const RING_BYTES: u32 = 1 << 20;
/// Records that are not urgent wake user space once so many bytes wait: it looks at the ring four times a second anyway.
const MOST_WAITING: u64 = RING_BYTES as u64 / 4;
/// `BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP` and `BPF_RB_AVAIL_DATA` (include/uapi/linux/bpf.h).
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;
const AVAIL_DATA: u64 = 0;

/// Sends a rare record, for which user space is woken. By itself, the kernel would not wake it if records wait that have not. Returns
/// whether there was room.
///
/// # Safety
/// `record` points to `bytes` bytes that the verifier knows to be readable, and begins with a [`RecordHead`].
#[inline(always)]
pub unsafe fn send(record: *const RecordHead, bytes: u64) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe { output(record, bytes, FORCE_WAKEUP) }
}

/// Sends a record that may be frequent and is not urgent. To wake user space for each would cost the target more than the record. Returns
/// whether there was room.
///
/// # Safety
/// As for [`send`].
#[inline(always)]
pub unsafe fn send_unhurried(record: *const RecordHead, bytes: u64) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let waiting = bpf_ringbuf_query((&raw const RING).cast_mut().cast(), AVAIL_DATA);
        output(record, bytes, if waiting < MOST_WAITING { NO_WAKEUP } else { FORCE_WAKEUP })
    }
}

#[inline(always)]
unsafe fn output(record: *const RecordHead, bytes: u64, flags: u64) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe {
        bpf_ringbuf_output((&raw const RING).cast_mut().cast(), record.cast_mut().cast(), bytes, flags) == 0
    }
}

/// Sends a record without a body. Returns whether there was room.
#[inline(always)]
pub fn send_head(head: &RecordHead) -> bool {
    // SAFETY: a record without a body is its head.
    unsafe { send(head, size_of::<RecordHead>() as u64) }
}

//! The ring that user space reads: frames of new stacks, and events of targets. Only rare events go through it.

use aya_ebpf::{helpers::generated::bpf_ringbuf_output, macros::map, maps::RingBuf};
use profiler_common::record::RecordHead;

#[map]
static RING: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Sends a record. Returns whether there was room.
///
/// # Safety
/// `record` points to `bytes` bytes that the verifier knows to be readable, and begins with a [`RecordHead`].
#[inline(always)]
pub unsafe fn send(record: *const RecordHead, bytes: u64) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe {
        bpf_ringbuf_output((&raw const RING).cast_mut().cast(), record.cast_mut().cast(), bytes, 0) == 0
    }
}

/// Sends a record without a body. Returns whether there was room.
#[inline(always)]
pub fn send_head(head: &RecordHead) -> bool {
    // SAFETY: a record without a body is its head.
    unsafe { send(head, size_of::<RecordHead>() as u64) }
}

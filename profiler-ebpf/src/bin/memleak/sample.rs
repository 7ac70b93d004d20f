//! Drawing allocations by bytes (see `profiler_common::sampling`).

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use profiler_common::{
    memleak::StackTotals,
    sampling::{self, WEIGHT_ONE},
};
use profiler_ebpf::atomic;

use crate::maps::{SAMPLE_BYTES, Thread, WEIGHTS};

/// Whether a call for so many bytes is drawn.
///
/// # Safety
/// `thread` is the state of the current thread.
#[inline(always)]
pub(crate) unsafe fn draws(thread: *mut Thread, size_bytes: u64) -> bool {
    let mean = SAMPLE_BYTES.load();
    if mean == 0 {
        return true;
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if (*thread).random == 0 {
            (*thread).random = u64::from(bpf_get_prandom_u32()) << 32 | u64::from(bpf_get_prandom_u32()) | 1;
            (*thread).gap_bytes = sampling::gap_bytes(random(thread), mean) as i64;
        }
        // A request too large for the signed gap fails anyway; its weight is 1 whatever is left.
        let size = if size_bytes == 0 { 1 } else { size_bytes.min(1 << 48) };
        (*thread).gap_bytes -= size as i64;
        if (*thread).gap_bytes > 0 {
            return false;
        }
        // The process has no memory: where in the block it was hit does not matter for the next gap.
        (*thread).gap_bytes = sampling::gap_bytes(random(thread), mean) as i64;
    }
    true
}

/// xorshift64*, Vigna 2016.
#[inline(always)]
unsafe fn random(thread: *mut Thread) -> u64 {
    // SAFETY: as for `draws`.
    unsafe {
        let mut x = (*thread).random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        (*thread).random = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Adds what a drawn block stands for.
///
/// # Safety
/// `totals` is a map value.
#[inline(always)]
pub(crate) unsafe fn weigh(totals: *mut StackTotals, size_bytes: u64) {
    if SAMPLE_BYTES.load() == 0 {
        return;
    }
    let (point, rest) = sampling::weight_point(size_bytes);
    let at = WEIGHTS.get(point as u32).copied().unwrap_or(WEIGHT_ONE);
    let next = WEIGHTS.get(point as u32 + 1).copied().unwrap_or(WEIGHT_ONE);
    let weight = at - ((at.wrapping_sub(next) * rest) >> 16); // weights fall as sizes grow
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        atomic::add(&raw mut (*totals).weight, weight);
        atomic::add(&raw mut (*totals).weight_bytes, weight * size_bytes / WEIGHT_ONE);
        atomic::add(&raw mut (*totals).weight_variance, weight * (weight - WEIGHT_ONE) / WEIGHT_ONE);
    }
}

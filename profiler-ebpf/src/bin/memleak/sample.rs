//! Sampling allocations by bytes (see `profiler_common::memleak::sampling`).

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use profiler_common::memleak::{
    StackTotals,
    sampling::{self, WEIGHT_ONE},
};
use profiler_ebpf::atomic;

use crate::maps::{DRAWING, Drawing, SAMPLE_BYTES, WEIGHTS};

/// Whether a call for this many bytes is sampled.
///
/// The bytes are counted per CPU: the process is memoryless, so it does not matter which allocations follow one another. Only if
/// a thread is preempted between the two additions may other allocations be sampled than those that were hit.
#[inline(always)]
pub(crate) fn draws(size_bytes: u64) -> bool {
    let mean = SAMPLE_BYTES.load();
    if mean == 0 {
        return true;
    }
    let Some(drawing) = DRAWING.get_ptr_mut(0) else { return false };
    // SAFETY: a map value of this CPU. What is not atomic may be repeated or lost without harm to the estimates.
    unsafe {
        let gap = &raw mut (*drawing).gap_bytes;
        if (*drawing).random == 0 {
            (*drawing).random = u64::from(bpf_get_prandom_u32()) << 32 | u64::from(bpf_get_prandom_u32()) | 1;
            atomic::add(gap, sampling::gap_bytes(random(drawing), mean));
        }
        // A request too large for the signed gap fails anyway; its weight is 1 whatever the gap.
        let size = if size_bytes == 0 { 1 } else { size_bytes.min(1 << 48) };
        atomic::add(gap, size.wrapping_neg());
        let left = gap.read_volatile() as i64;
        if left > 0 {
            return false;
        }
        // The position of the hit within the block does not matter for the next gap either.
        atomic::add(gap, sampling::gap_bytes(random(drawing), mean).wrapping_sub(left as u64));
    }
    true
}

/// xorshift64*, Vigna 2016.
#[inline(always)]
unsafe fn random(drawing: *mut Drawing) -> u64 {
    // SAFETY: as for `draws`.
    unsafe {
        let mut x = (*drawing).random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        (*drawing).random = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Adds what a sampled block stands for.
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

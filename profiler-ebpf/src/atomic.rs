//! Counting where another CPU, or another task on this CPU, may count at the same time.
//!
//! Uprobe programs can be preempted, so even a per-CPU counter needs an atomic add to stay exact. The BPF target
//! declares no atomic types, although the instruction exists since Linux 3.18: hence the intrinsic.

use core::{
    arch::asm,
    intrinsics::{AtomicOrdering, atomic_xadd},
};

/// Adds to a counter in a map.
///
/// # Safety
/// `counter` points to an aligned 64-bit value in a map.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, value: u64) {
    // SAFETY: the caller vouches for the pointer; other accesses are atomic too, or come from user space.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, value) };
}

/// Adds to a 32-bit counter in a map, modulo 2^32.
///
/// # Safety
/// `counter` points to an aligned 32-bit value in a map.
#[inline(always)]
pub unsafe fn add_word(counter: *mut u32, value: u32) {
    // `lock *(u32 *)(r1 + 0) += r2`, by its encoding: the intrinsic has no types of this size here.
    // SAFETY: the caller vouches for the pointer.
    unsafe { asm!(".quad 0x00000000000021c3", in("r1") counter, in("r2") u64::from(value)) };
}

/// Takes the next number from a counter in a map.
///
/// # Safety
/// `counter` points to an aligned 64-bit value in a map.
#[inline(always)]
pub unsafe fn take(counter: *mut u64) -> u64 {
    let number;
    // `r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)` (Linux 5.12), by its encoding: the default instruction set of
    // the BPF target has the add, but not the fetch.
    // SAFETY: the caller vouches for the pointer.
    unsafe { asm!(".quad 0x00000001000021db", in("r1") counter, inlateout("r2") 1u64 => number) };
    number
}

/// Sets bits of a value in a map.
///
/// # Safety
/// `place` points to an aligned 64-bit value in a map.
#[inline(always)]
pub unsafe fn set_bits(place: *mut u64, bits: u64) {
    // `lock *(u64 *)(r1 + 0) |= r2` (Linux 5.12), by its encoding for the same reason.
    // SAFETY: the caller vouches for the pointer.
    unsafe { asm!(".quad 0x00000040000021db", in("r1") place, in("r2") bits) };
}

/// Replaces a value in a map if it is the one expected. Returns whether it was.
///
/// # Safety
/// `place` points to an aligned 64-bit value in a map.
#[inline(always)]
pub unsafe fn replace(place: *mut u64, expected: u64, new: u64) -> bool {
    let found: u64;
    // `r0 = atomic_cmpxchg((u64 *)(r1 + 0), r0, r2)` (Linux 5.12), by its encoding for the same reason.
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        asm!(".quad 0x000000f1000021db", in("r1") place, in("r2") new, inlateout("r0") expected => found);
    }
    found == expected
}

/// The compiler moves no access to memory over it. The processor (x86) keeps the order of stores.
#[inline(always)]
pub fn barrier() {
    // SAFETY: no instruction at all.
    unsafe { asm!("", options(nostack, preserves_flags)) };
}

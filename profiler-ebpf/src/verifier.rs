//! Keeping what the verifier needs to see.

use core::arch::asm;

/// A value that the compiler knows nothing about any more. It proves bounds that the verifier cannot follow, and then
/// drops the checks that the verifier would have understood.
#[inline(always)]
pub fn opaque(value: usize) -> usize {
    let mut value = value as u64;
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) value, options(pure, nomem, preserves_flags, nostack)) };
    value as usize
}

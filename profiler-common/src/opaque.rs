//! Keeps what the verifier needs to see, and hides what it must not follow.
//!
//! On the host these are plain operations, so that code which both sides share can be tested there.

/// Makes the compiler forget what it knows about a value. Otherwise it proves bounds that the verifier cannot follow, and then
/// drops the checks that the verifier would have understood.
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: no instruction at all.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) value, options(pure, nomem, preserves_flags, nostack))
        };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// Makes the verifier forget what it knows about a value: paths that differ only in that become one path from here on. `unknown`
/// is any value that the verifier does not know.
#[inline(always)]
pub fn forget(value: u64, unknown: u64) -> u64 {
    opaque(value ^ unknown) ^ unknown
}

/// 1 if the highest bit is clear, else 0, without a branch: with branches in a search step, the verifier would follow every path
/// through the search. The compiler turns the usual idioms back into branches.
#[inline(always)]
pub fn not_negative(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = !value;
        // SAFETY: a shift of a register.
        unsafe { core::arch::asm!("{0} >>= 63", inout(reg) value, options(pure, nomem, nostack)) };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        !value >> 63
    }
}

//! Keeping what the verifier needs to see, and hiding what it must not follow.
//!
//! On the host these are plain operations, so that code which both sides share can be tested there.

/// A value that the compiler knows nothing about any more: it proves bounds that the verifier cannot follow, and then
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

/// The same value, about which the verifier no longer knows anything: ways through a program that only differ in what is
/// known of it are one way from here on. `unknown` is any value that the verifier does not know.
#[inline(always)]
pub fn forget(value: u64, unknown: u64) -> u64 {
    opaque(value ^ unknown) ^ unknown
}

/// 1 if the highest bit is clear, else 0, without a branch: a search step that branches would make the verifier follow
/// every way through the search. The compiler turns the usual idioms back into branches.
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

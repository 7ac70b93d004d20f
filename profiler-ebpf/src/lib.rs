//! Kernel side of profiler: what the tools' BPF objects share.
//!
//! Each tool is a binary of this crate and becomes one BPF object. On any other architecture the crate is empty and
//! the binaries have a `main` that does nothing, so that `cargo check --workspace` works without a BPF toolchain.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch, core_intrinsics))]
#![cfg_attr(target_arch = "bpf", allow(internal_features, reason = "the BPF target has no atomic types"))]
#![cfg_attr(
    target_arch = "bpf",
    allow(missing_docs, reason = "programs and maps are described where they stand")
)]

#[cfg(target_arch = "bpf")]
pub mod atomic;
#[cfg(target_arch = "bpf")]
pub mod call;
#[cfg(target_arch = "bpf")]
pub mod file;
#[cfg(target_arch = "bpf")]
pub mod hash;
#[cfg(target_arch = "bpf")]
pub mod io;
#[cfg(target_arch = "bpf")]
pub mod ledger;
#[cfg(target_arch = "bpf")]
pub mod log;
#[cfg(target_arch = "bpf")]
pub mod ring;
#[cfg(target_arch = "bpf")]
pub mod socket;
#[cfg(target_arch = "bpf")]
pub mod space;
#[cfg(target_arch = "bpf")]
pub mod stack;
#[cfg(target_arch = "bpf")]
pub mod task;
#[cfg(target_arch = "bpf")]
pub mod threads;

/// Results and pointers of the kernel from here on, as unsigned numbers, are errors (`MAX_ERRNO`, include/linux/err.h).
#[cfg(target_arch = "bpf")]
pub const FIRST_ERROR: u64 = -4095i64 as u64;

/// What the kernel demands of programs that call GPL-only helpers.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the verifier refuses a program that could get here.
    loop {}
}

//! `syscalls`: time in system calls by thread and call, with errors, bytes and durations.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod cells;
#[cfg(target_arch = "bpf")]
mod enter;
#[cfg(target_arch = "bpf")]
mod errors;
#[cfg(target_arch = "bpf")]
mod exit;
#[cfg(target_arch = "bpf")]
mod files;
#[cfg(target_arch = "bpf")]
mod fold;
#[cfg(target_arch = "bpf")]
mod life;
#[cfg(target_arch = "bpf")]
mod look;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod suspended;
#[cfg(target_arch = "bpf")]
mod threads;
#[cfg(target_arch = "bpf")]
mod uring;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

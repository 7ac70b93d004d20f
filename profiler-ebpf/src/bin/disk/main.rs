//! `disk`: what threads do to files.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod aio;
#[cfg(target_arch = "bpf")]
mod block;
#[cfg(target_arch = "bpf")]
mod faults;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod waits;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

//! `sockets`: what threads send and receive.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod answers;
#[cfg(target_arch = "bpf")]
mod moved;
#[cfg(target_arch = "bpf")]
mod peers;
#[cfg(target_arch = "bpf")]
mod programs;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

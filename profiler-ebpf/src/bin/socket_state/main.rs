//! The state of sockets, for the tools that ask for it: one object of its own, which uses the shared maps of the observation.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod programs;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

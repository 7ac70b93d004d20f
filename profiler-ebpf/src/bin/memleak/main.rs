//! Kernel side of `memleak`: follows every block from its allocation to its release.
//!
//! Three probes: the entry of an allocation function notes what is asked for and by whom, its return records the block, and the
//! entry of a release function removes it. Sums are made here; only rare events go through the ring: the frames of a new stack,
//! and execs.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod alloc;
#[cfg(target_arch = "bpf")]
mod blocks;
#[cfg(target_arch = "bpf")]
mod entry;
#[cfg(target_arch = "bpf")]
mod free;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod outcome;
#[cfg(target_arch = "bpf")]
mod parts;
#[cfg(target_arch = "bpf")]
mod sample;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

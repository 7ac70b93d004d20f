//! Stacks with evidence: walks in every context in which a tool may walk, each with the registers and the stack that it used, so
//! that another unwinder can check it; and walks alone, for timing. Tests and measurements attach these programs.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod record;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

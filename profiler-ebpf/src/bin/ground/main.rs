//! Kernel side of every observation, whatever its tools are: which processes are observed. Observed processes become other
//! programs (exec), and have children (fork); both get an address space of their own at once, so that nothing that a tool
//! sees in between is put down to the wrong program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod process;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

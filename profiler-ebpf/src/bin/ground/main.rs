//! Kernel side of every observation, whatever its tools are: which processes and threads are observed. When an observed process
//! becomes another program (exec) or has a child (fork), that gets an address space of its own at once, so that nothing is
//! attributed to the wrong program. Processes that end leave the tables. Other processes that start are reported if user space
//! looks for them.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod process;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

//! Kernel side of every observation, whatever its tools are: which processes and threads are observed. Observed processes become
//! other programs (exec) and have children (fork). Both get an address space of their own at once, so that nothing is attributed
//! to the wrong program. What ends leaves the tables. Other processes that begin are reported if user space looks for them.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod process;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

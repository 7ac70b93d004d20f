//! What we say to the kernel, where the aya crate does not say it for us.

pub(crate) mod bpf;
pub(crate) mod perf;
pub(crate) mod priority;
pub(crate) mod tick;
pub(crate) mod types;

//! System calls and facts of the kernel that the aya crate does not cover.

pub(crate) mod bpf;
pub(crate) mod calls;
pub(crate) mod helpers;
pub(crate) mod lockdown;
pub(crate) mod perf;
pub(crate) mod priority;
pub(crate) mod symbols;
pub(crate) mod ticks;
pub(crate) mod types;
pub(crate) mod uring;

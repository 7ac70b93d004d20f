//! `syscalls`: where threads spend their time in the kernel, with which errors.

pub mod alone;
mod byte_calls;
pub mod counted;
pub mod floor;
pub mod probes;

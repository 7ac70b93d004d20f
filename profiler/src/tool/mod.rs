//! The tools.

pub mod memleak;

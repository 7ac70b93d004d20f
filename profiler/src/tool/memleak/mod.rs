//! `memleak`: which call stacks allocate memory that is never freed?

pub(crate) mod allocators;
pub mod custom;
pub mod plan;
pub mod rows;

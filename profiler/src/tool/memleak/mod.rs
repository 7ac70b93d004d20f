//! `memleak`: which call stacks allocate memory that is never freed?

pub mod analyze;
pub mod estimate;
mod growth;
pub mod hazard;
mod interval;
pub mod judge;
pub mod rows;
pub mod survival;
pub mod verdict;

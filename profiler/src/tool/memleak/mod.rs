//! `memleak`: which call stacks allocate memory that is never freed?

pub mod rows;

//! User stacks of programs that keep no frame pointers.
//!
//! [`table`] turns the unwind information of a program file into rows that the kernel side can look up
//! ([`profiler_common::unwind`] has their form and their meaning). [`cache`] makes each table once, however many
//! processes map the file. [`dictionary`] gives the rules that do not fit a row one number for all tables.
//!
//! Nothing here needs privileges: a table is made from the bytes of one file, and from its separate debug file where
//! the program itself has no unwind information. The bytes are not trusted.

pub mod arena;
pub mod cache;
pub mod dictionary;
pub mod file;
pub mod host;
pub(crate) mod returns;
pub mod spaces;
pub mod table;
pub(crate) mod tracker;
pub mod witness;

#[cfg(test)]
mod own_stack;

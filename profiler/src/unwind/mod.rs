//! User stacks of programs without frame pointers.
//!
//! [`table`] turns the unwind information of a program file into rows that the kernel side can look up
//! ([`profiler_common::unwind`] defines their form and meaning). [`cache`] makes each table once, however many
//! processes map the file. [`dictionary`] numbers the rules that do not fit a row, once for all tables.
//!
//! Nothing here needs privileges: a table is made from the bytes of one file, and from its separate debug file if the
//! program itself has no unwind information. The bytes are not trusted.

pub mod arena;
pub mod cache;
pub mod dictionary;
pub mod file;
pub mod host;
pub(crate) mod returns;
pub mod spaces;
pub mod table;
pub(crate) mod tracker;

#[cfg(test)]
mod own_stack;

//! Answers questions about a running Linux game server.

pub mod elf;
pub mod report;
pub mod text;
pub mod tool;

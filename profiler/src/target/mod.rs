//! The observed processes: finding them, knowing them again, reading what they map.

pub mod find;
pub mod launch;
pub mod maps;
pub mod modules;
mod moved;
pub mod process;
mod script;
pub(crate) mod start;
pub(crate) mod status;

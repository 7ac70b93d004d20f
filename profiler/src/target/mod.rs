//! The observed processes: finding them, knowing them again, reading what they map.

pub mod find;
pub mod launch;
pub mod maps;
pub mod modules;
pub mod process;
mod script;
pub(crate) mod status;

//! The observed processes: finding and identifying them, and reading what they map.

pub(crate) mod datagrams;
pub(crate) mod ends;
pub(crate) mod family;
pub mod find;
pub(crate) mod freezer;
pub mod history;
pub(crate) mod hotspot;
pub(crate) mod incarnation;
pub mod launch;
pub mod maps;
pub(crate) mod memory;
pub mod modules;
mod moved;
pub mod process;
pub(crate) mod program;
mod script;
pub(crate) mod start;
pub(crate) mod stat;
pub(crate) mod status;

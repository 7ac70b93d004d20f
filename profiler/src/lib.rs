//! Answers questions about a running Linux game server.

pub mod capture;
pub mod doctor;
pub mod elf;
pub mod error;
pub mod exit;
pub mod export;
pub mod gate;
pub(crate) mod kernel;
pub mod naming;
pub(crate) mod observe;
pub mod output;
pub mod render;
pub mod report;
pub mod stage;
pub mod stats;
pub mod symbolize;
pub mod target;
pub mod text;
pub mod tool;
pub mod units;
pub mod unwind;

//! Answers questions about a running Linux game server.

pub mod error;
pub mod exit;
pub mod export;
pub mod render;
pub mod report;
pub mod text;
pub mod tool;
pub mod units;

//! Answers questions about a running Linux game server.
//!
//! [`tool`] has the tools. They put probes into the processes that [`target`] finds (`capture`, by way of `kernel`), and make a
//! [`report::Report`] of what the probes count. [`unwind`] makes the tables for walking their stacks, [`symbolize`] names the
//! code of the stacks, and [`naming`] knows which names matter; [`elf`] reads program files for all of these. [`render`] and
//! [`export`] turn a report into text and pictures, and [`gate`] into an exit code. [`doctor`] finds out whether any of
//! this works on a machine.
//!
//! Nothing in here prints, ends the process or installs signal handlers: the command line (`cli`, in the binary) does.

pub mod capture;
pub mod doctor;
pub mod elf;
pub mod error;
pub mod exit;
pub mod export;
pub mod gate;
pub(crate) mod kernel;
#[cfg(feature = "lab")]
pub mod lab;
pub mod naming;
pub mod observe;
pub mod output;
pub mod render;
pub mod report;
pub(crate) mod stack;
pub mod stage;
pub mod stats;
pub mod symbolize;
pub mod target;
pub mod text;
pub mod tool;
pub mod units;
pub mod unwind;

//! Answers questions about a running Linux game server.
//!
//! [`observe`] runs one observation: it looks for the processes ([`target`]), lets each of the [`tool`]s attach its probes
//! ([`capture`], on `kernel`), and takes in what these count until the end. `stack` turns recorded stacks into named frames, with
//! the tables of [`unwind`], the names of [`symbolize`], and [`naming`], which knows which names matter; [`elf`] reads program files
//! for all of these. [`stats`] has the statistics, a crate of its own. The result is a [`report::Report`]: [`render`] and [`export`] turn it into text and
//! pictures, [`gate`] into an exit code. [`doctor`] finds out whether any of this works on a machine.
//!
//! Nothing in here prints, ends the process or installs signal handlers: the command line (`cli`, in the binary) does.

pub mod capture;
pub mod doctor;
pub mod elf;
pub mod error;
pub mod exit;
pub mod export;
pub mod gate;
pub(crate) mod io_tools;
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
pub mod symbolize;
pub mod target;
pub mod text;
pub mod tool;
pub mod units;
pub mod unwind;

pub use profiler_stats as stats;

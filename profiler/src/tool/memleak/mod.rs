//! `memleak`: which call stacks allocate memory that is never freed?
//!
//! Data goes one way: `tool` attaches and owns the probes, `collect` turns the kernel side's maps into rows, which
//! `stats::lifetimes` judges (pure), and `section` makes them part of a report.

pub(crate) mod allocators;
mod args;
mod blocks;
mod canary;
mod coarse;
pub(crate) mod collect;
mod columns;
mod coverage;
pub mod custom;
mod foremost;
mod gone;
mod grown;
mod held;
mod load;
mod moments;
pub mod options;
pub(crate) mod plan;
mod price;
pub(crate) mod readiness;
mod reasons;
pub mod rules;
mod section;
mod sentences;
mod session;
mod spoken;
mod table;
mod tool;
mod totals;
mod unrecorded;

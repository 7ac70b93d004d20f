//! `memleak`: which call stacks allocate memory that is never freed?
//!
//! Data goes one way: `tool` attaches and owns the probes, `collect` turns the kernel side's maps into `rows`, `analyze` judges
//! them (pure), `section` makes them part of a report.

mod above;
mod admission;
pub(crate) mod allocators;
pub mod analyze;
mod args;
mod arrivals;
pub mod before;
mod blocks;
mod canary;
mod coarse;
pub(crate) mod collect;
mod columns;
mod coverage;
pub mod custom;
pub mod estimate;
pub mod floor;
mod foremost;
mod gone;
mod growers;
pub mod growth;
mod harm;
pub mod hazard;
mod interval;
pub mod judge;
mod lately;
mod load;
mod memory;
mod moments;
pub mod options;
pub mod plan;
mod pool;
mod probes;
pub(crate) mod readiness;
mod refusals;
pub mod rows;
pub mod rules;
#[cfg(test)]
mod sample;
mod section;
mod sentences;
mod session;
mod sight;
pub mod sites;
mod spoken;
pub mod survival;
pub mod survivors;
mod table;
mod tick;
mod tool;
mod totals;
pub mod verdict;

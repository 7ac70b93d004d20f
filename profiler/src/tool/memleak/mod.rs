//! `memleak`: which call stacks allocate memory that is never freed?
//!
//! Data goes one way: `session` attaches and owns the probes, `collect` turns the kernel side's maps into `rows`,
//! `analyze` judges them (pure), `section` makes them part of a report.

mod above;
mod admission;
mod advice;
pub(crate) mod allocators;
pub mod analyze;
mod arrivals;
pub mod before;
mod blocks;
mod calls;
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
mod made;
mod memory;
mod names;
pub mod options;
mod own;
pub mod plan;
mod pool;
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
mod space;
mod spoken;
mod stacks;
pub mod survival;
pub mod survivors;
mod table;
mod totals;
pub mod verdict;
mod walks;

pub use admission::{DEFAULT_MAX_COST, Forecast};
pub use readiness::AllocatorFound;
pub use session::{Event, Progress, observe};
pub use space::{CallEnd, Site};

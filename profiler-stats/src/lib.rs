//! Statistics that know nothing of tools, reports or kernels. A crate of its own, because its tests simulate: it is optimised
//! in every build.

pub mod drawing;
pub mod estimate;
pub mod histogram;
mod interval;
pub mod lifetimes;
pub mod period;

pub use self::histogram::{Histogram, Quantile};

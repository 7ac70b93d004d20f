//! Statistics that know nothing of tools, reports or kernels.

pub(crate) mod drawing;
pub mod estimate;
pub mod histogram;
mod interval;
pub mod lifetimes;
pub mod period;

pub use self::histogram::{Histogram, Quantile};

//! Statistics that know nothing of tools, reports or kernels.

pub mod histogram;

pub use self::histogram::{Histogram, Quantile};

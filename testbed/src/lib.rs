//! Code that tests, benches, the demo and the field runs share.

pub use anyhow::{Error, Result};

pub mod place;
pub mod running;
pub mod skip;
pub mod workload;

//! What tests, benches, the demo and the field runs share.

pub mod place;
pub mod skip;

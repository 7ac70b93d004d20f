//! Formats of other tools, made from a report.

mod flamegraph;
mod folded;

pub use self::flamegraph::flamegraph;
pub use self::folded::{Folded, folded};

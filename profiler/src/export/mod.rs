//! Exports reports to formats of other tools.

mod flamegraph;
mod folded;

pub use self::flamegraph::flamegraph;
pub use self::folded::{Folded, folded};

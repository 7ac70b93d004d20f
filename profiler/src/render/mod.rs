//! How a report looks. Renderers are pure, and know no tool: everything follows from what the columns declare.

mod json;

pub use self::json::{json, write as write_json};

//! Formats of reports. Renderers are pure functions and work for every tool, because columns declare their unit and role.

mod csv;
mod format;
mod frames;
mod human;
mod json;
mod jsonl;

pub use self::csv::csv;
pub use self::format::Format;
pub use self::human::{
    Colour, DEFAULT_WIDTH, HumanOptions, MAX_WIDTH, MIN_WIDTH, answer, diagnosis, divider, human, live,
    message, sentence, verdict,
};
pub use self::json::{json, write as write_json};
pub use self::jsonl::jsonl;

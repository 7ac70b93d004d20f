//! Sizes, durations and rates: how people write them, and how they are shown.
//!
//! Inside the program sizes are bytes and durations nanoseconds; text with units exists only at the two edges.

mod format;
mod lengths;
pub mod options;
mod parse;

pub use self::format::{
    apart, bytes, bytes_per_hour, count, duration, exact_bytes, exact_duration, grouped, nanos, percent,
    percentage, plain, plural, ratio, rfc3339, utc,
};
pub use self::lengths::{range, rounded_up};
pub use self::parse::{UnitError, parse_bytes, parse_bytes_per_hour, parse_duration};

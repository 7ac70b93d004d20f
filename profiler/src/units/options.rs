//! Values of command-line options: from words to numbers, with the range in words where one is out of it.

use std::time::Duration;

use super::{exact_duration, parse_bytes, parse_duration};

/// A size in bytes.
///
/// # Errors
/// A sentence for the user, as of all functions here.
pub fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|e| e.to_string())
}

/// A size of at least one byte.
///
/// # Errors
/// As of [`bytes`].
pub fn positive_bytes(text: &str) -> Result<u64, String> {
    bytes(text).and_then(|n| if n == 0 { Err("must be more than 0".to_owned()) } else { Ok(n) })
}

/// A duration of at least one nanosecond.
///
/// # Errors
/// As of [`bytes`].
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|e| e.to_string())?;
    if duration.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(duration) }
}

/// A duration of at least `least`; `why` follows if it is less.
///
/// # Errors
/// As of [`bytes`].
pub fn duration_from(least: Duration, why: &str, text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|e| e.to_string())?;
    if duration >= least {
        return Ok(duration);
    }
    Err(format!("must be {} or more{why}", exact_duration(least)))
}

/// A whole number in a range.
///
/// # Errors
/// As of [`bytes`].
pub fn whole(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = text.parse::<u32>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("it takes a whole number from {least} to {most}"))
}

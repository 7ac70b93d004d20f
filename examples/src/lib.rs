//! What the example servers have in common.

use std::time::Duration;

/// Reads `250ms`, `6s`, `1.5m` or `2h`. Zero is refused: every duration here is a mean or a limit.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or("needs a unit: ms, s, m or h")?;
    let (number, unit) = text.split_at(unit_at);
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is not a unit: ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    match Duration::try_from_secs_f64(number * seconds_per_unit) {
        Ok(length) if !length.is_zero() => Ok(length),
        _ => Err("must be more than zero, and finite".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_units_and_fractions() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("6s"), Ok(Duration::from_secs(6)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn durations_without_sense_are_refused() {
        for text in ["6", "s", "6 parsecs", "-1s", "0s", "1e999s", ""] {
            assert!(duration(text).is_err(), "{text:?} was taken");
        }
    }
}

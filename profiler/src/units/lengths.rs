//! Lengths of time in sentences.

use std::time::Duration;

use super::duration;

/// A length that is said to be enough: rounding never makes it shorter: `13s` for 12.001 s.
pub fn rounded_up(length: Duration) -> String {
    let shown_ms = match length.as_secs() {
        86_400.. => 3_600_000,
        3600.. => 60_000,
        10.. => 1_000,
        1.. => 100,
        0 => 1,
    };
    let ms = length.as_nanos().div_ceil(1_000_000).next_multiple_of(shown_ms);
    duration(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

/// Lengths of time in words: one, or the shortest and the longest.
pub fn range(lengths: impl Iterator<Item = Duration> + Clone) -> String {
    let shown = |length: Option<Duration>| duration(length.unwrap_or_default());
    let (shortest, longest) = (shown(lengths.clone().min()), shown(lengths.max()));
    if shortest == longest { longest } else { format!("{shortest} to {longest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_is_enough_is_rounded_up() {
        assert_eq!(rounded_up(Duration::from_millis(12_001)), "13s");
        assert_eq!(rounded_up(Duration::from_secs(5_401)), "1h31m");
        assert_eq!(rounded_up(Duration::from_nanos(2_400_000_001)), "2.5s");
    }

    #[test]
    fn a_range_has_two_ends_if_they_differ() {
        let of = |seconds: &[u64]| range(seconds.iter().map(|s| Duration::from_secs(*s)));
        assert_eq!((of(&[3, 1, 2]).as_str(), of(&[2, 2]).as_str()), ("1s to 3s", "2s"));
    }
}

//! From what people write to bytes and nanoseconds.
//!
//! The arithmetic is decimal and exact: `0.1s` is 100 000 000 ns, not the nearest binary fraction.

use std::time::Duration;

use thiserror::Error;

/// Why text is not a size or a duration. Each message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Nothing was given.
    #[error("empty; write a {0}")]
    Empty(&'static str),
    /// It does not start with a number.
    #[error("`{0}` is not a number; write a {1}")]
    NotANumber(String, &'static str),
    /// A negative number.
    #[error("it must not be negative")]
    Negative,
    /// An unknown unit.
    #[error("unknown unit `{0}`; write a {1}")]
    UnknownUnit(String, &'static str),
    /// A duration without unit.
    #[error("no unit; write `{0}s` for seconds or `{0}m` for minutes")]
    NoUnit(String),
    /// A size where a growth is wanted.
    #[error("`{0}` is a size, not a growth; write `{0}/h` for a growth per hour")]
    NotPerHour(String),
    /// A fraction of a byte or of a nanosecond.
    #[error("`{0}` is not a whole number of {1}")]
    Fraction(String, &'static str),
    /// Units that do not go from large to small.
    #[error("the units must go from large to small, each once, as in `1h30m`")]
    Order,
    /// More than fits.
    #[error("too large; at most {0}")]
    TooLarge(&'static str),
}

const SIZE: &str = "size such as `4096`, `512KiB` or `1.5M`";
const DURATION: &str = "duration such as `30m`, `1h30m`, `1.5s` or `16.6ms`";

/// Names of the units of a size, as GNU tools use them, in lower case.
const SIZES: [(&str, u64); 17] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
    ("p", 1 << 50),
    ("pib", 1 << 50),
    ("pb", 1_000_000_000_000_000),
];

/// Names of the units of a duration, in nanoseconds.
const DURATIONS: [(&str, u64); 23] = [
    ("d", 86_400_000_000_000),
    ("day", 86_400_000_000_000),
    ("days", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("hour", 3_600_000_000_000),
    ("hours", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("mins", 60_000_000_000),
    ("minute", 60_000_000_000),
    ("minutes", 60_000_000_000),
    ("s", 1_000_000_000),
    ("sec", 1_000_000_000),
    ("secs", 1_000_000_000),
    ("second", 1_000_000_000),
    ("seconds", 1_000_000_000),
    ("msec", 1_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
    ("nsec", 1),
];

/// Parses a size in bytes.
///
/// As in GNU tools `K`, `M`, `G`, `T`, `P` and `KiB`... are powers of 1024, `kB`, `MB`... powers of 1000, and a plain
/// number is bytes. Case does not matter. Fractions of a unit are rounded to the nearest byte.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    const LIMIT: &str = "16383 PiB";
    let text = text.trim();
    let (number, rest) = Number::take(text, SIZE, LIMIT)?;
    let unit = rest.trim_start();
    let wanted = unit.to_ascii_lowercase();
    let Some(&(_, scale)) = SIZES.iter().find(|(name, _)| *name == wanted) else {
        return Err(UnitError::UnknownUnit(unit.to_owned(), SIZE));
    };
    if scale == 1 && number.has_fraction() {
        return Err(UnitError::Fraction(text.to_owned(), "bytes"));
    }
    number.times(scale).ok_or(UnitError::TooLarge(LIMIT))
}

/// Parses a growth, a size per hour such as `1MiB/h`: bytes per hour. `0` needs no unit.
pub fn parse_bytes_per_hour(text: &str) -> Result<u64, UnitError> {
    const GROWTH: &str = "growth such as `1MiB/h`";
    let text = text.trim();
    if text.is_empty() {
        return Err(UnitError::Empty(GROWTH));
    }
    match text.strip_suffix("/h") {
        Some(size) => parse_bytes(size),
        None if text == "0" => Ok(0),
        None if text.ends_with(char::is_alphabetic) && parse_bytes(text).is_ok() => {
            Err(UnitError::NotPerHour(text.to_owned()))
        }
        None => Err(UnitError::UnknownUnit(text.to_owned(), GROWTH)),
    }
}

/// Parses a duration; its resolution is one nanosecond, its maximum 584 years.
///
/// One or more numbers, each with a unit (`d`, `h`, `m`, `s`, `ms`, `us`, `ns`), from large to small. Each may have a
/// fraction, which is rounded to the nearest nanosecond. `0` needs no unit.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const LIMIT: &str = "213503 days";
    let mut rest = text.trim();
    let mut total = 0u64;
    let mut previous = u64::MAX;
    loop {
        let (number, tail) = Number::take(rest, DURATION, LIMIT)?;
        let tail = tail.trim_start();
        let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        if unit.is_empty() {
            let zero = number.digits == 0 && tail.is_empty() && previous == u64::MAX;
            return if zero { Ok(Duration::ZERO) } else { Err(UnitError::NoUnit(rest.to_owned())) };
        }
        let Some(&(_, scale)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
            return Err(UnitError::UnknownUnit(unit.to_owned(), DURATION));
        };
        if scale >= previous {
            return Err(UnitError::Order);
        }
        if scale == 1 && number.has_fraction() {
            return Err(UnitError::Fraction(text.to_owned(), "nanoseconds"));
        }
        total =
            number.times(scale).and_then(|part| total.checked_add(part)).ok_or(UnitError::TooLarge(LIMIT))?;
        (previous, rest) = (scale, tail.trim_start());
        if rest.is_empty() {
            return Ok(Duration::from_nanos(total));
        }
    }
}

/// A decimal number: `digits` divided by ten to the power of `decimals`.
struct Number {
    digits: u128,
    decimals: u32,
}

impl Number {
    /// Splits the number off the start of `text`. `limit` is the largest value, for the message about a number that is
    /// too large.
    fn take<'a>(
        text: &'a str,
        example: &'static str,
        limit: &'static str,
    ) -> Result<(Number, &'a str), UnitError> {
        if text.is_empty() {
            return Err(UnitError::Empty(example));
        }
        if text.starts_with(['-', '−']) {
            return Err(UnitError::Negative);
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let bad = || UnitError::NotANumber(text.to_owned(), example);
        if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
            return Err(bad());
        }
        // Later digits are far below a nanosecond or a byte.
        let fraction = fraction.get(..18).unwrap_or(fraction).trim_end_matches('0');
        let too_long = |_| UnitError::TooLarge(limit);
        let whole: u64 = whole.parse().map_err(too_long)?;
        let scale = 10u128.pow(fraction.len() as u32);
        let digits = u128::from(whole) * scale;
        let small = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| bad())? };
        Ok((Number { digits: digits + small, decimals: fraction.len() as u32 }, rest))
    }

    fn has_fraction(&self) -> bool {
        self.decimals > 0
    }

    /// The number times `scale`, rounded half up; `None` if it does not fit.
    fn times(&self, scale: u64) -> Option<u64> {
        let divisor = 10u128.pow(self.decimals);
        let product = self.digits.checked_mul(u128::from(scale))?;
        u64::try_from(product.checked_add(divisor / 2)? / divisor).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{UnitError, parse_bytes, parse_bytes_per_hour, parse_duration};
    use crate::units::{exact_bytes, exact_duration};

    #[test]
    fn sizes_follow_gnu() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512KiB", 512 << 10),
            ("512k", 512 << 10),
            (" 512 K ", 512 << 10),
            ("1.5M", 1_572_864),
            ("0.1kB", 100),
            ("2MB", 2_000_000),
            ("1.0000001GB", 1_000_000_100),
            ("3T", 3 << 40),
            ("16383PiB", 16383 << 50),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn bad_sizes_say_why() {
        use UnitError::{Empty, Fraction, Negative, NotANumber, TooLarge, UnknownUnit};
        let refused = |text: &str| parse_bytes(text).unwrap_err();
        assert!(matches!(refused(""), Empty(_)));
        assert!(matches!(refused("-1K"), Negative));
        assert!(matches!(refused("NaN"), NotANumber(..)));
        assert!(matches!(refused("inf"), NotANumber(..)));
        assert!(matches!(refused("."), NotANumber(..)));
        assert!(matches!(refused("1.2.3K"), NotANumber(..)));
        assert!(matches!(refused("1e9"), UnknownUnit(..)));
        assert!(matches!(refused("10 bananas"), UnknownUnit(..)));
        assert!(matches!(refused("1.5"), Fraction(..)));
        assert!(matches!(refused("16384PiB"), TooLarge(_)));
        assert_eq!(refused("99999999999999999999999999"), TooLarge("16383 PiB"));
        assert_eq!(
            refused("10 bananas").to_string(),
            "unknown unit `bananas`; write a size such as `4096`, `512KiB` or `1.5M`"
        );
    }

    #[test]
    fn a_growth_is_a_size_per_hour() {
        assert_eq!(parse_bytes_per_hour(" 1.5MiB/h"), Ok(3 << 19));
        assert_eq!((parse_bytes_per_hour("0B/h"), parse_bytes_per_hour("0")), (Ok(0), Ok(0)));
        assert_eq!(
            parse_bytes_per_hour("1MiB").unwrap_err().to_string(),
            "`1MiB` is a size, not a growth; write `1MiB/h` for a growth per hour"
        );
        assert!(
            matches!(parse_bytes_per_hour("1"), Err(UnitError::UnknownUnit(..))),
            "a byte is nothing to advise"
        );
        assert!(parse_bytes_per_hour("").is_err() && parse_bytes_per_hour("1MiB/s").is_err());
    }

    #[test]
    fn durations_take_fractions_and_several_units() {
        for (text, nanos) in [
            ("0", 0),
            ("30m", 1_800_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h 30m 5s", 5_405_000_000_000),
            ("16.6ms", 16_600_000),
            ("1.5s", 1_500_000_000),
            ("0.1s", 100_000_000),
            ("2d", 172_800_000_000_000),
            ("250us", 250_000),
            ("250µs", 250_000),
            ("7ns", 7),
            ("5min", 300_000_000_000),
            ("1 minute 2 seconds", 62_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn bad_durations_say_why() {
        use UnitError::{Empty, Fraction, Negative, NoUnit, NotANumber, Order, TooLarge, UnknownUnit};
        let refused = |text: &str| parse_duration(text).unwrap_err();
        assert!(matches!(refused("  "), Empty(_)));
        assert!(matches!(refused("-5s"), Negative));
        assert!(matches!(refused("nan"), NotANumber(..)));
        assert!(matches!(refused("1h-5m"), Negative));
        assert!(matches!(refused("1h1h"), Order));
        assert!(matches!(refused("5s1h"), Order));
        assert!(matches!(refused("5 fortnights"), UnknownUnit(..)));
        assert!(matches!(refused("5M"), UnknownUnit(..)));
        assert!(matches!(refused("1.5ns"), Fraction(..)));
        for long in ["300000d", "99999999999999999999999s"] {
            assert_eq!(refused(long), TooLarge("213503 days"));
        }
        assert!(matches!(refused("213503d24h"), TooLarge(_)));
        assert_eq!(refused("30"), NoUnit("30".to_owned()));
    }

    proptest! {
        #[test]
        fn exact_forms_round_trip(n in any::<u64>(), shift in 0u32..64) {
            let n = n >> shift;
            prop_assert_eq!(parse_bytes(&exact_bytes(n)), Ok(n));
            let duration = Duration::from_nanos(n);
            prop_assert_eq!(parse_duration(&exact_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_a_value_or_an_error(text in any::<String>(), number in "[0-9.]{0,40}[a-zµ]{0,3}") {
            for text in [text, number] {
                let _ = (parse_bytes(&text), parse_duration(&text));
            }
        }
    }
}

//! From bytes and nanoseconds to what people read: two or three significant digits, one unit.

use std::{fmt::Display, time::Duration};

const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
const TIMES: [(&str, f64); 6] =
    [("ns", 1e3), ("us", 1e3), ("ms", 1e3), ("s", 60.0), ("min", 60.0), ("h", f64::INFINITY)];
/// Decimals that a number has at most.
const MOST_DECIMALS: usize = 12;
/// Shown for NaN and infinity.
const UNKNOWN: &str = "?";

/// A size: `412 MiB`, `1.5 GiB`, `0 B`.
pub fn bytes(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let (mut scaled, mut unit) = (value.abs(), 0);
    // 1023.6 KiB is 1.0 MiB: the unit is chosen by the number as it will be printed.
    while scaled.round() >= 1024.0 && unit + 1 < BINARY.len() {
        (scaled, unit) = (scaled / 1024.0, unit + 1);
    }
    let number = if unit == 0 { format!("{scaled:.0}") } else { digits(scaled) };
    let sign = if value < 0.0 && number != "0" { "-" } else { "" };
    format!("{sign}{number} {}", BINARY.get(unit).unwrap_or(&""))
}

/// A change of size per hour, always with its sign: `+549 MiB/h`, `-12 KiB/h`, `0 B/h`.
pub fn bytes_per_hour(value: f64) -> String {
    let size = bytes(value);
    let sign = if value > 0.0 && !size.starts_with("0 ") { "+" } else { "" };
    format!("{sign}{size}/h")
}

/// Two sizes with as many digits as it takes to tell them apart: `21.96 MiB` and `22.00 MiB`. Both are in the unit of
/// the second.
pub fn apart(one: f64, other: f64) -> (String, String) {
    let steps = (other.abs().max(1.0).log2() / 10.0).floor().clamp(0.0, (BINARY.len() - 1) as f64);
    let unit = BINARY.get(steps as usize).unwrap_or(&"");
    let shown = |value: f64, decimals: usize| format!("{:.decimals$} {unit}", value / 1024f64.powf(steps));
    let differ = |decimals: &usize| shown(one, *decimals) != shown(other, *decimals);
    let decimals = (1..MOST_DECIMALS).find(differ).unwrap_or(MOST_DECIMALS);
    (shown(one, decimals), shown(other, decimals))
}

/// A number of things: `0`, `873`, `9.1k`, `12M`.
pub fn count(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let (mut scaled, mut unit) = (value.abs(), 0);
    while scaled.round() >= 1000.0 && unit + 1 < DECIMAL.len() {
        (scaled, unit) = (scaled / 1000.0, unit + 1);
    }
    let number = if unit == 0 { plain(scaled) } else { digits(scaled) };
    let sign = if value < 0.0 && number != "0" { "-" } else { "" };
    format!("{sign}{number}{}", DECIMAL.get(unit).unwrap_or(&""))
}

/// A whole number with its thousands set apart: `9,001,204`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of things: `1 site`, `2 sites`.
pub fn plural<N: Display + PartialEq + From<u8>>(number: N, one: &str, many: &str) -> String {
    let word = if number == N::from(1) { one } else { many };
    format!("{number} {word}")
}

/// A small number or a rate: `0`, `0.02`, `2.4`, `873`. Below 0.01 one digit is kept: `0.0003`.
pub fn plain(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        UNKNOWN.to_owned()
    } else if size == 0.0 {
        "0".to_owned()
    } else if size < 1e-6 {
        format!("{value:.0e}")
    } else if size < 0.01 {
        let decimals = size.log10().abs().ceil() as usize;
        format!("{value:.decimals$}")
    } else if size < 0.995 {
        format!("{value:.2}")
    } else if value.fract() == 0.0 || size >= 9.95 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// A fraction of 1, with two decimals: `0.30`.
pub fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{value:.2}") } else { UNKNOWN.to_owned() }
}

/// A limit as it is typed: "30%", "0.0001%". To two decimals, or to two digits where that would be 0.
pub fn percentage(limit: f64) -> String {
    let percent = limit * 100.0;
    let rounded = (percent * 1e2).round() / 1e2;
    if rounded != 0.0 || percent == 0.0 || !percent.is_finite() {
        return format!("{rounded}%");
    }
    let digits = format!("{percent:.1e}").parse::<f64>().unwrap_or(percent);
    format!("{digits}%")
}

/// A fraction of 1 as a percentage. Rounding never makes 100 % of less, nor 0 % of more: `99.9 %`, `0.1 %`, `<0.1 %`.
pub fn percent(fraction: f64) -> String {
    let value = fraction * 100.0;
    if !value.is_finite() {
        UNKNOWN.to_owned()
    } else if value == 0.0 || value == 100.0 {
        format!("{value:.0} %")
    } else if value > 0.0 && value < 0.1 {
        "<0.1 %".to_owned()
    } else if value < 100.0 {
        format!("{:.1} %", value.min(99.9))
    } else {
        format!("{value:.0} %")
    }
}

/// A measured time: `850 ns`, `1.2 ms`, `16 s`, `2.5 h`.
pub fn nanos(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let mut scaled = value;
    for (unit, next) in TIMES {
        if scaled.abs().round() < next {
            let number = if unit == "ns" { plain(scaled) } else { digits(scaled) };
            return format!("{number} {unit}");
        }
        scaled /= next;
    }
    UNKNOWN.to_owned()
}

/// A length of time in its two largest units, rounded down: `45m`, `1h30m`, `2m20s`, `1.5s`, `16ms`.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        86_400.. => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
        3600.. => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        60.. => two(seconds / 60, "m", seconds % 60, "s"),
        10.. => format!("{seconds}s"),
        1.. => match length.subsec_millis() / 100 {
            0 => format!("{seconds}s"),
            tenths => format!("{seconds}.{tenths}s"),
        },
        0 if length.subsec_millis() > 0 => format!("{}ms", length.subsec_millis()),
        0 => format!("{}us", length.subsec_micros()),
    }
}

/// A size without loss, in the largest binary unit that divides it: `512KiB`, `1000B`. The inverse of `parse_bytes`.
pub fn exact_bytes(bytes: u64) -> String {
    let steps = if bytes == 0 { 0 } else { (bytes.trailing_zeros() / 10).min(5) };
    let unit = BINARY.get(steps as usize).unwrap_or(&"B");
    format!("{}{unit}", bytes >> (10 * steps))
}

/// A duration without loss: `1h30m`, `16ms600us`, `0s`. The inverse of `parse_duration`.
pub fn exact_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut out = String::new();
    for (unit, scale) in [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if rest >= scale {
            out.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// A point in time, in nanoseconds since the Unix epoch: `2026-11-22 08:02:14 UTC`.
pub fn utc(unix_ns: u64) -> String {
    let [year, month, day, hour, minute, second] = date_and_time(unix_ns);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The same for programs, by RFC 3339, in milliseconds: `2026-11-22T08:02:14.120Z`.
pub fn rfc3339(unix_ns: u64) -> String {
    let [year, month, day, hour, minute, second] = date_and_time(unix_ns);
    let ms = unix_ns / 1_000_000 % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month, day, hour, minute and second, in UTC.
///
/// Days to date by the era method for the proleptic Gregorian calendar (400 years have 146 097 days).
fn date_and_time(unix_ns: u64) -> [u64; 6] {
    let seconds = unix_ns / 1_000_000_000;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Years are counted from 1 March, so that a leap day is the last day of its year.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [year, month, day, hour, minute, second]
}

/// Two or three significant digits: `1.5`, `15`, `150`.
fn digits(value: f64) -> String {
    if value.abs() < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    #[test]
    fn sizes() {
        for (value, text) in [
            (0.0, "0 B"),
            (-0.0, "0 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KiB"),
            (1023.7 * 1024.0, "1.0 MiB"),
            (9.96 * MIB, "10 MiB"),
            (412.0 * MIB, "412 MiB"),
            (1536.0 * MIB, "1.5 GiB"),
            (-12.0 * 1024.0, "-12 KiB"),
            (-0.2, "0 B"),
            (u64::MAX as f64, "16 EiB"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn growth_has_a_sign() {
        for (value, text) in
            [(549.0 * MIB, "+549 MiB/h"), (-12.0 * 1024.0, "-12 KiB/h"), (0.0, "0 B/h"), (0.3, "0 B/h")]
        {
            assert_eq!(bytes_per_hour(value), text, "{value}");
        }
    }

    #[test]
    fn counts_and_rates() {
        for (value, text) in [
            (0.0, "0"),
            (873.0, "873"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (9103.0, "9.1k"),
            (12_000_000.0, "12M"),
            (2.4, "2.4"),
            (2.0, "2"),
            (0.02, "0.02"),
            (0.0003, "0.0003"),
            (2e-9, "2e-9"),
            (-5.0, "-5"),
            (f64::INFINITY, "?"),
        ] {
            assert_eq!(count(value), text, "{value}");
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (9_001_204, "9,001,204")] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn a_limit_is_written_as_it_was_typed() {
        for typed in ["30%", "0%", "100%", "33.33%", "0.5%", "0.01%", "0.0001%", "0.000023%"] {
            let limit = typed.trim_end_matches('%').parse::<f64>().unwrap() / 100.0;
            assert_eq!(percentage(limit), typed);
        }
        assert_eq!(percentage(1.0 / 3.0), "33.33%");
    }

    #[test]
    fn percentages_do_not_round_to_certainty() {
        for (value, text) in [
            (1.0, "100 %"),
            (0.99999, "99.9 %"),
            (0.992, "99.2 %"),
            (0.0, "0 %"),
            (0.0001, "<0.1 %"),
            (1.5, "150 %"),
        ] {
            assert_eq!(percent(value), text, "{value}");
        }
    }

    #[test]
    fn measured_times() {
        for (value, text) in [
            (850.0, "850 ns"),
            (1_200_000.0, "1.2 ms"),
            (999_700.0, "1.0 ms"),
            (16e9, "16 s"),
            (90e9, "1.5 min"),
            (9e12, "2.5 h"),
        ] {
            assert_eq!(nanos(value), text, "{value}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (ms, text) in [
            (0, "0us"),
            (16, "16ms"),
            (1500, "1.5s"),
            (59_999, "59s"),
            (140_000, "2m20s"),
            (2_700_000, "45m"),
            (5_400_000, "1h30m"),
            (90_000_000, "1d1h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(exact_duration(Duration::from_micros(16_600)), "16ms600us");
        for hours in [240, 25] {
            let length = Duration::from_secs(hours * 3600);
            assert_eq!(exact_duration(length), duration(length), "one spelling");
        }
        assert_eq!((exact_bytes(512 << 10), exact_bytes(1000)), ("512KiB".into(), "1000B".into()));
    }

    #[test]
    fn sizes_that_look_the_same_are_told_apart() {
        let said = |one: f64, other: f64| apart(one * MIB, other * MIB);
        for (one, other, shown) in [
            (21.8, 22.0, ("21.8 MiB", "22.0 MiB")),
            (21.96, 22.0, ("21.96 MiB", "22.00 MiB")),
            (1023.9, 1024.0, ("0.9999 GiB", "1.0000 GiB")),
            (22.0, 22.0, ("22.000000000000 MiB", "22.000000000000 MiB")),
        ] {
            assert_eq!(said(one, other), (shown.0.to_owned(), shown.1.to_owned()));
        }
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_334_534, "2026-11-22 08:02:14 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), text);
        }
    }
}

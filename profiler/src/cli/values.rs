//! Parsing the values of options. Errors state the range.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use profiler::{
    render::Format,
    units::options::{duration_from, whole},
};

/// The shortest `--every`.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// Most of a thread's time that the probes may take, from 0 to 1; `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MaxCost(pub(crate) Option<f64>);

/// The processes of one value of `--pid`.
#[derive(Clone, Debug)]
pub(crate) struct Pids(pub(crate) Vec<u32>);

/// `--format`: help and errors list the formats.
pub(super) fn format() -> impl TypedValueParser<Value = Format> {
    let known = Format::ALL.map(|format| PossibleValue::new(format.name()).help(format.purpose()));
    PossibleValuesParser::new(known).try_map(|name| Format::from_name(&name))
}

/// `4242`, or a list with commas or spaces.
pub(super) fn pids(text: &str) -> Result<Pids, String> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let pid = |word: &str| match word.parse::<i32>() {
        Ok(pid) if pid > 0 => Ok(pid.unsigned_abs()),
        _ => Err(format!("'{word}' is not a process id, which is a whole number from 1 on")),
    };
    match words.map(pid).collect::<Result<Vec<u32>, String>>()? {
        none if none.is_empty() => {
            Err("it names no process: does it run? `pgrep -af NAME` shows it".to_owned())
        }
        pids => Ok(Pids(pids)),
    }
}

/// `4242`.
pub(super) fn one_pid(text: &str) -> Result<u32, String> {
    match pids(text)?.0.as_slice() {
        [one] => Ok(*one),
        several => Err(format!("doctor examines one process at a time, and these are {}", several.len())),
    }
}

pub(super) fn max_cost(text: &str) -> Result<MaxCost, String> {
    if text == "off" {
        return Ok(MaxCost(None));
    }
    let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    let share = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0).map(|percent| percent / 100.0);
    share.map(|share| MaxCost(Some(share))).ok_or_else(|| match text.trim().parse::<f64>() {
        Ok(number) if (1.0..=100.0).contains(&number) => format!("no unit; write `{}%`", text.trim()),
        _ => "it takes more than 0% and up to 100%, or off".to_owned(),
    })
}

/// The time between two reports. Making one takes milliseconds.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    duration_from(LEAST_INTERVAL, "", text)
}

/// `--top`.
pub(super) fn rows(text: &str) -> Result<usize, String> {
    whole(text, 0, u32::MAX).map(|rows| rows as usize)
}

/// `--max-stacks`.
pub(super) fn stacks(text: &str) -> Result<u32, String> {
    whole(text, 2, 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::{MaxCost, max_cost, rows, stacks};

    #[test]
    fn a_limit_is_a_percentage_or_off() {
        assert_eq!(max_cost("off"), Ok(MaxCost(None)));
        assert_eq!(max_cost("30%"), Ok(MaxCost(Some(0.3))));
        assert_eq!(max_cost("2.5 %"), Ok(MaxCost(Some(0.025))));
        assert_eq!(max_cost("100%"), Ok(MaxCost(Some(1.0))));
        for wrong in ["", "%", "30", "0%", "-1%", "101%", "NaN%", "inf%", "OFF", "0.3", "thirty%"] {
            assert!(max_cost(wrong).is_err(), "{wrong}");
        }
        assert_eq!(max_cost("50").unwrap_err(), "no unit; write `50%`");
    }

    #[test]
    fn pids_come_one_by_one_or_as_a_list() {
        for (text, pids) in [("7", vec![7]), ("7 8\n", vec![7, 8]), ("7,8, 9", vec![7, 8, 9])] {
            assert_eq!(super::pids(text).unwrap().0, pids);
        }
        for text in ["", " ", ",", "0", "7 x", "-1", "2147483648"] {
            assert!(super::pids(text).is_err(), "{text}");
        }
        assert_eq!(super::one_pid("7"), Ok(7));
        assert!(super::one_pid("7,7").unwrap_err().contains("one process at a time"));
    }

    #[test]
    fn the_error_for_a_number_out_of_range_has_the_range() {
        assert_eq!((rows("0"), stacks("16384")), (Ok(0), Ok(16_384)));
        assert_eq!(rows("007"), Ok(7));
        for wrong in ["-1", "1.5", "many", "", "+", "99999999999999999999", "4294967296"] {
            assert_eq!(rows(wrong).unwrap_err(), "it takes a whole number from 0 to 4294967295", "{wrong}");
        }
        assert_eq!(stacks("1").unwrap_err(), "it takes a whole number from 2 to 1048576");
    }
}

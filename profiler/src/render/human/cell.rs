//! Values as text for people.

use crate::report::{Column, Role, Row, Section, Series, Unit, Value};
use crate::stats::{Histogram, Quantile};
use crate::text::visible;
use crate::units;

/// Characters of a curve of one line, from the lowest to the highest.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The character for an unknown value in a curve.
const GAP: char = '·';
/// Longest curve, in characters.
const CURVE: usize = 12;

/// The part of a value that a table column shows. A histogram has several, because it has no single value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// The whole value.
    Whole,
    /// A quantile of a histogram, with its name.
    Quantile(f64, &'static str),
    /// The largest value of a histogram.
    Max,
}

/// The parts of a column that these rows need.
pub(super) fn parts(rows: &[&Row], column: usize) -> &'static [Part] {
    let is_histogram = |row: &&Row| matches!(row.cells.get(column), Some(Value::Histogram(_)));
    match rows.iter().any(is_histogram) {
        true => &[Part::Quantile(0.5, "p50"), Part::Quantile(0.99, "p99"), Part::Max],
        false => &[Part::Whole],
    }
}

/// The title of a part of a column.
pub(super) fn title_of(column: &Column, part: Part) -> String {
    let name = match part {
        Part::Whole => return title(column),
        Part::Quantile(_, name) => name,
        Part::Max => "max",
    };
    format!("{} {name}", title(column))
}

/// A part of a value.
pub(super) fn text_of(value: &Value, part: Part, unit: Unit, interval: bool) -> String {
    match (value, part) {
        (Value::Histogram(of), Part::Quantile(q, _)) => {
            of.quantile(q).map_or_else(|| "?".to_owned(), |quantile| self::quantile(quantile, unit, interval))
        }
        (Value::Histogram(of), Part::Max) if of.total() > 0 => number(of.max as f64, unit),
        (Value::Histogram(_), Part::Max) => "?".to_owned(),
        // A value of another kind, such as an unknown one, is shown in the first of the columns.
        (other, Part::Whole | Part::Quantile(0.5, _)) => text(other, unit, interval),
        _ => String::new(),
    }
}

/// The title of a column, with the unit if the values are shown without it.
pub(super) fn title(column: &Column) -> String {
    visible(&column.shown_title()).into_owned()
}

/// Whether the values are words, which are aligned to the left.
pub(super) fn is_word(column: &Column) -> bool {
    column.unit == Unit::None || matches!(column.role, Role::Key | Role::Name | Role::Label)
}

/// A value as text. An estimate is shown with its interval, or with `~` in front.
pub(super) fn text(value: &Value, unit: Unit, interval: bool) -> String {
    match value {
        Value::Unknown(_) => "?".to_owned(),
        Value::Word(word) => visible(word).into_owned(),
        Value::Name(name) => name.terminal(),
        Value::Exact(exact) => number(*exact as f64, unit),
        Value::Estimate { value: known, .. } if !value.is_estimated() => number(*known, unit),
        Value::Estimate { value, low, high } => estimate(*value, *low, *high, unit, interval),
        Value::Histogram(of) => histogram(of, unit),
        Value::Series(of) => series(of),
    }
}

/// The middle of a quantile's bucket; on request with the ends of the bucket.
fn quantile(of: Quantile, unit: Unit, interval: bool) -> String {
    match interval && of.low < of.high {
        true => estimate(of.middle(), of.low as f64, Some(of.high as f64), unit, interval),
        false => number(of.middle(), unit),
    }
}

/// Says how far the quantiles in shown columns of these rows can be off; `None` if there are none.
pub(super) fn quantile_error(section: &Section, rows: &[&Row]) -> Option<String> {
    let cells = rows.iter().flat_map(|row| section.columns.iter().zip(&row.cells));
    let errors = cells.filter(|(column, _)| column.shown).filter_map(|(_, cell)| match cell {
        // The middle of a bucket is off by half of its width.
        Value::Histogram(of) => Some(of.error_ratio() / 2.0),
        _ => None,
    });
    // Rounded up: it is an upper bound.
    let largest = (errors.reduce(f64::max)? * 1e3).ceil() / 1e3;
    Some(format!("p50, p99: at most {} off, since values are counted in ranges", units::percent(largest)))
}

/// `p50 3.1 ms, p99 4.9 ms, max 5.1 ms`.
fn histogram(of: &Histogram, unit: Unit) -> String {
    let part = |(q, name)| Some(format!("{name} {}", quantile(of.quantile(q)?, unit, false)));
    let mut parts: Vec<String> = [(0.5, "p50"), (0.99, "p99")].into_iter().filter_map(part).collect();
    if parts.is_empty() {
        return "?".to_owned();
    }
    parts.push(format!("max {}", number(of.max as f64, unit)));
    parts.join(", ")
}

/// `▁▂█ max 34`: a curve from 0 to the largest value. Each character shows the largest value of its part of the time.
fn series(of: &Series) -> String {
    let Some(max) = of.max() else { return "?".to_owned() };
    let step = |values: &[Option<f64>]| {
        let largest = values.iter().flatten().copied().reduce(f64::max)?;
        let share = if max > 0.0 { (largest / max).clamp(0.0, 1.0) } else { 0.0 };
        STEPS.get((share * (STEPS.len() - 1) as f64).round() as usize).copied()
    };
    let share = of.values.len().div_ceil(CURVE).max(1);
    let curve: String = of.values.chunks(share).map(|values| step(values).unwrap_or(GAP)).collect();
    format!("{curve} max {}", number(max, of.unit))
}

fn estimate(value: f64, low: f64, high: Option<f64>, unit: Unit, interval: bool) -> String {
    let best = number(value, unit);
    // Nothing was observed, so only the upper bound says something.
    if let Some(high) = high.filter(|_| value == 0.0 && low == 0.0)
        && number(high, unit) != best
    {
        return format!("<{}", number(high, unit).trim_start_matches('+'));
    }
    match (interval, high) {
        (false, _) => format!("~{best}"),
        // The larger half, so that the printed interval contains the real one.
        (true, Some(high)) => {
            let half = (value - low).max(high - value);
            format!("{best} ±{}", number(half, unit).trim_start_matches('+'))
        }
        (true, None) => format!("{best} (≥{})", number(low, unit)),
    }
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        // Identifiers are not rounded.
        Unit::None => format!("{value}"),
        Unit::Bytes | Unit::BytesPerSecond => units::bytes(value),
        Unit::BytesPerHour => units::bytes_per_hour(value).trim_end_matches("/h").to_owned(),
        Unit::Nanos | Unit::NanosPerSecond => units::nanos(value),
        Unit::Ratio => units::ratio(value),
        _ => units::count(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_marked() {
        let ratio = Value::estimate(0.3, 0.27, Some(0.32));
        assert_eq!(text(&ratio, Unit::Ratio, true), "0.30 ±0.03");
        assert_eq!(text(&ratio, Unit::Ratio, false), "~0.30");
        let known = Value::known(2.6);
        assert_eq!([true, false].map(|interval| text(&known, Unit::PerSecond, interval)), ["2.6", "2.6"]);
        let open = Value::estimate(240.0, 200.0, None);
        assert_eq!(text(&open, Unit::PerHour, true), "240 (≥200)");
        assert_eq!(text(&open, Unit::PerHour, false), "~240");
    }

    #[test]
    fn nothing_seen_shows_the_upper_bound() {
        assert_eq!(text(&Value::estimate(0.0, 0.0, Some(0.019)), Unit::PerHour, false), "<0.02");
        assert_eq!(text(&Value::estimate(0.0, 0.0, Some(0.0004)), Unit::Ratio, false), "~0.00");
        assert_eq!(text(&Value::estimate(0.0, 0.0, None), Unit::PerHour, false), "~0");
    }

    #[test]
    fn exact_values_are_not_marked() {
        assert_eq!(text(&Value::Exact(9103), Unit::Count, true), "9.1k");
        assert_eq!(text(&Value::Exact(412 << 20), Unit::Bytes, true), "412 MiB");
        assert_eq!(text(&Value::Unknown("why".into()), Unit::Bytes, true), "?");
    }

    #[test]
    fn identifiers_are_not_rounded() {
        assert_eq!(text(&Value::Exact(1_234_567), Unit::None, true), "1234567");
    }

    #[test]
    fn rates_have_their_unit_in_the_title() {
        let column = |unit| Column {
            name: "read".into(),
            title: "Read".into(),
            unit,
            role: Role::Gauge,
            shown: true,
            form: None,
        };
        for (unit, value, shown) in [
            (Unit::BytesPerSecond, 3 << 20, "3.0 MiB"),
            (Unit::PerSecond, 1_500, "1.5k"),
            (Unit::NanosPerSecond, 420_000_000, "420 ms"),
        ] {
            assert_eq!(text(&Value::Exact(value), unit, true), shown);
            assert_eq!(title(&column(unit)), "Read/s");
        }
    }

    #[test]
    fn a_histogram_shows_quantiles_and_its_exact_largest_value() {
        let mut of = Histogram::new(3, 40).unwrap();
        assert_eq!(text(&Value::Histogram(of.clone()), Unit::Nanos, true), "?");
        (1..=1000).for_each(|ms| of.record(ms * 1_000_000));
        let value = Value::Histogram(of);
        assert_eq!(text(&value, Unit::Nanos, false), "p50 487 ms, p99 970 ms, max 1.0 s");
        let part = |part, interval| text_of(&value, part, Unit::Nanos, interval);
        assert_eq!(part(Part::Quantile(0.5, "p50"), true), "487 ms ±17 ms");
        assert_eq!(part(Part::Max, true), "1.0 s");
        assert_eq!(text_of(&Value::Unknown("why".into()), Part::Max, Unit::Nanos, true), "");
    }

    #[test]
    fn a_series_is_a_curve_from_0_to_its_largest_value() {
        let series = |values| Series {
            name: "calls".into(),
            unit: Unit::PerSecond,
            start_ns: 0,
            step_ns: 1_000_000_000,
            values,
        };
        let shown = |values| text(&Value::Series(series(values)), Unit::PerSecond, true);
        assert_eq!(shown(vec![Some(0.0), Some(700.0), None, Some(350.0), Some(1400.0)]), "▁▅·▃█ max 1.4k");
        assert_eq!(shown(vec![None; 3]), "?");
        assert_eq!(shown(vec![Some(0.0); 2]), "▁▁ max 0");
        assert_eq!(shown((0..240).map(|n| Some(f64::from(n))).collect()).chars().count(), CURVE + 8);
    }

    #[test]
    fn growth_has_a_sign_and_its_unit_is_in_the_title() {
        let growth = Value::estimate(549.0 * 1048576.0, 522.0 * 1048576.0, Some(576.0 * 1048576.0));
        assert_eq!(text(&growth, Unit::BytesPerHour, true), "+549 MiB ±27 MiB");
        let column = Column {
            name: "growth_bytes_per_hour".into(),
            title: "Growth".into(),
            unit: Unit::BytesPerHour,
            role: Role::Gauge,
            shown: true,
            form: None,
        };
        assert_eq!(title(&column), "Growth/h");
    }
}

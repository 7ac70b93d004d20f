//! A value as people read it.

use crate::report::{Column, Role, Unit, Value};
use crate::text::visible;
use crate::units;

/// The title of a column, with the unit where the values do not carry it.
pub(super) fn title(column: &Column) -> String {
    visible(&column.shown_title()).into_owned()
}

/// Whether the values are words, which stand at the left of their column.
pub(super) fn is_word(column: &Column) -> bool {
    column.unit == Unit::None || matches!(column.role, Role::Key | Role::Label)
}

/// A value. An estimate shows its interval, or a `~` that says that there is one.
pub(super) fn text(value: &Value, unit: Unit, interval: bool) -> String {
    match value {
        Value::Unknown(_) => "?".to_owned(),
        Value::Word(word) => visible(word).into_owned(),
        Value::Name(name) => name.terminal(),
        Value::Exact(exact) => number(*exact as f64, unit),
        Value::Estimate { value, low, high } => estimate(*value, *low, *high, unit, interval),
    }
}

fn estimate(value: f64, low: f64, high: Option<f64>, unit: Unit, interval: bool) -> String {
    let best = number(value, unit);
    // Nothing was seen: what there is to say is how much it can be at most.
    if let Some(high) = high.filter(|_| value == 0.0 && low == 0.0)
        && number(high, unit) != best
    {
        return format!("<{}", number(high, unit).trim_start_matches('+'));
    }
    match (interval, high) {
        (false, _) => format!("~{best}"),
        // The larger half, so that the printed interval holds the real one.
        (true, Some(high)) => {
            let half = (value - low).max(high - value);
            format!("{best} ±{}", number(half, unit).trim_start_matches('+'))
        }
        (true, None) => format!("{best} (≥{})", number(low, unit)),
    }
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => units::bytes(value),
        Unit::BytesPerHour => units::bytes_per_hour(value).trim_end_matches("/h").to_owned(),
        Unit::Nanos => units::nanos(value),
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
    fn growth_keeps_its_sign_and_gives_its_unit_to_the_title() {
        let growth = Value::estimate(549.0 * 1048576.0, 522.0 * 1048576.0, Some(576.0 * 1048576.0));
        assert_eq!(text(&growth, Unit::BytesPerHour, true), "+549 MiB ±27 MiB");
        let column = Column {
            name: "growth_bytes_per_hour".into(),
            title: "Growth".into(),
            unit: Unit::BytesPerHour,
            role: Role::Gauge,
            shown: true,
        };
        assert_eq!(title(&column), "Growth/h");
    }
}

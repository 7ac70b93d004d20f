//! What the rows of a table can be sorted by.

use std::cmp::Ordering;

use crate::report::{Column, Form, Row, Section, Value};

/// What rows are sorted by.
pub(super) struct By {
    column: usize,
    /// Which part of a histogram, by its name in the table.
    part: Option<&'static str>,
}

/// The parts of a histogram that rows can be sorted by; `None` is the largest value.
const PARTS: [(&str, Option<f64>); 4] =
    [("p50", Some(0.5)), ("p90", Some(0.9)), ("p99", Some(0.99)), ("max", None)];

impl By {
    /// The heading of the column, as the table shows it.
    pub(super) fn heading(&self, section: &Section) -> String {
        let title = section.columns.get(self.column).map(Column::shown_title).unwrap_or_default();
        let part = self.part.or_else(|| is_histogram(section, self.column).then_some("p99"));
        part.map_or_else(|| title.clone(), |part| format!("{title} {part}"))
    }
}

/// The column with this name, or with this title with or without its unit, or the part of a histogram with this heading: `Took p99`, or
/// `p99` of the first histogram. If several columns have the same title, one that is shown is preferred.
pub(super) fn by(section: &Section, name: &str) -> Option<By> {
    if let Some(column) = column_named(section, name, |_| true) {
        return Some(By { column, part: None });
    }
    let name = spaced(name);
    let (of, part) = name.rsplit_once(' ').unwrap_or(("", &name));
    let (part, _) = PARTS.into_iter().find(|(name, _)| *name == part)?;
    let is_histogram = |column: usize| is_histogram(section, column);
    let column = match of {
        "" => (0..section.columns.len()).find(|column| is_histogram(*column)),
        of => column_named(section, of, is_histogram),
    };
    Some(By { column: column?, part: Some(part) })
}

fn column_named(section: &Section, name: &str, wanted: impl Fn(usize) -> bool) -> Option<usize> {
    let find = |is: &dyn Fn(&Column) -> bool| {
        let mut columns = section.columns.iter().enumerate();
        columns.find(|(place, column)| wanted(*place) && is(column)).map(|(place, _)| place)
    };
    let has_title = |column: &Column| {
        [&column.title, &column.shown_title()].map(|title| spaced(title)).contains(&spaced(name))
    };
    find(&|column| column.name == name)
        .or_else(|| find(&|column| column.shown && has_title(column)))
        .or_else(|| find(&has_title))
}

/// In small letters, with one space between words: tables break long titles, so white space does not count.
fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The parts of a column that rows can be sorted by as well, as words behind its name.
pub(super) fn parts(section: &Section, column: usize) -> String {
    match is_histogram(section, column) {
        true => format!(" (also {})", PARTS.map(|(name, _)| name).join(", ")),
        false => String::new(),
    }
}

fn is_histogram(section: &Section, column: usize) -> bool {
    let mut cells = section.rows.iter().filter_map(|row| row.cells.get(column));
    section.columns.get(column).is_some_and(|column| column.form == Some(Form::Histogram))
        || cells.any(|cell| matches!(cell, Value::Histogram(_)))
}

/// The title of a table that is sorted by this column. It may have named another order, as in `Threads, the most calls first`.
pub(super) fn title(title: &str, heading: &str) -> String {
    let order =
        title.find(", the ").filter(|place| title.get(*place..).is_some_and(|end| end.contains(" first")));
    format!("{}, by {heading}", order.and_then(|place| title.get(..place)).unwrap_or(title))
}

/// Compares two rows by a column. Unknown values come last.
pub(super) fn order(rows: &[Row], a: usize, b: usize, by: &By) -> Ordering {
    let value = |row: usize| rows.get(row).and_then(|row| row.cells.get(by.column));
    let (Some(a), Some(b)) = (value(a), value(b)) else { return Ordering::Equal };
    match (size(a, by.part), size(b, by.part)) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => match (word(a), word(b)) {
            (Some(a), Some(b)) => a.cmp(b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        },
    }
}

/// The number that a value is sorted by: a part of a histogram, by default the 99th percentile; the last value of a series.
fn size(value: &Value, part: Option<&str>) -> Option<f64> {
    match value {
        Value::Histogram(of) => {
            let quantile =
                PARTS.into_iter().find(|(name, _)| Some(*name) == part).map_or(Some(0.99), |(_, q)| q);
            match quantile {
                Some(q) => Some(of.quantile(q)?.middle()),
                None => (of.total() > 0).then_some(of.max as f64),
            }
        }
        Value::Series(series) => series.last(),
        other => other.number(),
    }
}

fn word(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Word(word) => Some(word.as_bytes()),
        Value::Name(name) => Some(name.raw()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Selection, sample};

    #[test]
    fn histograms_are_sorted_by_the_headings_of_their_parts() {
        let by = |column: &str| {
            let mut report = sample::timed();
            report.select(&Selection { sort: Some(column.into()), ..Selection::default() }).map(|()| {
                let Value::Word(word) = &report.sections[0].rows[0].cells[0] else {
                    panic!("another column")
                };
                (word.clone(), report.sections[0].title.rsplit_once(", by ").unwrap().1.to_owned())
            })
        };
        let of = |row: usize| match &sample::timed().sections[0].rows[row].cells[0] {
            Value::Word(word) => word.clone(),
            other => panic!("{other:?}"),
        };
        // On the lock: 3 us to 5 ms; for the disk: always 0.9 ms.
        for (column, first, heading) in [
            ("p99", 0, "Latency p99"),
            ("Latency  P99", 0, "Latency p99"),
            ("latency_ns", 0, "Latency p99"),
            ("latency_ns max", 0, "Latency max"),
            ("max", 0, "Latency max"),
        ] {
            assert_eq!(by(column), Ok((of(first), heading.to_owned())), "{column}");
        }
        assert_eq!(by("latency p50").unwrap().1, "Latency p50");
        assert!(by("waits p99").is_err() && by("p98").is_err());
        assert!(by("p98").unwrap_err().advice().unwrap().contains("latency_ns (also p50, p90, p99, max)"));
    }

    #[test]
    fn of_columns_with_the_same_title_a_shown_one_is_taken() {
        let mut report = sample::pong();
        report.sections[0].columns[4].title = "Growth".to_owned();
        let wanted = Selection { sort: Some("growth".into()), ..Selection::default() };
        let sorted = by(&report.sections[0], "growth").unwrap();
        assert_eq!(report.sections[0].columns[sorted.column].name, "growth_bytes_per_hour");
        report.sections[0].title = "Sites, the worst first; small ones last".to_owned();
        report.select(&wanted).unwrap();
        assert_eq!(report.sections[0].title, "Sites, by Growth/h");
        assert_eq!(
            title("Callers, of calls whose stack was taken", "Time"),
            "Callers, of calls whose stack was taken, by Time"
        );
    }
}

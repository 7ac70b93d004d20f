//! One table of the report as comma-separated values (RFC 4180), for spreadsheets and scripts.
//!
//! Names in a report come from the target, and spreadsheets evaluate a cell that begins with `=` as a formula. So text that begins
//! like a formula gets an apostrophe in front, which marks it as text.

use std::collections::HashSet;

use ::csv::{QuoteStyle, WriterBuilder};

use super::frames;
use crate::report::{Column, Form, Report, Row, Section, Unit, Value};
use crate::stats::Histogram;
use crate::text::visible;

/// Fields that are not columns of the section.
const LENGTH: &str = "length_ms";
const STACK_ID: &str = "stack_id";
const STACK: &str = "stack";

/// The rows of the first section, behind one line of column names. Empty if there is no section. Unknown cells are empty.
pub fn csv(report: &Report) -> String {
    let Some(section) = report.sections.first() else { return String::new() };
    let fields = fields(section);
    let mut writer = WriterBuilder::new().quote_style(QuoteStyle::Necessary).from_writer(Vec::new());
    let mut write = |line: Vec<String>| {
        // Writing to memory cannot fail, and all lines have the same number of fields.
        let result = writer.write_record(line);
        debug_assert!(result.is_ok(), "{result:?}");
    };
    let names = fields.iter().map(|(_, column, part)| text(&visible(&part.name(column))));
    let ends = [STACK_ID, STACK].map(str::to_owned);
    write([LENGTH.to_owned()].into_iter().chain(names).chain(ends).collect());
    for row in &section.rows {
        let cells = fields
            .iter()
            .map(|(place, _, part)| row.cells.get(*place).map_or_else(String::new, |v| part.of(v)));
        let stack = report.stack_of(row);
        let id = stack.map_or_else(String::new, |stack| text(&stack.id));
        let names = stack.map_or_else(String::new, |stack| text(&frames::names(report, stack).join(";")));
        write([report.meta.length_ms.to_string()].into_iter().chain(cells).chain([id, names]).collect());
    }
    writer.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The part of a column that a field contains.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    /// The ends of the 95 % interval of an estimate.
    Low,
    High,
    /// Number of values of a histogram.
    Count,
    Sum,
    Max,
    /// The upper end of the bucket that contains the quantile.
    Quantile(&'static str, f64),
}

/// The fields of a line, with the indices of their columns. Column names come from the file, so duplicates are dropped.
fn fields(section: &Section) -> Vec<(usize, &Column, Part)> {
    let mut taken: HashSet<String> = [LENGTH, STACK_ID, STACK].map(str::to_owned).into();
    let columns = section.columns.iter().enumerate();
    let all = columns.flat_map(|(place, column)| {
        parts(&section.rows, place, column).into_iter().map(move |part| (place, column, part))
    });
    all.filter(|(_, column, part)| taken.insert(part.name(column))).collect()
}

/// The parts of a column. They follow from its form, so that all reports of a tool have the same fields.
fn parts(rows: &[Row], place: usize, column: &Column) -> Vec<Part> {
    match column.form.unwrap_or_else(|| form_of(rows, place, column.unit)) {
        Form::Single => vec![Part::Whole],
        Form::Interval => vec![Part::Whole, Part::Low, Part::High],
        Form::Histogram => {
            let quantiles = super::jsonl::QUANTILES.map(|(name, q)| Part::Quantile(name, q));
            [Part::Count, Part::Sum].into_iter().chain(quantiles).chain([Part::Max]).collect()
        }
    }
}

/// The form of a column, found from its values: reports of earlier versions do not have it. Shares and hourly rates are taken for estimates
/// as long as none is known.
fn form_of(rows: &[Row], place: usize, unit: Unit) -> Form {
    let mut values = rows.iter().filter_map(|row| row.cells.get(place));
    let is_certain = |value: &Value| value.number().is_some() && !value.is_estimated();
    if values.clone().any(|value| matches!(value, Value::Histogram(_))) {
        return Form::Histogram;
    }
    let is_estimated = values.clone().any(Value::is_estimated);
    let may_be = matches!(unit, Unit::Ratio | Unit::PerHour | Unit::BytesPerHour);
    match is_estimated || may_be && !values.any(is_certain) {
        true => Form::Interval,
        false => Form::Single,
    }
}

impl Part {
    /// The name of the field, with the unit at its end.
    fn name(self, column: &Column) -> String {
        // Names may have the unit in short: `calls_per_s`.
        let ends = suffixes(column.unit).iter();
        let found = ends.filter_map(|end| Some((column.name.strip_suffix(end)?.strip_suffix('_')?, *end)));
        let long = suffixes(column.unit).first().copied().unwrap_or_default();
        let (base, unit) = found.into_iter().next().unwrap_or((&column.name, long));
        let (part, unit) = match self {
            Part::Whole => ("", unit),
            Part::Low => ("low", unit),
            Part::High => ("high", unit),
            Part::Count => ("count", ""),
            Part::Sum => ("sum", unit),
            Part::Max => ("max", unit),
            Part::Quantile(name, _) => (name, unit),
        };
        [base, part, unit].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
    }

    fn of(self, value: &Value) -> String {
        match (self, value) {
            (Part::Whole, Value::Word(word)) => text(&visible(word)),
            (Part::Whole, Value::Name(name)) => text(&name.terminal()),
            (Part::Whole | Part::Low | Part::High, Value::Exact(number)) => number.to_string(),
            (Part::Whole, Value::Estimate { value, .. }) => real(Some(*value)),
            (Part::Low, Value::Estimate { low, .. }) => real(Some(*low)),
            (Part::High, Value::Estimate { high, .. }) => real(*high),
            (Part::Whole, Value::Series(of)) => {
                of.values.iter().map(|value| real(*value)).collect::<Vec<_>>().join(";")
            }
            (part, Value::Histogram(of)) => part.of_histogram(of),
            _ => String::new(),
        }
    }

    fn of_histogram(self, of: &Histogram) -> String {
        match self {
            Part::Count => of.total().to_string(),
            Part::Sum => of.sum.to_string(),
            Part::Max if of.total() > 0 => of.max.to_string(),
            Part::Quantile(_, q) => of.quantile(q).map_or_else(String::new, |of| of.high.to_string()),
            _ => String::new(),
        }
    }
}

/// What the name of a column with this unit may end in; the first is appended to a name that ends in none of them. Empty if values have no
/// unit.
fn suffixes(unit: Unit) -> &'static [&'static str] {
    match unit {
        Unit::None | Unit::Count => &[],
        Unit::Bytes => &["bytes"],
        Unit::BytesPerSecond => &["bytes_per_second", "bytes_per_s"],
        Unit::BytesPerHour => &["bytes_per_hour"],
        Unit::Nanos => &["ns"],
        Unit::NanosPerSecond => &["ns_per_second", "per_s"],
        Unit::PerSecond => &["per_second", "per_s"],
        Unit::PerHour => &["per_hour"],
        Unit::Ratio => &["ratio"],
    }
}

fn real(number: Option<f64>) -> String {
    number.filter(|number| number.is_finite()).map_or_else(String::new, |number| number.to_string())
}

/// Makes text safe for spreadsheets. Its control characters are already escaped.
fn text(printable: &str) -> String {
    match printable.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) {
        true => format!("'{printable}"),
        false => printable.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Role, sample};
    use crate::text::{Text, is_hidden};

    fn read(report: &Report) -> Vec<Vec<String>> {
        let text = csv(report);
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    /// A cell of a row by the name of its column.
    fn cell(lines: &[Vec<String>], row: usize, name: &str) -> String {
        let place = lines[0].iter().position(|field| field == name).unwrap_or_else(|| panic!("no {name}"));
        lines[row + 1][place].clone()
    }

    #[test]
    fn column_names_end_in_the_unit() {
        let lines = read(&sample::pong());
        assert_eq!(
            lines[0].join(","),
            "length_ms,verdict,function,old_bytes,live_bytes,live_blocks,old_blocks,allocs,alloc_bytes,frees,\
             survival_ratio,survival_low_ratio,survival_high_ratio,hazard_per_hour,hazard_low_per_hour,\
             hazard_high_per_hour,growth_bytes_per_hour,growth_low_bytes_per_hour,growth_high_bytes_per_hour,why,\
             stack_id,stack"
        );
        let of = |row, name: &str| cell(&lines, row, name);
        assert_eq!(
            (of(0, "verdict"), of(0, "function")),
            ("LEAK".to_owned(), "chat::History::push".to_owned())
        );
        assert_eq!(
            (of(0, "old_bytes"), of(0, "survival_low_ratio")),
            ("432013312".to_owned(), "0.999".to_owned())
        );
        assert_eq!(of(0, "length_ms"), "2700000");
        assert_eq!(of(0, "stack_id"), sample::pong().stacks[0].id);
        assert!(
            of(0, "stack").starts_with("malloc;alloc::vec::Vec<T,A>::push /home/dev/game/src/room.rs:41;")
        );
        assert_eq!(of(2, "growth_bytes_per_hour"), "", "not known");
        assert_eq!(of(2, "hazard_high_per_hour"), "", "no upper bound");
    }

    #[test]
    fn an_interim_report_without_estimates_has_the_same_fields() {
        let mut early = sample::pong();
        for cell in early.sections[0].rows.iter_mut().flat_map(|row| &mut row.cells[9..12]) {
            *cell = Value::Unknown("too early".into());
        }
        assert_eq!(read(&early)[0], read(&sample::pong())[0]);
        assert_eq!(cell(&read(&early), 0, "survival_low_ratio"), "");
    }

    #[test]
    fn the_fields_of_a_column_follow_from_its_form_whatever_its_values_are() {
        let mut report = sample::timed();
        let column = |name: &str, unit, form| Column {
            name: name.into(),
            title: name.into(),
            unit,
            role: Role::Gauge,
            shown: true,
            form: Some(form),
        };
        let unknown = || Value::Unknown("too early".into());
        let section = &mut report.sections[0];
        section.columns = vec![
            column("calls_per_s", Unit::PerSecond, Form::Single),
            column("time_per_s", Unit::NanosPerSecond, Form::Single),
            column("share", Unit::Ratio, Form::Single),
            column("survival", Unit::Ratio, Form::Interval),
            column("duration_ns", Unit::Nanos, Form::Histogram),
        ];
        let histogram = section.rows[0].cells[4].clone();
        let rate = Value::known(9.959);
        section.rows[0].cells =
            vec![rate.clone(), rate, Value::known(0.5), Value::estimate(0.5, 0.4, None), histogram];
        section.rows.truncate(1);
        let header = "length_ms,calls_per_s,time_per_s,share_ratio,survival_ratio,survival_low_ratio,\
                      survival_high_ratio,duration_count,duration_sum_ns,duration_p50_ns,duration_p90_ns,\
                      duration_p99_ns,duration_p99_9_ns,duration_max_ns,stack_id,stack";
        assert_eq!(read(&report)[0].join(","), header);
        assert_eq!(cell(&read(&report), 0, "calls_per_s"), "9.959");
        report.sections[0].rows[0].cells =
            vec![Value::Exact(10), Value::known(10.0), unknown(), unknown(), unknown()];
        assert_eq!(read(&report)[0].join(","), header);
        assert_eq!(
            (cell(&read(&report), 0, "calls_per_s"), cell(&read(&report), 0, "time_per_s")),
            ("10".into(), "10".into())
        );
        report.sections[0].rows.clear();
        assert_eq!(read(&report)[0].join(","), header);
    }

    #[test]
    fn numbers_that_are_certain_have_no_interval_in_reports_without_forms_either() {
        let mut report = sample::timed();
        report.sections[0].columns.iter_mut().for_each(|column| column.form = None);
        let names = |report: &Report| read(report)[0].join(",");
        assert!(names(&report).contains("read_low_bytes_per_second"));
        report.sections[0].rows.iter_mut().for_each(|row| row.cells[2] = Value::known(0.5));
        assert!(!names(&report).contains("read_low_bytes_per_second"), "{}", names(&report));
    }

    #[test]
    fn commas_quotes_and_newlines_stay_inside_a_cell() {
        let mut report = sample::pong();
        report.sections[0].rows[0].cells[1] = Value::Name(Text::from("a,\"b\"\nc"));
        assert!(csv(&report).contains(r#","a,""b""\x0ac","#), "{}", csv(&report));
        assert_eq!(cell(&read(&report), 0, "function"), r#"a,"b"\x0ac"#);
    }

    #[test]
    fn text_that_looks_like_a_formula_is_marked_as_text() {
        let mut report = sample::pong();
        let of = |report: &Report| cell(&read(report), 0, "function");
        for name in ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "＝1"] {
            report.sections[0].rows[0].cells[1] = Value::Name(name.into());
            assert_eq!(of(&report), format!("'{name}"));
            report.sections[0].columns[4].name = name.to_owned();
            assert!(read(&report)[0].contains(&format!("'{name}")));
        }
        report.sections[0].rows[0].cells[1] = Value::Name("\t=1".into());
        assert_eq!(of(&report), r"\x09=1");
        report.sections[0].rows[0].cells[1] = Value::estimate(-1.5, -2.0, None);
        assert_eq!(of(&report), "-1.5", "a number");
    }

    #[test]
    fn a_histogram_has_several_fields_and_a_series_one() {
        let report = sample::timed();
        let lines = read(&report);
        let Value::Histogram(latency) = &report.sections[0].rows[0].cells[4] else {
            panic!("another column")
        };
        for (name, value) in [
            ("latency_count", latency.total()),
            ("latency_sum_ns", latency.sum),
            ("latency_p50_ns", latency.quantile(0.5).unwrap().high),
            ("latency_p99_9_ns", latency.quantile(0.999).unwrap().high),
            ("latency_max_ns", latency.max),
        ] {
            assert_eq!(cell(&lines, 0, name), value.to_string(), "{name}");
        }
        assert_eq!(cell(&lines, 0, "waits_over_time_per_second"), "16.8;;33.6;0");
        assert!(lines[0].contains(&"waited_ns_per_second".to_owned()));
        assert!(lines[0].contains(&"read_high_bytes_per_second".to_owned()));
    }

    #[test]
    fn all_lines_of_a_hostile_report_have_the_same_number_of_fields() {
        let mut report = sample::hostile();
        for (column, name) in ["stack", "length_ms", "x", "x"].into_iter().enumerate() {
            report.sections[0].columns[column].name = name.into();
        }
        let text = csv(&report);
        assert!(!text.replace('\n', "").contains(is_hidden));
        let lines = read(&report);
        assert_eq!(lines.len(), 1 + report.sections[0].rows.len());
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
        let names: HashSet<&String> = lines[0].iter().collect();
        assert_eq!(names.len(), lines[0].len(), "no name twice");
        report.sections.clear();
        assert_eq!(csv(&report), "");
    }
}

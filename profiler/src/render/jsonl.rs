//! The report as JSON lines, for tools that work line by line: one object for the report, one for each finding, and one for each row
//! with its cells by column name.
//!
//! Cells are plain numbers and strings that are safe to print. Details that do not fit this form are in the JSON of the whole report
//! ([`super::json()`]).

use std::collections::HashSet;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Number, Value as Json, json};

use super::frames;
use super::json::line;
use crate::report::{Column, Finding, Report, Row, RowRef, Section, StackRole, Value};
use crate::stats::Histogram;
use crate::text::Text;

/// The report as lines, each with a newline at its end.
pub fn jsonl(report: &Report) -> String {
    let mut out = line(&head(report));
    for finding in &report.findings {
        out += &line(&of_finding(report, finding));
    }
    for section in &report.sections {
        let columns = columns(section);
        for row in &section.rows {
            out += &line(&of_row(report, section, &columns, row));
        }
    }
    out
}

/// An object that keeps the order of its fields.
struct Object<'a>(Vec<(&'a str, Json)>);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn head(report: &Report) -> Object<'_> {
    let (meta, coverage, cost) = (&report.meta, &report.coverage, &report.meta.cost);
    let target = |target: &crate::report::Target| {
        json!({
            "pid": target.pid,
            "name": target.name.terminal(),
            "exe": target.exe.terminal(),
            "build_id": target.build_id,
            "ended": target.ended,
        })
    };
    Object(vec![
        ("kind", "report".into()),
        ("schema", report.schema.into()),
        ("tool", meta.tool.as_str().into()),
        ("version", meta.version.as_str().into()),
        ("host", meta.host.terminal().into()),
        ("kernel", meta.kernel.as_str().into()),
        ("started", meta.started.as_str().into()),
        ("length_ms", meta.length_ms.into()),
        ("ended", serde_json::to_value(meta.ended).unwrap_or_default()),
        ("verdict", serde_json::to_value(&report.verdict).unwrap_or_default()),
        ("complete", coverage.complete.into()),
        ("incomplete_because", coverage.incomplete_because.clone().into()),
        ("settings", json!(meta.settings)),
        ("targets", meta.targets.iter().map(target).collect()),
        ("hits", cost.hits.into()),
        ("busiest_thread_share", real(cost.busiest_thread_share)),
    ])
}

fn of_finding<'a>(report: &Report, finding: &'a Finding) -> Object<'a> {
    let evidence = |of: &crate::report::Evidence| (Text::from(of.name.as_ref()).terminal(), plain(&of.value));
    Object(vec![
        ("kind", "finding".into()),
        ("severity", finding.severity.name().into()),
        ("rule", finding.rule.as_ref().into()),
        ("text", finding.text.as_str().into()),
        ("evidence", Json::Object(finding.evidence.iter().map(evidence).collect())),
        ("rows", finding.rows.iter().filter_map(|at| key(report, *at)).collect()),
    ])
}

/// The section of a row and its key cells, which identify it.
fn key(report: &Report, at: RowRef) -> Option<Json> {
    let section = report.sections.get(at.section)?;
    let keys =
        section.key(section.rows.get(at.row)?).map(|(column, value)| (column.name.clone(), plain(value)));
    let keys: serde_json::Map<String, Json> = keys.collect();
    Some(json!({"section": section.name, "key": keys}))
}

/// Fields of a row that are not columns of its section.
const FIELDS: [&str; 7] = ["kind", "section", "severity", "stack_id", "stack", "stacks", "intervals"];

/// The columns that become fields of a row, with their indices. Column names come from the file, so columns that are named like
/// another field are dropped.
fn columns(section: &Section) -> Vec<(usize, &Column)> {
    let mut taken: HashSet<&str> = FIELDS.into();
    section.columns.iter().enumerate().filter(|(_, column)| taken.insert(&column.name)).collect()
}

fn of_row<'a>(
    report: &Report,
    section: &'a Section,
    columns: &[(usize, &'a Column)],
    row: &'a Row,
) -> Object<'a> {
    let mut fields = vec![("kind", "row".into()), ("section", section.name.as_str().into())];
    fields.push(("severity", row.severity.map_or(Json::Null, |severity| severity.name().into())));
    let mut ends = Vec::new();
    for (place, column) in columns {
        let Some(cell) = row.cells.get(*place) else { continue };
        fields.push((&column.name, plain(cell)));
        ends.extend(interval(column, cell));
    }
    let stack = report.stack_of(row);
    if !columns.iter().any(|(_, column)| column.name == "pid") {
        fields.push(("pid", stack.map_or(Json::Null, |stack| stack.pid.into())));
    }
    fields.push(("stack_id", stack.map_or(Json::Null, |stack| stack.id.as_str().into())));
    fields.push(("stack", stack.map_or(Json::Null, |stack| frames::names(report, stack).into())));
    let others = row.stacks.iter().filter(|of| of.role != StackRole::User);
    let others = others.filter_map(|of| {
        Some((of.role.name().to_owned(), frames::names(report, report.stacks.get(of.stack)?).into()))
    });
    let others: serde_json::Map<String, Json> = others.collect();
    if !others.is_empty() {
        fields.push(("stacks", Json::Object(others)));
    }
    if !ends.is_empty() {
        fields.push(("intervals", Json::Object(ends.into_iter().collect())));
    }
    Object(fields)
}

/// The value of a cell; null if it is unknown.
fn plain(cell: &Value) -> Json {
    match cell {
        Value::Unknown(_) => Json::Null,
        Value::Word(word) => word.as_str().into(),
        Value::Name(name) => name.terminal().into(),
        Value::Exact(number) => (*number).into(),
        Value::Estimate { value, .. } => real(Some(*value)),
        Value::Histogram(of) => histogram(of),
        Value::Series(of) => json!({
            "name": of.name,
            "unit": of.unit,
            "start_ns": of.start_ns,
            "step_ns": of.step_ns,
            "values": of.values.iter().map(|value| real(*value)).collect::<Vec<_>>(),
        }),
    }
}

/// A histogram; each quantile is given by the ends of its bucket, `[low, high]`.
fn histogram(of: &Histogram) -> Json {
    let mut fields = serde_json::Map::new();
    fields.insert("count".to_owned(), of.total().into());
    fields.insert("sum".to_owned(), of.sum.into());
    fields.insert("max".to_owned(), of.max.into());
    for (name, q) in QUANTILES {
        let ends = of.quantile(q).map_or(Json::Null, |quantile| json!([quantile.low, quantile.high]));
        fields.insert(name.to_owned(), ends);
    }
    Json::Object(fields)
}

/// The quantiles in formats for scripts, with their names.
pub(super) const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// The name of a column and the 95 % interval of its estimate.
fn interval(column: &Column, cell: &Value) -> Option<(String, Json)> {
    match cell {
        Value::Estimate { low, high, .. } if cell.is_estimated() => {
            Some((column.name.clone(), Json::Array(vec![real(Some(*low)), real(*high)])))
        }
        _ => None,
    }
}

fn real(number: Option<f64>) -> Json {
    number.and_then(Number::from_f64).map_or(Json::Null, Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::text::is_hidden;

    fn lines(report: &Report) -> Vec<Json> {
        jsonl(report).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_row_is_an_object_by_the_names_of_its_columns() {
        let report = sample::pong();
        let lines = lines(&report);
        let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["report", "finding", "finding", "row", "row", "row"]);
        assert_eq!(lines[0]["verdict"]["word"], "leak");
        assert_eq!(
            (&lines[0]["started"], &lines[0]["length_ms"]),
            (&json!("2026-11-22T08:02:14.000Z"), &json!(2_700_000))
        );
        assert_eq!((&lines[1]["rule"], &lines[1]["severity"]), (&json!("sample.leak"), &json!("problem")));
        let row = &lines[3];
        assert_eq!((&row["verdict"], &row["function"]), (&json!("LEAK"), &json!("chat::History::push")));
        assert_eq!((&row["old_bytes"], &row["survival"]), (&json!(412 << 20), &json!(1.0)));
        assert_eq!(row["intervals"]["survival"], json!([0.999, 1.0]));
        assert_eq!((&row["severity"], &row["pid"]), (&json!("problem"), &json!(4242)));
        let stack = row["stack"].as_array().unwrap();
        assert_eq!(stack[0], "malloc");
        assert_eq!(stack.last().unwrap(), "main /home/dev/game/src/room.rs:44");
        assert_eq!(lines[5]["growth_bytes_per_hour"], Json::Null, "not known");
    }

    #[test]
    fn a_finding_names_the_keys_of_its_rows_and_its_numbers() {
        let lines = lines(&sample::pong());
        assert_eq!(
            lines[1]["rows"],
            json!([{"section": "stacks", "key": {"function": "chat::History::push"}}])
        );
        assert_eq!(lines[1]["evidence"]["old_bytes"], json!(412 << 20));
        assert_eq!((&lines[2]["rows"], &lines[2]["evidence"]), (&json!([]), &json!({})));
    }

    #[test]
    fn a_histogram_has_its_quantiles_and_a_series_its_values() {
        let report = sample::timed();
        let row = &lines(&report)[3];
        let Value::Histogram(of) = &report.sections[0].rows[0].cells[4] else { panic!("another column") };
        let latency = &row["latency_ns"];
        assert_eq!((&latency["count"], &latency["sum"]), (&json!(1009), &json!(of.sum)));
        assert_eq!(latency["max"], json!(3_000 + 1008 * 1008 * 5));
        let p50 = of.quantile(0.5).unwrap();
        assert_eq!(latency["p50"], json!([p50.low, p50.high]));
        assert_eq!(row["waits_over_time"]["values"], json!([16.8, null, 33.6, 0.0]));
        assert_eq!(row["waits_over_time"]["unit"], "per_second");
        assert_eq!(row["stack_id"], report.stacks[0].id.as_str());
        let others = row["stacks"].as_object().unwrap();
        assert_eq!(others.keys().collect::<Vec<_>>(), ["holder", "kernel", "waker"]);
        assert_eq!(others["waker"][0], "malloc");
    }

    #[test]
    fn every_line_of_a_hostile_report_is_printable_json() {
        let mut report = sample::hostile();
        report.sections[0].columns[2].name = "kind".into();
        report.sections[0].columns[3].name = "stack".into();
        let text = jsonl(&report);
        assert!(!text.replace('\n', "").contains(is_hidden));
        assert_eq!(text.lines().count(), 1 + report.findings.len() + report.sections[0].rows.len());
        let rows = lines(&report).into_iter().filter(|line| line["kind"] == "row").count();
        assert_eq!(rows, report.sections[0].rows.len(), "a column cannot pose as the kind of a line");
    }

    #[test]
    fn no_row_has_a_field_twice() {
        let mut report = sample::pong();
        for (column, name) in ["intervals", "pid", "section", "x", "x"].into_iter().enumerate() {
            report.sections[0].columns[column].name = name.into();
        }
        for line in jsonl(&report).lines().filter(|line| line.starts_with(r#"{"kind":"row""#)) {
            for name in ["intervals", "pid", "section", "x"] {
                assert!(line.matches(&format!("\"{name}\":")).count() <= 1, "{name} in {line}");
            }
        }
    }
}

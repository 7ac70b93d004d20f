//! A report with durations, values over time, and rows with several stacks.

use super::pong;
use crate::report::{
    Column, Form, Report, Role, Row, RowRef, Section, Series, Severity, StackRef, StackRole, Unit, Value,
};
use crate::stats::Histogram;

/// Two kinds of waiting: 1009 times 3 µs to 5 ms on a lock, with all stacks that a row can have, and 13 times for the disk.
pub(crate) fn timed() -> Report {
    let mut report = pong();
    let column = |name: &str, title: &str, unit, role| Column {
        name: name.into(),
        title: title.into(),
        unit,
        role,
        shown: true,
        form: Some(match unit {
            Unit::BytesPerSecond => Form::Interval,
            Unit::Nanos => Form::Histogram,
            _ => Form::Single,
        }),
    };
    let with = |role, stack| StackRef { role, stack };
    let (on_lock, on_disk) =
        (latency((0..1009).map(|n| 3_000 + n * n * 5)), latency([900_000; 13].into_iter()));
    let row = |what: &str, latency: Histogram, per_second: f64, stacks| Row {
        cells: vec![
            Value::Word(what.to_owned()),
            Value::Exact(latency.total()),
            Value::estimate(per_second * 4096.0, per_second * 4000.0, Some(per_second * 4200.0)),
            Value::Exact(latency.sum / 60),
            Value::Histogram(latency),
            Value::Series(Series {
                name: "waits".to_owned(),
                unit: Unit::PerSecond,
                start_ns: 500_000_000,
                step_ns: 1_000_000_000,
                values: vec![Some(per_second), None, Some(2.0 * per_second), Some(0.0)],
            }),
        ],
        stacks,
        severity: Some(Severity::Info),
    };
    report.sections = vec![Section {
        name: "waits".into(),
        title: "What threads wait for".into(),
        columns: vec![
            column("what", "Waits for", Unit::None, Role::Key),
            column("waits", "Waits", Unit::Count, Role::Sum),
            column("read_bytes_per_second", "Read", Unit::BytesPerSecond, Role::Gauge),
            column("waited_ns_per_second", "Waited", Unit::NanosPerSecond, Role::Gauge),
            column("latency_ns", "Latency", Unit::Nanos, Role::Sum),
            column("waits_over_time", "Over time", Unit::PerSecond, Role::Gauge),
        ],
        rows: vec![
            row(
                "a lock",
                on_lock,
                16.8,
                vec![
                    with(StackRole::Kernel, 2),
                    with(StackRole::User, 0),
                    with(StackRole::Waker, 1),
                    with(StackRole::Holder, 1),
                ],
            ),
            row("the disk", on_disk, 0.2, vec![with(StackRole::Kernel, 2)]),
        ],
        ..pong().sections.swap_remove(0)
    }];
    report.findings[0].rows = vec![RowRef { section: 0, row: 0 }];
    report.sum_up();
    report
}

fn latency(values: impl Iterator<Item = u64>) -> Histogram {
    let mut latency = Histogram::new(3, 40).unwrap();
    values.for_each(|value| latency.record(value));
    latency
}

//! Columns and tables that all of these tools have.

use std::{collections::BTreeSet, time::Duration};

use profiler_common::io::IoSample;

use super::Stacks;
use crate::{
    kernel::calls,
    observe::{
        Observation,
        io::{Samples, comm},
    },
    report::{Column, ColumnSpec, Form, Role, Row, Section, Unit, Value, WHOSE},
    text::Text,
    units,
};

pub(crate) const OPERATION: ColumnSpec = ("operation", "Operation", Unit::None, Role::Key, true);
pub(crate) const THREAD: ColumnSpec = ("thread", "Thread", Unit::None, Role::Key, true);
/// Columns whose cells have histograms, if they are no sums.
const HISTOGRAMS: [&str; 6] =
    ["duration_ns", "queued_ns", "served_ns", "answer_ns", "data_age_ns", "connect_ns"];

/// What the tables of one report have in common.
pub(crate) struct Tabled<'a> {
    pub(crate) on: &'a Observation<'a>,
    owners: Vec<(u32, u64)>,
    has_many: bool,
}

impl<'a> Tabled<'a> {
    pub(crate) fn new(on: &'a Observation<'a>) -> Tabled<'a> {
        let pids: BTreeSet<u32> = on.spaces.iter().map(|space| space.process.pid()).collect();
        Tabled { on, owners: on.owners(), has_many: pids.len() > 1 }
    }

    /// The first cells of each row: whose it is.
    pub(crate) fn whose(&self, space: u16) -> Vec<Value> {
        let (pid, before) = self.owners.get(usize::from(space)).copied().unwrap_or_default();
        vec![Value::Exact(pid.into()), Value::Exact(before)]
    }

    /// A table. Its rows begin with [`Tabled::whose`].
    pub(crate) fn section(
        &self,
        name: &str,
        title: &str,
        keys: &[ColumnSpec],
        rows: Vec<Row>,
        sums: &[ColumnSpec],
    ) -> Section {
        // A process that began just before the end may be in the rows only.
        let has_many = self.has_many || have_many_processes(&rows);
        let column = |spec: &ColumnSpec| {
            let (name, _, _, role, shown) = *spec;
            let form = match role {
                Role::Gauge if HISTOGRAMS.contains(&name) => Form::Histogram,
                _ => Form::Single,
            };
            Column { shown: shown && (name != "pid" || has_many), ..Column::of(spec, form) }
        };
        let columns = WHOSE.iter().chain(keys).chain(sums).map(column).collect();
        Section::new(name, title, columns, rows)
    }

    /// Events per second, which is certain because their number is. Below 10, a whole number would have too few digits.
    pub(crate) fn rate(&self, count: u64) -> Value {
        match count as f64 / self.on.lasted().as_secs_f64().max(1e-9) {
            rate if rate >= 10.0 => Value::known(rate.round()),
            rate => Value::known(rate),
        }
    }

    /// Single slow operations. `file`: what the column of files is called; `own`: the columns behind, whose cells `cells` returns behind the
    /// name of the operation; `slow`: from which length on operations are listed.
    pub(crate) fn slow(
        &self,
        title: &str,
        (samples, stacks, slow): (&Samples, &Stacks, Duration),
        (file, own): (ColumnSpec, &[ColumnSpec]),
        cells: impl Fn(&IoSample) -> Option<(&'static str, Vec<Value>)>,
    ) -> Section {
        let rows = samples.longest.iter().filter_map(|sample| {
            let (operation, own) = cells(sample)?;
            let mut cells = self.whose(sample.space());
            cells.extend([
                Value::Exact(sample.tid.into()),
                Value::Name(comm(sample.comm)),
                Value::Word(operation.to_owned()),
                Value::Exact(sample.start_ns.saturating_sub(self.on.began_ns())),
                self.on.files.of_operation(sample.file),
                Value::Exact(sample.duration_ns),
                Value::Word(calls::result(sample.result.cast_signed())),
            ]);
            cells.extend(own);
            Some(Row { cells, stacks: stacks.reference(Some(sample.stack())), severity: None })
        });
        let keys = [
            ("tid", "TID", Unit::None, Role::Key, false),
            THREAD,
            OPERATION,
            ("start_ns", "At", Unit::Nanos, Role::Key, true),
            file,
        ];
        let sums = [
            &[
                ("duration_ns", "Took", Unit::Nanos, Role::Max, true),
                ("result", "Result", Unit::None, Role::Label, true),
            ],
            own,
        ];
        let mut section = self.section("slow", title, &keys, rows.collect(), &sums.concat());
        section.number_rows();
        section.detail = true;
        if samples.left_out > 0 {
            let more = units::plural(samples.left_out as usize, "more operation", "more operations");
            let slow = units::exact_duration(slow);
            section.notes.push(format!("{more} took at least {slow} (--slow): only the longest are listed"));
        }
        if samples.without_moment > 0 {
            let some = units::plural(samples.without_moment as usize, "slow operation", "slow operations");
            section.notes.push(format!(
                "whether {some} came on a period was not looked at: they were on too many files"
            ));
        }
        section
    }
}

/// Whether rows that begin with a pid are of several processes.
fn have_many_processes(rows: &[Row]) -> bool {
    let pid = |row: &Row| match row.cells.first() {
        Some(Value::Exact(pid)) => Some(*pid),
        _ => None,
    };
    rows.iter().filter_map(pid).collect::<BTreeSet<u64>>().len() > 1
}

/// A thread by its name, which may be empty.
pub(crate) fn named(thread: Option<&Text>) -> Value {
    match thread.filter(|name| !name.is_empty()) {
        Some(name) => Value::Name(name.clone()),
        None => Value::Word("without a name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_two_processes_are_told_apart() {
        let row =
            |pid| Row { cells: vec![Value::Exact(pid), Value::Exact(0)], stacks: Vec::new(), severity: None };
        assert!(!have_many_processes(&[row(7), row(7)]) && !have_many_processes(&[]));
        assert!(have_many_processes(&[row(7), row(8)]));
    }
}

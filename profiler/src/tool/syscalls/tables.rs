//! The tables: by call, by thread, by caller, by error, single calls, and calls in progress.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use profiler_common::syscalls::SlowCall;

use super::{
    args::By,
    children,
    findings::thresholds,
    kinds,
    probes::Stacks,
    rows::{Rows, Sum, Who},
    slow::LeftOut,
};
use crate::{
    kernel::calls,
    kernel::uring,
    observe::Observation,
    report::{Column, ColumnSpec, Form, Role, Row, RowRef, Section, StackRef, Unit, Value, WHOSE},
    text::Text,
    units,
};

/// Rows in the table of calls, by address space and call.
pub(super) type OfCalls = BTreeMap<(u16, u64), RowRef>;

/// A call stack with a call.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) space: u16,
    pub(super) call: u64,
    pub(super) count: u64,
    pub(super) total_ns: u64,
    /// Its index in the part of the report, and the frame that names it.
    pub(super) stack: Option<usize>,
    pub(super) id: String,
    pub(super) name: Option<Text>,
}

/// A single call.
#[derive(Clone, Debug)]
pub(super) struct Single {
    pub(super) call: SlowCall,
    /// The path that it names, if any.
    pub(super) path: Box<[u8]>,
    pub(super) space: u16,
    pub(super) stack: Option<usize>,
}

/// What the tables are made from.
pub(super) struct Tables<'a> {
    pub(super) on: &'a Observation<'a>,
    /// Which process each address space belongs to, see [`Observation::owners`].
    pub(super) owners: &'a [(u32, u64)],
    pub(super) rows: &'a Rows,
    pub(super) callers: &'a [Caller],
    pub(super) singles: &'a [Single],
    /// Operations of io_uring that were submitted, by address space and operation.
    pub(super) uring: &'a BTreeMap<(u16, u32), u64>,
    /// Single calls that were not listed, and those that did not fit into the ring.
    pub(super) left_out: LeftOut,
    /// The least length of single calls that are listed, as text.
    pub(super) slow: String,
    pub(super) not_sent: u64,
    pub(super) by: By,
    /// Which calls had their stack taken: if only slow ones, the top caller is that of the slow calls.
    pub(super) stacks: Stacks,
    /// Time since the previous report, if this one is not the last.
    pub(super) recent: Duration,
    pub(super) is_interim: bool,
}

pub(super) const CALL: ColumnSpec = ("call", "Call", Unit::None, Role::Key, true);
const SUMS: [ColumnSpec; 12] = [
    ("recent_calls_per_s", "Calls", Unit::PerSecond, Role::Gauge, true),
    ("recent_time_per_s", "Time", Unit::NanosPerSecond, Role::Gauge, true),
    ("calls", "Calls", Unit::Count, Role::Sum, true),
    ("calls_per_s", "Calls", Unit::PerSecond, Role::Gauge, true),
    ("total_ns", "Time", Unit::Nanos, Role::Sum, true),
    ("time_per_s", "Time", Unit::NanosPerSecond, Role::Gauge, true),
    ("duration_ns", "Took", Unit::Nanos, Role::Gauge, true),
    ("errors", "Errors", Unit::Count, Role::Sum, false),
    ("errors_by_name", "Errors", Unit::None, Role::Label, true),
    ("results", "Results", Unit::Count, Role::Sum, false),
    ("in_progress", "Now", Unit::Count, Role::Gauge, true),
    ("in_progress_ns", "Longest now", Unit::Nanos, Role::Max, false),
];

impl Tables<'_> {
    /// All tables, starting with the one that was asked for, and the row of each call.
    pub(super) fn sections(&self) -> (Vec<Section>, OfCalls) {
        let calls = self.calls();
        let mut sections = vec![calls.0, self.threads(), self.by_caller(), self.by_thread_and_call()];
        let first = match self.by {
            By::Call => 0,
            By::Thread => 1,
            By::Caller => 2,
        };
        for (index, section) in sections.iter_mut().enumerate() {
            section.detail = index != first;
            if self.is_interim && index != 2 {
                let length = units::duration(self.recent);
                section
                    .notes
                    .push(format!("rates of the last {length}, numbers and quantiles since the start"));
            }
        }
        sections.swap(0, first);
        let at = sections.iter().position(|section| section.name == "calls").unwrap_or(0);
        let rows = calls.1.into_iter().map(|(key, row)| (key, RowRef { section: at, row })).collect();
        if !self.uring.is_empty() {
            sections.push(self.io_uring());
        }
        if !self.singles.is_empty() || self.not_sent > 0 {
            sections.push(self.single_calls());
        }
        (sections, rows)
    }

    pub(super) fn whose(&self, space: u16) -> [Value; 2] {
        let target = children::target_of(space);
        let owner = self.owners.get(usize::from(target.unwrap_or(space)));
        let (pid, before) = owner.copied().unwrap_or_default();
        if target.is_some() {
            return [Value::Word(format!("children of {pid}")), Value::Exact(before)];
        }
        [Value::Exact(pid.into()), Value::Exact(before)]
    }

    pub(super) fn section(
        &self,
        name: &str,
        title: &str,
        keys: &[ColumnSpec],
        rows: Vec<Row>,
        sums: &[ColumnSpec],
    ) -> Section {
        let has_rates = sums.iter().any(|(name, ..)| *name == "calls_per_s");
        let pids: BTreeSet<u32> = self.on.spaces.iter().map(|space| space.process.pid()).collect();
        let first = rows.first().and_then(|row| row.cells.first());
        let of_several = pids.len() > 1 || rows.iter().any(|row| row.cells.first() != first);
        let column = |spec: &ColumnSpec| {
            let (name, _, _, role, shown) = *spec;
            let shown = self.shows(name, shown, has_rates, of_several);
            Column { shown, ..Column::of(spec, form(name, role)) }
        };
        let columns = WHOSE.iter().chain(keys).chain(sums).map(column).collect();
        Section::new(name, title, columns, rows)
    }

    /// A live view shows recent rates beside the sums, the last report shows mean rates. A table without rates shows its sums. The process of a row
    /// is shown if there are several.
    fn shows(&self, name: &str, shown: bool, has_rates: bool, of_several: bool) -> bool {
        match name {
            "pid" => shown && of_several,
            "recent_calls_per_s" | "recent_time_per_s" => self.is_interim,
            "calls" | "total_ns" if has_rates => self.is_interim,
            "calls_per_s" | "time_per_s" => !self.is_interim,
            _ => shown,
        }
    }

    fn cells(&self, sum: &Sum) -> Vec<Value> {
        // A rate is certain, because the count is. Below 10, a whole number would have too few digits.
        let per = |length: Duration, value: u64| match value as f64 / length.as_secs_f64().max(1e-9) {
            rate if rate >= 10.0 => Value::known(rate.round()),
            rate => Value::known(rate),
        };
        let rate = |value| per(self.on.lasted(), value);
        let (now, longest) = sum.now.map_or((0, Some(0)), |now| now);
        let longest = match (now, longest) {
            (0, _) => Value::Unknown("no call is in progress".to_owned()),
            (_, Some(ns)) => Value::Exact(ns),
            (_, None) => Value::Unknown("since before the start".to_owned()),
        };
        vec![
            per(self.recent, sum.recent.0),
            per(self.recent, sum.recent.1),
            Value::Exact(sum.calls()),
            rate(sum.calls()),
            Value::Exact(sum.total_ns),
            rate(sum.total_ns),
            match sum.returned {
                0 => Value::Unknown("no call that began here has returned".to_owned()),
                _ => Value::Histogram(sum.histogram()),
            },
            Value::Exact(sum.failed()),
            Value::Word(errors(sum)),
            Value::Exact(sum.results),
            Value::Exact(now),
            longest,
        ]
    }

    fn calls(&self) -> (Section, BTreeMap<(u16, u64), usize>) {
        let sums = self.rows.sums(|who, call| (who.space, call));
        let mut sorted: Vec<((u16, u64), Sum)> = sums.into_iter().collect();
        // A server waits most of the time: calls that are meant to wait come after the others.
        sorted.sort_by_key(|((_, call), sum)| {
            (kinds::is_wait(*call), std::cmp::Reverse((sum.total_ns, sum.calls())))
        });
        let rows = sorted.iter().map(|((space, call), sum)| {
            let caller = self.callers.iter().filter(|of| of.space == *space && of.call == *call);
            let top = caller.max_by_key(|of| of.total_ns);
            let mut cells = self.whose(*space).to_vec();
            cells.push(Value::Word(calls::call(*call)));
            cells.extend(self.cells(sum));
            cells.push(match top.and_then(|top| top.name.clone()) {
                Some(name) => Value::Name(name),
                None => Value::Unknown("no stack of it was taken".to_owned()),
            });
            cells.push(Value::Word(if kinds::is_wait(*call) { "yes" } else { "no" }.to_owned()));
            Row { cells, stacks: StackRef::user(top.and_then(|top| top.stack)), severity: None }
        });
        let title = if self.stacks == Stacks::Slow { "Slowest caller" } else { "Top caller" };
        let mut columns = SUMS.to_vec();
        columns.push(("caller", title, Unit::None, Role::Label, true));
        columns.push(("waits", "Waits", Unit::None, Role::Label, false));
        let section = self.section(
            "calls",
            "System calls, the most time first; those that wait come last",
            &[CALL],
            rows.collect(),
            &columns,
        );
        let rows = sorted.iter().enumerate().map(|(row, (key, _))| (*key, row));
        (section, rows.collect())
    }

    fn thread_cells(&self, who: Who) -> Vec<Value> {
        let mut cells = self.whose(who.space).to_vec();
        let name = self.rows.names.get(&who);
        cells.push(match name {
            // It may be one thread or several.
            Some(name) if who.is_several() => Value::Word(format!("named {}", name.terminal())),
            None if who.is_several() => Value::Word("without a name".to_owned()),
            _ => Value::Exact(who.tid.into()),
        });
        cells.push(match name {
            Some(name) => Value::Name(name.clone()),
            None => Value::Word("without a name".to_owned()),
        });
        cells
    }

    fn threads(&self) -> Section {
        let sums = self.rows.sums(|who, _| who);
        let all: u64 = sums.values().map(|sum| sum.calls()).sum();
        let mut sorted: Vec<(Who, Sum)> = sums.into_iter().collect();
        sorted.sort_by_key(|(_, sum)| std::cmp::Reverse((sum.calls(), sum.total_ns)));
        let rows = sorted.iter().map(|(who, sum)| {
            let mut cells = self.thread_cells(*who);
            cells.extend(self.cells(sum));
            let share = sum.calls() as f64 / all.max(1) as f64;
            cells.push(Value::known(share));
            let own = self.rows.by.iter().filter(|((of, _), _)| of == who);
            let top = own.max_by_key(|((_, call), sum)| (!kinds::is_wait(*call), sum.total_ns));
            cells.push(Value::Word(top.map_or_else(String::new, |((_, call), _)| calls::call(*call))));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let mut columns = SUMS.to_vec();
        columns.push(("share", "Share", Unit::Ratio, Role::Gauge, true));
        columns.push(("top_call", "Top call", Unit::None, Role::Label, true));
        self.section("threads", "Threads, the most calls first", &THREAD, rows.collect(), &columns)
    }

    fn by_thread_and_call(&self) -> Section {
        let rows = self.rows.by.iter().map(|((who, call), sum)| {
            let mut cells = self.thread_cells(*who);
            cells.push(Value::Word(calls::call(*call)));
            cells.extend(self.cells(sum));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let keys = [THREAD[0], THREAD[1], CALL];
        let mut section = self.section("thread_calls", "Calls of each thread", &keys, rows.collect(), &SUMS);
        section.notes.push(format!("thresholds of pointless work: {}", thresholds::common()));
        section.notes.extend(thresholds::thresholds().map(|(rule, words)| format!("{rule}: {words}")));
        section
    }

    fn by_caller(&self) -> Section {
        let mut sorted: Vec<&Caller> = self.callers.iter().collect();
        sorted.sort_by_key(|caller| {
            (kinds::is_wait(caller.call), std::cmp::Reverse((caller.total_ns, caller.count)))
        });
        let rows = sorted.into_iter().map(|caller| {
            let mut cells = self.whose(caller.space).to_vec();
            cells.push(Value::Word(calls::call(caller.call)));
            cells.push(Value::Word(caller.id.clone()));
            cells.push(match &caller.name {
                Some(name) => Value::Name(name.clone()),
                None => Value::Unknown("its frames are not known".to_owned()),
            });
            cells.push(Value::Exact(caller.total_ns));
            cells.push(Value::Exact(caller.count));
            Row { cells, stacks: StackRef::user(caller.stack), severity: None }
        });
        let keys = [CALL, ("stack_id", "Stack", Unit::None, Role::Key, false)];
        let (time, calls) = match self.stacks {
            Stacks::All => ("Time", "Calls"),
            Stacks::Slow | Stacks::None => ("Sampled time", "Sampled calls"),
        };
        let sums = [
            ("caller", "Caller", Unit::None, Role::Name, true),
            ("total_ns", time, Unit::Nanos, Role::Sum, true),
            ("calls", calls, Unit::Count, Role::Sum, true),
        ];
        let mut section =
            self.section("callers", "Callers, of calls whose stack was taken", &keys, rows.collect(), &sums);
        section.number_rows();
        section
    }

    fn io_uring(&self) -> Section {
        let rows = self.uring.iter().map(|((space, operation), count)| {
            let mut cells = self.whose(*space).to_vec();
            cells.push(Value::Word(uring::operation(*operation)));
            cells.push(Value::Exact(*count));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let keys = [("operation", "Operation", Unit::None, Role::Key, true)];
        let sums = [("submitted", "Submitted", Unit::Count, Role::Sum, true)];
        self.section("io_uring", "Operations of io_uring", &keys, rows.collect(), &sums)
    }
}

/// Single calls have a duration, sums of calls a histogram of durations.
fn form(name: &str, role: Role) -> Form {
    if name == "duration_ns" && role == Role::Gauge { Form::Histogram } else { Form::Single }
}

pub(super) const THREAD: [ColumnSpec; 2] =
    [("tid", "TID", Unit::None, Role::Key, true), ("thread", "Thread", Unit::None, Role::Name, true)];

/// `EAGAIN 97 %, EINTR 3 %`, as shares of all calls; empty if none failed.
fn errors(sum: &Sum) -> String {
    let mut errors: Vec<(&u64, &u64)> = sum.errors.iter().collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let calls = sum.calls().max(1) as f64;
    let words = errors.iter().map(|(error, count)| {
        format!("{} {}", calls::error(**error), units::percent(**count as f64 / calls))
    });
    words.collect::<Vec<String>>().join(", ")
}

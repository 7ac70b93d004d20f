//! The tables: by file, by thread, by operation; the others are in `more`.

mod more;

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    args::Options,
    devices::Devices,
    lines::{Lines, What, lines, most},
    operations::Operation,
    tool::FAULT_BEGAN,
    waits::Waits,
};
use crate::{
    io_tools::{OPERATION, Stacks, THREAD, Tabled, named},
    observe::{
        Observation, Part,
        io::{Counted, LeftOut, Samples, Seconds, Sum},
    },
    report::{ColumnSpec, Role, Row, RowRef, Section, Unit, Value},
    text::Text,
    units,
};

/// Most rows in the table of files. Files that took less time have one row for each operation.
const MOST_ROWS: usize = 5_000;

const FILE: ColumnSpec = ("file", "File", Unit::None, Role::Key, true);
const SUMS: [ColumnSpec; 9] = [
    ("operations", "Operations", Unit::Count, Role::Sum, false),
    ("operations_per_s", "Ops", Unit::PerSecond, Role::Gauge, true),
    ("moved_bytes", "Bytes", Unit::Bytes, Role::Sum, true),
    ("total_ns", "Time", Unit::Nanos, Role::Sum, true),
    ("duration_ns", "Took", Unit::Nanos, Role::Gauge, true),
    ("max_ns", "Longest", Unit::Nanos, Role::Max, false),
    ("device_bytes", "From device", Unit::Bytes, Role::Sum, true),
    ("device_operations", "Operations that read from a device", Unit::Count, Role::Sum, false),
    ("errors", "Errors", Unit::Count, Role::Sum, true),
];

/// Those of them that are not known of faults without the program at their beginning: times, and what was fetched.
const OF_FAULT_START: [usize; 5] = [3, 4, 5, 6, 7];

/// What the tables are made from.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) counted: &'a Counted,
    pub(super) waits: &'a Waits,
    pub(super) devices: &'a Devices,
    pub(super) samples: &'a Samples,
    pub(super) seconds: &'a Seconds,
    pub(super) options: &'a Options,
    /// Whether the kernel counts what threads fetch from devices.
    pub(super) has_fetched: bool,
    /// Programs that are not attached.
    pub(super) left_out: &'a [LeftOut],
    /// Requests of libaio and of io_uring whose ends were not seen.
    pub(super) unseen: [u64; 2],
    /// Waits that are in no row, and requests to devices that are in none: there was no room, or their end was not shown.
    pub(super) without_row: [u64; 2],
    /// Up to when it was counted, on the monotonic clock in nanoseconds.
    pub(super) now_ns: u64,
}

/// All tables.
pub(super) struct Tables<'a> {
    tabled: Tabled<'a>,
    given: Given<'a>,
    stacks: Stacks,
    pub(super) lines: Lines,
    /// What has rows in the table of files, in its order.
    order: Vec<What>,
}

impl<'a> Tables<'a> {
    /// Gathers what they are made from, and adds the stacks to the part.
    pub(super) fn new(on: &'a Observation<'a>, given: Given<'a>, part: &mut Part) -> Tables<'a> {
        let Given { counted, samples, .. } = given;
        let mut lines = lines(counted, samples, |file| on.files.of_operation(file));
        lines.retain(|what, _| !on.left_out.contains(&what.space));
        let order = most(&mut lines, MOST_ROWS);
        let stacks = Stacks::of(on, samples, part);
        Tables { tabled: Tabled::new(on), given, stacks, lines, order }
    }

    /// All tables, starting with the one that was asked for.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut sections = vec![self.files(), self.threads(), self.operations()];
        let first = self.given.options.by as usize;
        for (index, section) in sections.iter_mut().enumerate() {
            section.detail = index != first;
        }
        sections.swap(0, first);
        if !self.given.samples.longest.is_empty() {
            sections.push(self.slow());
        }
        if !self.given.waits.is_empty() {
            sections.push(self.waits());
        }
        if !self.given.devices.requests.is_empty() {
            sections.push(self.devices());
        }
        if self.given.options.neighbours {
            sections.push(self.neighbours());
        }
        let now = self.now();
        if !now.rows.is_empty() {
            sections.push(now);
        }
        sections
    }

    /// The row of what was done, in the table of files.
    pub(super) fn row(&self, what: &What) -> Vec<RowRef> {
        let section = self.given.options.by as usize;
        let row = self.order.iter().position(|of| of == what);
        row.map(|row| RowRef { section, row }).into_iter().collect()
    }

    /// The name of the function that a stack is called from.
    pub(super) fn caller(&self, stack: Option<u32>) -> Option<&Text> {
        self.stacks.name(stack)
    }

    fn cells(&self, operation: Operation, sum: &Sum) -> Vec<Value> {
        let mut cells = vec![
            Value::Exact(sum.count),
            self.tabled.rate(sum.count),
            Value::Exact(sum.bytes),
            Value::Exact(sum.total_ns),
            match sum.durations() {
                Some(durations) => Value::Histogram(durations.clone()),
                None => Value::Unknown("no room was left for its histogram".to_owned()),
            },
            Value::Exact(sum.max_ns),
            self.fetched(sum.device_bytes),
            self.fetched(sum.from_device),
            Value::Exact(sum.errors),
        ];
        if operation == Operation::Fault
            && let Some(left_out) = self.given.left_out.iter().find(|of| of.program == FAULT_BEGAN)
        {
            for place in OF_FAULT_START {
                if let Some(cell) = cells.get_mut(place) {
                    *cell = Value::Unknown(left_out.why.clone());
                }
            }
        }
        cells
    }

    /// What was fetched from devices, if the kernel counts it.
    pub(super) fn fetched(&self, count: u64) -> Value {
        match self.given.has_fetched {
            true => Value::Exact(count),
            false => Value::Unknown("the kernel does not count it (CONFIG_TASK_IO_ACCOUNTING)".to_owned()),
        }
    }

    fn files(&self) -> Section {
        let rows = self.order.iter().filter_map(|what| Some((what, self.lines.get(what)?)));
        let rows = rows.map(|(what, line)| {
            let mut cells = self.tabled.whose(what.space);
            cells.push(Value::Word(what.operation.name().to_owned()));
            cells.push(what.file.value());
            cells.extend(self.cells(what.operation, &line.sum));
            cells.push(named(line.thread()));
            cells.push(match self.caller(line.stack) {
                Some(name) => Value::Name(name.clone()),
                None => Value::Unknown("no stack of it was taken".to_owned()),
            });
            Row { cells, stacks: self.stacks.reference(line.stack), severity: None }
        });
        let mut columns = SUMS.to_vec();
        columns.push(("thread", "Thread", Unit::None, Role::Label, true));
        columns.push(("caller", "Caller", Unit::None, Role::Label, true));
        let title = "Operations on files, the most time first";
        let mut section = self.tabled.section("files", title, &[OPERATION, FILE], rows.collect(), &columns);
        let unseen = [
            "of libaio not counted: the program takes results from the ring in its memory, without a call, or has ended",
            "of io_uring not counted: the program has asked for no completion, or has ended",
        ];
        section.notes.extend(noted("request", "requests", self.given.unseen.into_iter().zip(unseen)));
        section
    }

    fn threads(&self) -> Section {
        let mut sums: BTreeMap<(u16, &Text, Operation), Sum> = BTreeMap::new();
        for (what, line) in &self.lines {
            for (thread, sum) in &line.threads {
                sums.entry((what.space, thread, what.operation)).or_default().add(sum);
            }
        }
        let mut sorted: Vec<_> = sums.into_iter().collect();
        sorted.sort_by_key(|(_, sum)| Reverse((sum.total_ns, sum.count)));
        let rows = sorted.iter().map(|((space, thread, operation), sum)| {
            let mut cells = self.tabled.whose(*space);
            cells.push(named(Some(thread)));
            cells.push(Value::Word(operation.name().to_owned()));
            cells.extend(self.cells(*operation, sum));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let title = "Threads by name, the most time first";
        self.tabled.section("threads", title, &[THREAD, OPERATION], rows.collect(), &SUMS)
    }

    fn operations(&self) -> Section {
        let mut sums: BTreeMap<(u16, Operation), Sum> = BTreeMap::new();
        for (what, line) in &self.lines {
            sums.entry((what.space, what.operation)).or_default().add(&line.sum);
        }
        let mut sorted: Vec<_> = sums.into_iter().collect();
        sorted.sort_by_key(|(_, sum)| Reverse((sum.total_ns, sum.count)));
        let rows = sorted.iter().map(|((space, operation), sum)| {
            let mut cells = self.tabled.whose(*space);
            cells.push(Value::Word(operation.name().to_owned()));
            cells.extend(self.cells(*operation, sum));
            cells.extend(self.series(*operation));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let mut columns = SUMS.to_vec();
        columns.push(("over_time", "Over time", Unit::PerSecond, Role::Gauge, true));
        columns.push(("longest_over_time", "Longest over time", Unit::Nanos, Role::Gauge, true));
        let title = "Operations, the most time first";
        let mut section = self.tabled.section("operations", title, &[OPERATION], rows.collect(), &columns);
        if self.tabled.on.spaces.len() > 1 {
            section.notes.push("values over time are of all processes together".to_owned());
        }
        section
    }

    fn series(&self, operation: Operation) -> [Value; 2] {
        let (began_ns, lasted) = (self.tabled.on.began_ns(), self.tabled.on.lasted());
        let of = [operation.number()];
        let rates =
            self.given.seconds.series(&of, "operations", Unit::PerSecond, began_ns, lasted, |of, length| {
                of.count as f64 / length
            });
        let longest = self
            .given
            .seconds
            .series(&of, "longest", Unit::Nanos, began_ns, lasted, |of, _| of.max_ns as f64);
        [Value::Series(rates), Value::Series(longest)]
    }
}

/// Sentences on what is missing, of those that are not 0.
fn noted<'a>(
    one: &'a str,
    several: &'a str,
    all: impl IntoIterator<Item = (u64, &'a str)>,
) -> impl Iterator<Item = String> {
    let missing = all.into_iter().filter(|(count, _)| *count > 0);
    missing.map(move |(count, words)| format!("{} {words}", units::plural(count as usize, one, several)))
}

//! The tables: by service, by peer, by connection, by thread, by operation, and single slow operations.

mod peers;
mod states;

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    args::Options,
    columns::{self, SERVICE, TRAFFIC},
    lines::{self, Callers, Line, Lines, What, lines},
    operations::Operation,
    states::{ByService, States},
};
use crate::{
    io_tools::{Label, OPERATION, Stacks, THREAD, Tabled, named},
    observe::{
        Observation, Part,
        io::{Connections, Counted, Datagrams, Samples, Seconds, Sum},
    },
    report::{Row, RowRef, Section, Unit, Value},
    text::Text,
    units,
};

/// The place of the table of operations by service.
const CALLERS: usize = 7;

/// What the tables are made from.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) counted: &'a Counted,
    pub(super) samples: &'a Samples,
    pub(super) seconds: &'a Seconds,
    pub(super) connections: &'a Connections,
    pub(super) datagrams: &'a Datagrams,
    pub(super) states: &'a States,
    pub(super) options: &'a Options,
    /// Completions of requests that go on, and calls with too many messages.
    pub(super) uncounted: [u64; 2],
    /// Up to when it was counted, on the monotonic clock in nanoseconds.
    pub(super) now_ns: u64,
}

/// All tables.
pub(super) struct Tables<'a> {
    tabled: Tabled<'a>,
    given: Given<'a>,
    stacks: Stacks,
    callers: Callers,
    pub(super) lines: Lines,
    pub(super) sockets: ByService<'a>,
    /// What has rows in the table of services, in its order.
    order: Vec<What>,
}

fn named_function(name: Option<&Text>) -> Value {
    name.map_or_else(|| Value::Unknown("no stack was taken".to_owned()), |name| Value::Name(name.clone()))
}

impl<'a> Tables<'a> {
    /// Gathers what they are made from, and adds the stacks to the part.
    pub(super) fn new(on: &'a Observation<'a>, given: Given<'a>, part: &mut Part) -> Tables<'a> {
        let Given { counted, connections, samples, states, .. } = given;
        let mut lines = lines(counted, connections, |number| lines::Described::of(&on.files, number));
        lines.retain(|what, _| !on.left_out.contains(&what.space));
        let mut order: Vec<What> = lines.keys().cloned().collect();
        order.sort_by_key(|what| Reverse(lines.get(what).map(|line| (line.messages(), line.bytes()))));
        let stacks = Stacks::of(on, samples, part);
        let callers = lines::callers(samples, |number| lines::Described::of(&on.files, number).service);
        let sockets = states.by_service(on, connections);
        Tables { tabled: Tabled::new(on), given, stacks, callers, lines, sockets, order }
    }

    /// All tables, starting with the one that was asked for.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut sections = vec![
            self.services(),
            self.peers(),
            self.connections(),
            self.threads(),
            self.operations(),
            self.queues(),
            self.tcp(),
            self.callers(),
        ];
        let first = self.given.options.by as usize;
        for (index, section) in sections.iter_mut().enumerate() {
            section.detail = index != first;
        }
        sections.swap(0, first);
        if !self.given.samples.longest.is_empty() {
            sections.push(self.slow());
        }
        sections
    }

    /// The row of a service.
    pub(super) fn row(&self, what: &What) -> Vec<RowRef> {
        let section = self.given.options.by as usize;
        let row = self.order.iter().position(|of| of == what);
        row.map(|row| RowRef { section, row }).into_iter().collect()
    }

    /// The row of an operation on a service, which has its stack, and that of the service.
    pub(super) fn rows(&self, what: &What, operation: Operation) -> Vec<RowRef> {
        let row = self.pairs().position(|(of, other, _)| of == what && other == operation);
        let of_operation = row.map(|row| RowRef { section: CALLERS, row });
        of_operation.into_iter().chain(self.row(what)).collect()
    }

    /// Services with the operations on them.
    fn pairs(&self) -> impl Iterator<Item = (&What, Operation, &Sum)> {
        let of = |what| Some((what, self.lines.get(what)?));
        let lines = self.order.iter().filter_map(of);
        lines.flat_map(|(what, line)| line.operations.iter().map(move |(of, sum)| (what, *of, sum)))
    }

    /// Where operations on services are called from.
    fn callers(&self) -> Section {
        let rows = self.pairs().map(|(what, operation, sum)| {
            let stack = self.callers.get(&(what.clone(), operation)).copied();
            let mut cells = self.tabled.whose(what.space);
            cells.extend([what.service.value(), Value::Word(operation.name().to_owned())]);
            cells.extend(self.sums(sum));
            cells.push(named_function(self.stacks.name(stack)));
            Row { cells, stacks: self.stacks.reference(stack), severity: None }
        });
        let columns = [&columns::SUMS[..], &columns::FUNCTION].concat();
        let title = "Operations by service, and where they are called from";
        self.tabled.section("callers", title, &[SERVICE, OPERATION], rows.collect(), &columns)
    }

    /// The function that does an operation on a service most often.
    pub(super) fn function(&self, what: &What, operation: Operation) -> Option<&Text> {
        self.stacks.name(self.callers.get(&(what.clone(), operation)).copied())
    }

    fn traffic(&self, received: [u64; 2], sent: [u64; 2]) -> Vec<Value> {
        let one = |[messages, bytes]: [u64; 2]| {
            [Value::Exact(messages), self.tabled.rate(messages), Value::Exact(bytes)]
        };
        [one(received), one(sent)].concat()
    }

    fn services(&self) -> Section {
        let rows = self.order.iter().filter_map(|what| {
            let line = self.lines.get(what)?;
            let mut cells = self.tabled.whose(what.space);
            cells.push(what.service.value());
            cells.extend(self.service(line));
            Some(Row { cells, stacks: Vec::new(), severity: None })
        });
        let columns = [&TRAFFIC[..], &columns::SERVICES].concat();
        let title = "Services, the most messages first";
        let mut section = self.tabled.section("services", title, &[SERVICE], rows.collect(), &columns);
        let beyond = self.given.connections.beyond;
        if beyond > 0 {
            section.notes.push(format!(
                "{} operations were on sockets that have no sums of their own, because there are too many: there were more connections",
                units::count(beyond as f64)
            ));
        }
        let [going_on, too_many] = self.given.uncounted;
        if going_on > 0 {
            section.notes.push(format!(
                "completions of multishot requests of io_uring (receives, accepts, polls): {}; what they received or accepted is not counted",
                units::count(going_on as f64)
            ));
        }
        if too_many > 0 {
            section.notes.push(format!(
                "calls that received more than 65,536 messages, of which the bytes of the others are not counted: {}",
                units::count(too_many as f64)
            ));
        }
        section
    }

    fn service(&self, line: &Line) -> Vec<Value> {
        let [receive, send] = [Operation::Receive, Operation::Send].map(|of| line.of(of));
        let answers = line.answers();
        let count = |operation| Value::Exact(line.of(operation).count);
        let calls = |of: fn(&Sum) -> u64| {
            line.operations
                .iter()
                .filter(|(operation, _)| !operation.is_between())
                .map(|(_, sum)| of(sum))
                .sum()
        };
        let of_streams = |value| match line.datagrams {
            true => Value::Unknown("answers are measured on streams, not of datagrams".to_owned()),
            false => value,
        };
        let mut cells = self.traffic([receive.messages, receive.bytes], [send.messages, send.bytes]);
        cells.extend([
            Value::Exact(line.connections()),
            Value::Exact(line.open),
            Value::Exact(line.of(Operation::Accept).done()),
            Value::Exact(line.of(Operation::Connect).begun()),
            match line.closed.whole {
                0 => Value::Unknown("no connection began and ended while it was observed".to_owned()),
                whole => Value::known(line.closed.life_ns as f64 / whole as f64),
            },
            Value::Exact(answers.count),
            of_streams(self.tabled.rate(answers.count)),
            of_streams(self.durations(&answers)),
            Value::Exact(answers.max_ns),
            Value::Exact(calls(|sum| sum.count)),
            count(Operation::Peek),
            Value::Exact(calls(|sum| sum.not_ready)),
            Value::Exact(calls(|sum| sum.errors)),
            named(line.thread()),
        ]);
        cells
    }

    fn durations(&self, sum: &Sum) -> Value {
        match (sum.count, sum.durations()) {
            (0, _) => Value::Unknown("nothing was answered".to_owned()),
            (_, Some(durations)) => Value::Histogram(durations.clone()),
            (_, None) => Value::Unknown("no room was left for its histogram".to_owned()),
        }
    }

    /// The label of a service by its number.
    fn label(&self, number: u32) -> Label {
        lines::Described::of(&self.tabled.on.files, number).service
    }

    fn sums(&self, sum: &Sum) -> Vec<Value> {
        vec![
            Value::Exact(sum.count),
            self.tabled.rate(sum.count),
            Value::Exact(sum.messages),
            Value::Exact(sum.bytes),
            Value::Exact(sum.total_ns),
            self.durations(sum),
            Value::Exact(sum.max_ns),
            Value::Exact(sum.not_ready),
            Value::Exact(sum.errors),
        ]
    }

    fn threads(&self) -> Section {
        let mut sums: BTreeMap<(u16, &Text, Operation), Sum> = BTreeMap::new();
        for (what, line) in &self.lines {
            for ((operation, thread), sum) in &line.threads {
                sums.entry((what.space, thread, *operation)).or_default().add(sum);
            }
        }
        let mut sorted: Vec<_> = sums.into_iter().collect();
        sorted.sort_by_key(|(_, sum)| Reverse((sum.count, sum.total_ns)));
        let rows = sorted.iter().map(|((space, thread, operation), sum)| {
            let mut cells = self.tabled.whose(*space);
            cells.push(named(Some(thread)));
            cells.push(Value::Word(operation.name().to_owned()));
            cells.extend(self.sums(sum));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let title = "Threads by name, the most operations first";
        self.tabled.section("threads", title, &[THREAD, OPERATION], rows.collect(), &columns::SUMS)
    }

    fn operations(&self) -> Section {
        let mut sums: BTreeMap<(u16, Operation), Sum> = BTreeMap::new();
        for (what, line) in &self.lines {
            for (operation, sum) in &line.operations {
                sums.entry((what.space, *operation)).or_default().add(sum);
            }
        }
        let mut sorted: Vec<_> = sums.into_iter().collect();
        sorted.sort_by_key(|(_, sum)| Reverse((sum.count, sum.total_ns)));
        let rows = sorted.iter().map(|((space, operation), sum)| {
            let mut cells = self.tabled.whose(*space);
            cells.push(Value::Word(operation.name().to_owned()));
            cells.extend(self.sums(sum));
            cells.extend(self.series(*operation));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let columns = [&columns::SUMS[..], &columns::OVER_TIME].concat();
        let title = "Operations, the most first";
        let mut section = self.tabled.section("operations", title, &[OPERATION], rows.collect(), &columns);
        if self.tabled.on.spaces.len() > 1 {
            section.notes.push("values over time are of all processes together".to_owned());
        }
        section
    }

    fn series(&self, operation: Operation) -> [Value; 3] {
        if operation.is_between() {
            let unknown = || Value::Unknown("only calls have values over time".to_owned());
            return [unknown(), unknown(), unknown()];
        }
        let (began_ns, lasted) = (self.tabled.on.began_ns(), self.tabled.on.lasted());
        let (seconds, of) = (self.given.seconds, [operation.number()]);
        let rates = seconds.series(&of, "operations", Unit::PerSecond, began_ns, lasted, |of, length| {
            of.count as f64 / length
        });
        let bytes = seconds.series(&of, "bytes", Unit::BytesPerSecond, began_ns, lasted, |of, length| {
            of.bytes as f64 / length
        });
        let longest = seconds.series(&of, "longest", Unit::Nanos, began_ns, lasted, |of, _| of.max_ns as f64);
        [Value::Series(rates), Value::Series(bytes), Value::Series(longest)]
    }

    fn slow(&self) -> Section {
        let Given { samples, options, .. } = self.given;
        let title = "Single operations and answers, the longest first";
        self.tabled.slow(title, (samples, &self.stacks, options.slow), (SERVICE, &[]), |sample| {
            Some((Operation::of_number(sample.operation as u32)?.name(), Vec::new()))
        })
    }
}

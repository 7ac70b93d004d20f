//! The tables: by service, by peer, by connection, by thread, by operation, and single slow operations.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use profiler_common::{io::IoSample, record::NO_STACK};

use super::{
    args::Options,
    columns::{self, CONNECTION, Column as Described, OPERATION, PEER, SERVICE, THREAD, TRAFFIC, WHOSE},
    lines::{self, Line, Lines, Moved, Service, What, lines},
    operations::Operation,
};
use crate::{
    kernel::calls,
    observe::{
        Observation, Part,
        io::{Connection, Connections, Counted, Samples, Seconds, Sum, comm},
    },
    report::{Column, Form, Role, Row, RowRef, Section, StackRef, Unit, Value, identity::identify},
    stack::own::{Named, Weight},
    text::Text,
    units,
};

/// Most rows of single connections.
const MOST_CONNECTIONS: usize = 1_000;

/// Numbers of stacks as indices into the part of the report.
type Places = BTreeMap<u32, usize>;

/// What was gathered besides the sums.
pub(super) struct Gathered<'a> {
    pub(super) samples: &'a Samples,
    pub(super) seconds: &'a Seconds,
    pub(super) connections: &'a Connections,
}

/// What the tables are made from.
pub(super) struct Tables<'a> {
    on: &'a Observation<'a>,
    owners: Vec<(u32, u64)>,
    gathered: Gathered<'a>,
    options: &'a Options,
    now_ns: u64,
    places: Places,
    pub(super) lines: Lines,
    /// What has rows in the table of services, in its order.
    order: Vec<What>,
}

impl<'a> Tables<'a> {
    /// Gathers what they are made from, and adds the stacks to the part.
    pub(super) fn new(
        on: &'a Observation<'a>,
        counted: &Counted,
        gathered: Gathered<'a>,
        options: &'a Options,
        now_ns: u64,
        part: &mut Part,
    ) -> Tables<'a> {
        let mut lines =
            lines(counted, gathered.connections, |number| lines::Described::of(&on.files, number));
        lines.retain(|what, _| !on.left_out.contains(&what.space));
        let mut order: Vec<What> = lines.keys().cloned().collect();
        order.sort_by_key(|what| Reverse(lines.get(what).map(|line| (line.messages(), line.bytes()))));
        let places = stacks(on, gathered.samples, part);
        Tables { on, owners: on.owners(), gathered, options, now_ns, places, lines, order }
    }

    /// All tables, starting with the one that was asked for.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut sections =
            vec![self.services(), self.peers(), self.connections(), self.threads(), self.operations()];
        let first = self.options.by as usize;
        for (index, section) in sections.iter_mut().enumerate() {
            section.detail = index != first;
        }
        sections.swap(0, first);
        if !self.gathered.samples.longest.is_empty() {
            sections.push(self.slow());
        }
        sections
    }

    /// The row of a service.
    pub(super) fn row(&self, what: &What) -> Vec<RowRef> {
        let section = self.options.by as usize;
        let row = self.order.iter().position(|of| of == what);
        row.map(|row| RowRef { section, row }).into_iter().collect()
    }

    fn whose(&self, space: u16) -> Vec<Value> {
        let (pid, before) = self.owners.get(usize::from(space)).copied().unwrap_or_default();
        vec![Value::Exact(pid.into()), Value::Exact(before)]
    }

    fn section(
        &self,
        name: &str,
        title: &str,
        keys: &[Described],
        rows: Vec<Row>,
        sums: &[Described],
    ) -> Section {
        let pids: BTreeSet<u32> = self.on.spaces.iter().map(|space| space.process.pid()).collect();
        let column = |(name, title, unit, role, shown): &Described| Column {
            name: (*name).to_owned(),
            title: (*title).to_owned(),
            unit: *unit,
            role: *role,
            shown: *shown && (*name != "pid" || pids.len() > 1),
            form: Some(match *name {
                "answer_ns" | "duration_ns" if *role == Role::Gauge => Form::Histogram,
                _ => Form::Single,
            }),
        };
        Section {
            name: name.to_owned(),
            title: title.to_owned(),
            columns: WHOSE.iter().chain(keys).chain(sums).map(column).collect(),
            rows,
            notes: Vec::new(),
            detail: false,
            folded: None,
        }
    }

    /// Events per second, which is certain because their number is. Below 10, a whole number would have too few digits.
    fn rate(&self, count: u64) -> Value {
        match count as f64 / self.on.lasted().as_secs_f64().max(1e-9) {
            rate if rate >= 10.0 => Value::known(rate.round()),
            rate => Value::known(rate),
        }
    }

    fn traffic(&self, received: [u64; 2], sent: [u64; 2]) -> Vec<Value> {
        let one =
            |[messages, bytes]: [u64; 2]| [Value::Exact(messages), self.rate(messages), Value::Exact(bytes)];
        [one(received), one(sent)].concat()
    }

    fn services(&self) -> Section {
        let rows = self.order.iter().filter_map(|what| {
            let line = self.lines.get(what)?;
            let mut cells = self.whose(what.space);
            cells.push(what.service.value());
            cells.extend(self.service(line));
            Some(Row { cells, stacks: Vec::new(), severity: None })
        });
        let columns = [&TRAFFIC[..], &columns::SERVICES].concat();
        let title = "Services and what they are talked to, the most messages first";
        let mut section = self.section("services", title, &[SERVICE], rows.collect(), &columns);
        let beyond = self.gathered.connections.beyond;
        if beyond > 0 {
            section.notes.push(format!(
                "{} operations were on sockets that have no sums of their own, because there are too many: there were more connections",
                units::count(beyond as f64)
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
            self.rate(answers.count),
            self.durations(&answers),
            Value::Exact(answers.max_ns),
            Value::Exact(calls(|sum| sum.count)),
            count(Operation::Peek),
            Value::Exact(calls(|sum| sum.not_ready)),
            Value::Exact(calls(|sum| sum.errors)),
            line.thread().map_or_else(unnamed, |name| Value::Name(name.clone())),
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
    fn label(&self, number: u32) -> Service {
        lines::Described::of(&self.on.files, number).service
    }

    fn shown_connections(&self) -> impl Iterator<Item = &Connection> {
        let all = self.gathered.connections.all();
        all.filter(|of| !of.listens && !self.on.left_out.contains(&of.space))
    }

    fn peers(&self) -> Section {
        let mut peers: BTreeMap<(u16, Service, Text), Moved> = BTreeMap::new();
        for of in self.shown_connections() {
            let Some(peer) = self.on.files.peer(&of.addresses) else { continue };
            peers.entry((of.space, self.label(of.service), peer)).or_default().add(of);
        }
        let mut sorted: Vec<_> = peers.into_iter().collect();
        sorted.sort_by_key(|(_, moved)| Reverse((moved.bytes(), moved.connections)));
        let rows = sorted.iter().map(|((space, service, peer), moved)| {
            let mut cells = self.whose(*space);
            cells.extend([service.value(), Value::Name(peer.clone())]);
            cells
                .extend(self.traffic([moved.received, moved.received_bytes], [moved.sent, moved.sent_bytes]));
            cells.extend([Value::Exact(moved.connections), Value::Exact(moved.open)]);
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let columns = [&TRAFFIC[..], &columns::PEERS].concat();
        let title = "Peers, the most bytes first";
        let mut section = self.section("peers", title, &[SERVICE, PEER], rows.collect(), &columns);
        self.note_dropped(&mut section);
        section
    }

    fn connections(&self) -> Section {
        let mut all: Vec<&Connection> = self.shown_connections().collect();
        all.sort_by_key(|of| Reverse((of.received_bytes + of.sent_bytes, of.used_ns)));
        let left_out = all.len().saturating_sub(MOST_CONNECTIONS);
        all.truncate(MOST_CONNECTIONS);
        let rows = all.into_iter().map(|of| {
            let mut cells = self.whose(of.space);
            let peer = self.on.files.peer(&of.addresses);
            let end_ns = if of.closed_ns == 0 { self.now_ns } else { of.closed_ns };
            cells.extend([
                self.label(of.service).value(),
                peer.map_or_else(|| Value::Word("none".to_owned()), Value::Name),
                Value::Exact(of.addresses.remote_port.into()),
                Value::Exact(of.addresses.local_port.into()),
                Value::Exact(of.seen_ns.saturating_sub(self.on.began_ns())),
            ]);
            cells.extend(self.traffic([of.received, of.received_bytes], [of.sent, of.sent_bytes]));
            cells.extend([
                Value::Word(if of.closed_ns == 0 { "open" } else { "closed" }.to_owned()),
                Value::Exact(end_ns.saturating_sub(of.seen_ns)),
                Value::Exact(self.now_ns.saturating_sub(of.used_ns)),
                Value::Exact(of.turns),
                match of.turns {
                    0 => Value::Unknown("nothing was answered".to_owned()),
                    turns => Value::known(of.turns_ns as f64 / turns as f64),
                },
                Value::Exact(of.longest_turn_ns),
            ]);
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let columns = [&TRAFFIC[..], &columns::CONNECTIONS].concat();
        let title = "Connections and other sockets, the most bytes first";
        let mut section = self.section("connections", title, &CONNECTION, rows.collect(), &columns);
        section.number_rows();
        if left_out > 0 {
            section.notes.push(format!("{} more are not listed", units::count(left_out as f64)));
        }
        self.note_dropped(&mut section);
        section
    }

    /// Says that closed connections are missing from a table.
    fn note_dropped(&self, section: &mut Section) {
        let connections = self.gathered.connections;
        let closed: u64 = connections.sums.values().map(|closed| closed.connections).sum();
        let dropped = closed.saturating_sub(connections.closed.len() as u64);
        if dropped > 0 {
            section.notes.push(format!(
                "{} connections that were closed earlier are only in the table of services",
                units::count(dropped as f64)
            ));
        }
    }

    fn sums(&self, sum: &Sum) -> Vec<Value> {
        vec![
            Value::Exact(sum.count),
            self.rate(sum.count),
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
            let mut cells = self.whose(*space);
            cells.push(if thread.is_empty() { unnamed() } else { Value::Name((*thread).clone()) });
            cells.push(Value::Word(operation.name().to_owned()));
            cells.extend(self.sums(sum));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let title = "Threads by name, the most operations first";
        self.section("threads", title, &[THREAD, OPERATION], rows.collect(), &columns::SUMS)
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
            let mut cells = self.whose(*space);
            cells.push(Value::Word(operation.name().to_owned()));
            cells.extend(self.sums(sum));
            cells.extend(self.series(*operation));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let columns = [&columns::SUMS[..], &columns::OVER_TIME].concat();
        let title = "Operations, the most first";
        let mut section = self.section("operations", title, &[OPERATION], rows.collect(), &columns);
        if self.on.spaces.len() > 1 {
            section.notes.push("values over time are of all processes together".to_owned());
        }
        section
    }

    fn series(&self, operation: Operation) -> [Value; 3] {
        if operation.is_between() {
            let unknown = || Value::Unknown("only calls have values over time".to_owned());
            return [unknown(), unknown(), unknown()];
        }
        let (began_ns, lasted) = (self.on.began_ns(), self.on.lasted());
        let (seconds, of) = (self.gathered.seconds, [operation.number()]);
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
        let rows = self.gathered.samples.longest.iter().filter_map(|sample| {
            let operation = Operation::of_number(sample.operation as u32)?;
            let mut cells = self.whose(sample.space());
            cells.extend([
                Value::Exact(sample.tid.into()),
                Value::Name(comm(sample.comm)),
                self.on.files.of_operation(sample.file),
                Value::Word(operation.name().to_owned()),
                Value::Exact(sample.start_ns.saturating_sub(self.on.began_ns())),
                Value::Exact(sample.duration_ns),
                Value::Word(calls::result(sample.result.cast_signed())),
            ]);
            let stack = self.places.get(&sample.stack()).copied();
            Some(Row { cells, stacks: StackRef::user(stack), severity: None })
        });
        let title = "Single operations and answers, the longest first";
        let mut section = self.section("slow", title, &columns::SLOW_KEYS, rows.collect(), &columns::SLOW);
        section.number_rows();
        section.detail = true;
        if self.gathered.samples.left_out > 0 {
            let slow = units::exact_duration(self.options.slow);
            let more = self.gathered.samples.left_out as usize;
            let more = units::plural(more, "more operation", "more operations");
            section.notes.push(format!("{more} took at least {slow} (--slow): only the longest are listed"));
        }
        section
    }
}

fn unnamed() -> Value {
    Value::Word("without a name".to_owned())
}

/// Names the stacks that were taken, and adds them to the part.
fn stacks(on: &Observation<'_>, samples: &Samples, part: &mut Part) -> Places {
    let mut weights: BTreeMap<u32, Weight> = BTreeMap::new();
    for ((_, stack), (count, _)) in &samples.stacks {
        let weight = weights.entry(*stack).or_insert(Weight { stack: *stack, ..Weight::default() });
        weight.things += count;
    }
    for stack in samples.longest.iter().map(IoSample::stack).filter(|stack| *stack != NO_STACK) {
        weights.entry(stack).or_insert(Weight { stack, things: 1, ..Weight::default() });
    }
    part.walked = weights.values().map(|weight| (weight.stack, weight.things)).collect();
    let weights: Vec<Weight> = weights.into_values().collect();
    let named = Named::new(&weights, |number, frames| on.stack_of(number, frames));
    let (found, frames) = named.report(weights.iter().map(|weight| weight.stack));
    let mut places = Places::new();
    for (weight, stack) in weights.iter().zip(found) {
        if let Some(stack) = stack {
            places.insert(weight.stack, part.stacks.len());
            part.stacks.push(stack);
        }
    }
    part.frames = frames;
    identify(&mut part.stacks, &part.frames);
    places
}

//! What was counted, by service: rows of tables, and what findings are based on.

use std::collections::BTreeMap;

use profiler_common::file::socket::Side;

use super::operations::Operation;
use crate::{
    io_tools::Label,
    observe::{
        files::Files,
        io::{Connection, Connections, Counted, Exchange, Lives, Samples, Sum},
    },
    text::Text,
};

/// A service of one address space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct What {
    pub(super) space: u16,
    pub(super) service: Label,
}

/// What the service of a number is.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) service: Label,
    /// What its sockets have in common, if that is known.
    pub(super) side: Option<Side>,
    /// Whether they move datagrams.
    pub(super) datagrams: bool,
}

impl Described {
    /// From the files of an observation.
    pub(super) fn of(files: &Files, number: u32) -> Described {
        Described {
            service: Label::of(files.of_operation(number)),
            side: files.side(number),
            datagrams: files.has_datagrams(number),
        }
    }
}

/// What was done to a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) side: Option<Side>,
    pub(super) datagrams: bool,
    pub(super) operations: BTreeMap<Operation, Sum>,
    /// By operation and name of thread.
    pub(super) threads: BTreeMap<(Operation, Text), Sum>,
    /// Sockets that are open at the end, except for those that wait for connections.
    pub(super) open: u64,
    /// Those that are not.
    pub(super) closed: Lives,
    /// All of them.
    pub(super) lives: Lives,
}

impl Line {
    /// The sums of an operation.
    pub(super) fn of(&self, operation: Operation) -> Sum {
        self.operations.get(&operation).cloned().unwrap_or_default()
    }

    /// Messages in both directions.
    pub(super) fn messages(&self) -> u64 {
        self.of(Operation::Send).messages + self.of(Operation::Receive).messages
    }

    /// Bytes in both directions.
    pub(super) fn bytes(&self) -> u64 {
        self.of(Operation::Send).bytes + self.of(Operation::Receive).bytes
    }

    /// Sockets that were seen, except for those that wait for connections.
    pub(super) fn connections(&self) -> u64 {
        self.open + self.closed.connections
    }

    /// How long answers took: those of the service that is called, or those of the target if it serves.
    pub(super) fn answers(&self) -> Sum {
        let mut sum = self.of(Operation::TurnAround);
        sum.add(&self.of(Operation::Answer));
        sum
    }

    /// The thread with the most operations on it.
    pub(super) fn thread(&self) -> Option<&Text> {
        let mut counts: BTreeMap<&Text, u64> = BTreeMap::new();
        for ((operation, thread), sum) in &self.threads {
            *counts.entry(thread).or_default() += if operation.is_between() { 0 } else { sum.count };
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(thread, _)| thread)
    }
}

/// The stack from which an operation on a service is called most often, by its number.
pub(super) type Callers = BTreeMap<(What, Operation), u32>;

/// Finds them. `service`: the label of the service of a number.
pub(super) fn callers(samples: &Samples, service: impl Fn(u32) -> Label) -> Callers {
    let mut counts: BTreeMap<(What, Operation), BTreeMap<u32, u64>> = BTreeMap::new();
    for (((space, number, operation), stack), (count, _)) in &samples.stacks {
        let Some(operation) = Operation::of_number(*operation) else { continue };
        let what = What { space: *space, service: service(*number) };
        *counts.entry((what, operation)).or_default().entry(*stack).or_default() += count;
    }
    let most = |stacks: BTreeMap<u32, u64>| stacks.into_iter().max_by_key(|(_, count)| *count);
    counts.into_iter().filter_map(|(key, stacks)| Some((key, most(stacks)?.0))).collect()
}

/// All of them.
pub(super) type Lines = BTreeMap<What, Line>;

/// Puts them together. `describe`: what the service of a number is.
pub(super) fn lines(
    counted: &Counted,
    connections: &Connections,
    describe: impl Fn(u32) -> Described,
) -> Lines {
    let mut known: BTreeMap<u32, Described> = BTreeMap::new();
    let mut lines = Lines::new();
    let mut line = |lines: &mut Lines, space: u16, number: u32, add: &mut dyn FnMut(&mut Line)| {
        let of = known.entry(number).or_insert_with(|| describe(number));
        let line = lines.entry(What { space, service: of.service.clone() }).or_default();
        line.side = line.side.or(of.side);
        line.datagrams |= of.datagrams;
        add(line);
    };
    for (key, sum) in &counted.sums {
        let Some(operation) = Operation::of_number(key.operation) else { continue };
        line(&mut lines, key.space, key.file, &mut |line| {
            line.operations.entry(operation).or_default().add(sum);
            line.threads.entry((operation, key.thread.clone())).or_default().add(sum);
        });
    }
    for ((space, number), closed) in &connections.sums {
        line(&mut lines, *space, *number, &mut |line| {
            line.closed.add_all(closed);
            line.lives.add_all(closed);
        });
    }
    for of in connections.open.values().filter(|of| !of.listens) {
        line(&mut lines, of.space, of.service, &mut |line| {
            match of.closed_ns {
                0 => line.open += 1,
                _ => line.closed.add(of),
            }
            line.lives.add(of);
        });
    }
    lines
}

/// What was moved between the target and one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) connections: u64,
    pub(super) open: u64,
    /// Ports of the peer, if datagrams were moved without a connection.
    pub(super) ports: u64,
    pub(super) received: u64,
    pub(super) received_bytes: u64,
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
}

impl Moved {
    /// Adds a connection.
    pub(super) fn add(&mut self, of: &Connection) {
        self.connections += 1;
        self.open += u64::from(of.closed_ns == 0);
        self.received += of.received;
        self.received_bytes += of.received_bytes;
        self.sent += of.sent;
        self.sent_bytes += of.sent_bytes;
    }

    /// Adds datagrams to and from one port of the peer.
    pub(super) fn add_datagrams(&mut self, of: &Exchange) {
        self.ports += 1;
        self.received += of.received;
        self.received_bytes += of.received_bytes;
        self.sent += of.sent;
        self.sent_bytes += of.sent_bytes;
    }

    /// Bytes in both directions.
    pub(super) fn bytes(&self) -> u64 {
        self.received_bytes + self.sent_bytes
    }
}

//! Tables of peers, and of single connections.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Tables, states};
use crate::{
    io_tools::Label,
    observe::io::{Connection, Datagrams},
    report::{Row, Section, Value},
    text::Text,
    tool::sockets::{
        columns::{self, CONNECTION, PEER, SERVICE, TRAFFIC},
        lines::Moved,
    },
    units,
};

/// Most rows of single connections.
const MOST_CONNECTIONS: usize = 1_000;

/// How many ends a peer had: connections, of these open ones, and ports without a connection.
fn ends(moved: &Moved) -> [Value; 3] {
    let of_datagrams = || Value::Unknown("datagrams have no connections".to_owned());
    if moved.connections == 0 {
        return [of_datagrams(), of_datagrams(), Value::Exact(moved.ports)];
    }
    let ports = match moved.ports {
        0 => Value::Unknown("each connection has its own".to_owned()),
        ports => Value::Exact(ports),
    };
    [Value::Exact(moved.connections), Value::Exact(moved.open), ports]
}

impl Tables<'_> {
    fn shown_connections(&self) -> impl Iterator<Item = &Connection> {
        let all = self.given.connections.all();
        all.filter(|of| !of.listens && !self.tabled.on.left_out.contains(&of.space))
    }

    pub(super) fn peers(&self) -> Section {
        let mut peers: BTreeMap<(u16, Label, Text), Moved> = BTreeMap::new();
        for of in self.shown_connections().filter(|of| !of.has_several_peers) {
            let Some(peer) = self.tabled.on.files.peer(&of.addresses) else { continue };
            peers.entry((of.space, self.label(of.service), peer)).or_default().add(of);
        }
        let Datagrams { exchanges, without_address, beyond } = self.given.datagrams;
        for of in exchanges.iter().filter(|of| !self.tabled.on.left_out.contains(&of.space)) {
            let Some(peer) = self.tabled.on.files.peer(&of.addresses) else { continue };
            peers.entry((of.space, self.label(of.service), peer)).or_default().add_datagrams(of);
        }
        let mut sorted: Vec<_> = peers.into_iter().collect();
        sorted.sort_by_key(|(_, moved)| Reverse((moved.bytes(), moved.connections)));
        let rows = sorted.iter().map(|((space, service, peer), moved)| {
            let mut cells = self.tabled.whose(*space);
            cells.extend([service.value(), Value::Name(peer.clone())]);
            cells
                .extend(self.traffic([moved.received, moved.received_bytes], [moved.sent, moved.sent_bytes]));
            cells.extend(ends(moved));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let columns = [&TRAFFIC[..], &columns::PEERS].concat();
        let title = "Peers, the most bytes first";
        let mut section = self.tabled.section("peers", title, &[SERVICE, PEER], rows.collect(), &columns);
        self.note_dropped(&mut section);
        self.note_ambiguous(&mut section);
        for (count, why) in [
            (*without_address, "in no row: the program did not ask for the address, or used io_uring"),
            (*beyond, "in no row: there are too many addresses"),
        ] {
            if count > 0 {
                let count = units::plural(count as usize, "datagram is", "datagrams are");
                section.notes.push(format!("{count} {why}"));
            }
        }
        section
    }

    pub(super) fn connections(&self) -> Section {
        let mut all: Vec<&Connection> = self.shown_connections().collect();
        all.sort_by_key(|of| Reverse((of.received_bytes + of.sent_bytes, of.used_ns)));
        let left_out = all.len().saturating_sub(MOST_CONNECTIONS);
        all.truncate(MOST_CONNECTIONS);
        let states = self.given.states.by_inode();
        let rows = all.into_iter().map(|of| {
            let mut cells = self.tabled.whose(of.space);
            let peer = self.tabled.on.files.peer(&of.addresses);
            let end_ns = if of.closed_ns == 0 { self.given.now_ns } else { of.closed_ns };
            cells.extend([
                self.label(of.service).value(),
                match peer {
                    _ if of.has_several_peers => {
                        Value::Unknown("it was connected to several addresses in turn".to_owned())
                    }
                    Some(peer) => Value::Name(peer),
                    None => Value::Word("none".to_owned()),
                },
                Value::Exact(of.addresses.remote_port.into()),
                Value::Exact(of.addresses.local_port.into()),
                Value::Exact(of.seen_ns.saturating_sub(self.tabled.on.began_ns())),
            ]);
            cells.extend(self.traffic([of.received, of.received_bytes], [of.sent, of.sent_bytes]));
            cells.extend([
                Value::Word(if of.closed_ns == 0 { "open" } else { "closed" }.to_owned()),
                match of.closed_unseen {
                    true => Value::Unknown("it was not seen when it was closed".to_owned()),
                    false => Value::Exact(end_ns.saturating_sub(of.seen_ns)),
                },
                match of.used_ns {
                    0 => Value::Unknown("no call on it has ended".to_owned()),
                    used_ns => Value::Exact(self.given.now_ns.saturating_sub(used_ns)),
                },
                Value::Exact(of.turns),
                match of.turns {
                    0 => Value::Unknown("nothing was answered".to_owned()),
                    turns => Value::known(of.turns_ns as f64 / turns as f64),
                },
                Value::Exact(of.longest_turn_ns),
            ]);
            cells.extend(states::of_connection(states.get(&of.inode)));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let columns = [&TRAFFIC[..], &columns::CONNECTIONS].concat();
        let title = "Connections and other sockets, the most bytes first";
        let mut section = self.tabled.section("connections", title, &CONNECTION, rows.collect(), &columns);
        section.number_rows();
        if left_out > 0 {
            section.notes.push(format!("{} more are not listed", units::count(left_out as f64)));
        }
        self.note_dropped(&mut section);
        self.note_ambiguous(&mut section);
        section
    }

    /// Says how many sockets have sums of more than one peer, and of more than one process.
    fn note_ambiguous(&self, section: &mut Section) {
        let count = |is: fn(&Connection) -> bool| self.shown_connections().filter(|of| is(of)).count();
        let several = count(|of| of.has_several_peers);
        if several > 0 {
            section.notes.push(format!(
                "sockets that were connected to several addresses in turn, and count for no peer: {several}"
            ));
        }
        let shared = count(|of| of.is_shared);
        if shared > 0 {
            section.notes.push(format!(
                "sockets that several processes have used, and that count for the last of them: {shared}"
            ));
        }
    }

    /// Says that closed connections are missing from a table.
    fn note_dropped(&self, section: &mut Section) {
        let connections = self.given.connections;
        let closed: u64 = connections.sums.values().map(|closed| closed.connections).sum();
        let dropped = closed.saturating_sub(connections.closed.len() as u64);
        if dropped > 0 {
            section.notes.push(format!(
                "{} connections that were closed earlier are only in the table of services",
                units::count(dropped as f64)
            ));
        }
    }
}

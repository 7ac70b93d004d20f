//! Sockets that observed processes have used, one by one. Wire types end here.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
};

use profiler_common::file::{
    Addresses,
    socket::{ACCEPTED, CONNECTED, LISTENS, SEVERAL_PEERS, SHARED, Side, Socket},
};

use super::probes::Probes;
use crate::{error::Result, kernel::bpf};

/// The map of the kernel side.
const SOCKETS: &str = "SOCKETS";
/// State of a socket of TCP that waits for connections, as `/proc/PID/net/tcp` has it.
const LISTEN: &str = "0A";
/// Sockets that are closed are taken out of the kernel's table while it is fuller than this share of it.
const FULL_SHARE: u64 = 4;
/// They are looked for again when so many more were seen: this share of it.
const NEW_SHARE: u64 = 32;
/// Most closed connections that are kept one by one.
const MOST_CLOSED: usize = 4_096;
/// If sockets find no room, closed ones are looked for at every so many looks.
const LOOKS_APART: u32 = 16;

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The number of its inode, which no other socket has until the next boot.
    pub(crate) inode: u64,
    /// The address space that has used it last.
    pub(crate) space: u16,
    /// Number of its service.
    pub(crate) service: u32,
    pub(crate) side: Side,
    pub(crate) addresses: Addresses,
    /// It waits for connections.
    pub(crate) listens: bool,
    /// It was accepted while it was observed.
    pub(crate) was_accepted: bool,
    /// It was connected while it was observed.
    pub(crate) was_connected: bool,
    /// It was connected to several addresses in turn: its sums are of all of them.
    pub(crate) has_several_peers: bool,
    /// Several processes have used it: its sums are of all of them.
    pub(crate) is_shared: bool,
    /// When it was first seen, on the monotonic clock in nanoseconds.
    pub(crate) seen_ns: u64,
    /// When it was closed; 0: it is open, as far as was seen.
    pub(crate) closed_ns: u64,
    /// It was closed at a moment that is not known, after it was last used: its process has ended, or handed it over.
    pub(crate) closed_unseen: bool,
    /// When it was last used.
    pub(crate) used_ns: u64,
    pub(crate) received: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// How often something was received after something was sent, and the time between.
    pub(crate) turns: u64,
    pub(crate) turns_ns: u64,
    pub(crate) longest_turn_ns: u64,
    pub(crate) held_back: HeldBack,
}

/// Receives after several sends in a row, and how many of them came as late as if the sends had been held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldBack {
    /// Receives after at least two sends in a row.
    pub(crate) all: u64,
    /// Those that came [`DELAYED_NS`](profiler_common::file::socket::DELAYED_NS) and a little more after the last send, on a socket of
    /// TCP that holds small sends back.
    pub(crate) delayed: u64,
    /// Those that came somewhat earlier or later.
    pub(crate) beside: u64,
}

impl HeldBack {
    fn add(&mut self, of: HeldBack) {
        self.all += of.all;
        self.delayed += of.delayed;
        self.beside += of.beside;
    }
}

impl Connection {
    fn of(inode: u64, socket: &Socket) -> Connection {
        Connection {
            inode,
            space: socket.space as u16,
            service: socket.service,
            side: Side::of_number(socket.side),
            addresses: socket.addresses,
            listens: socket.flags & LISTENS != 0,
            was_accepted: socket.flags & ACCEPTED != 0,
            was_connected: socket.flags & CONNECTED != 0,
            has_several_peers: socket.flags & SEVERAL_PEERS != 0,
            is_shared: socket.flags & SHARED != 0,
            seen_ns: socket.seen_ns,
            closed_ns: socket.closed_ns,
            closed_unseen: false,
            used_ns: socket.used_ns,
            received: socket.received,
            received_bytes: socket.received_bytes,
            sent: socket.sent,
            sent_bytes: socket.sent_bytes,
            turns: socket.turns,
            turns_ns: socket.turns_ns,
            longest_turn_ns: socket.longest_turn_ns,
            held_back: HeldBack {
                all: socket.after_several,
                delayed: socket.delayed,
                beside: socket.beside_delayed,
            },
        }
    }

    /// How long it was open, if its whole life was seen.
    pub(crate) fn life_ns(&self) -> Option<u64> {
        let begun = (self.was_accepted || self.was_connected) && !self.closed_unseen;
        (begun && self.closed_ns != 0).then(|| self.closed_ns.saturating_sub(self.seen_ns))
    }
}

/// Sums over connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lives {
    pub(crate) connections: u64,
    /// Those of them whose whole life was seen, and how long they lived together.
    pub(crate) whole: u64,
    pub(crate) life_ns: u64,
    /// Those of them that lived less than a second.
    pub(crate) short: u64,
    pub(crate) received: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// Answers that were waited for.
    pub(crate) turns: u64,
    pub(crate) held_back: HeldBack,
}

impl Lives {
    const SHORT_NS: u64 = 1_000_000_000;

    /// Adds another one.
    pub(crate) fn add(&mut self, of: &Connection) {
        let life_ns = of.life_ns();
        self.add_all(&Lives {
            connections: 1,
            whole: u64::from(life_ns.is_some()),
            life_ns: life_ns.unwrap_or_default(),
            short: u64::from(life_ns.is_some_and(|life_ns| life_ns < Lives::SHORT_NS)),
            received: of.received,
            received_bytes: of.received_bytes,
            sent: of.sent,
            sent_bytes: of.sent_bytes,
            turns: of.turns,
            held_back: of.held_back,
        });
    }

    /// Adds others.
    pub(crate) fn add_all(&mut self, of: &Lives) {
        self.connections += of.connections;
        self.whole += of.whole;
        self.life_ns += of.life_ns;
        self.short += of.short;
        self.received += of.received;
        self.received_bytes += of.received_bytes;
        self.sent += of.sent;
        self.sent_bytes += of.sent_bytes;
        self.turns += of.turns;
        self.held_back.add(of.held_back);
    }
}

/// All that were seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    /// Those in the kernel's table at the last look, by the number of their inode.
    pub(crate) open: BTreeMap<u64, Connection>,
    /// Closed ones that were taken out of it: the last ones, in the order in which they were closed.
    pub(crate) closed: Vec<Connection>,
    /// Sums over all that were taken out, by address space and service.
    pub(crate) sums: HashMap<(u16, u32), Lives>,
    /// Times that a socket was used that has no entry, because there was no room.
    pub(crate) beyond: u64,
    /// How many were taken out.
    taken: u64,
    /// How many must have been seen until closed ones are looked for again.
    looked_for: u64,
    /// Times that a socket had found no room, when closed ones were last looked for.
    beyond_then: u64,
    /// Looks since then.
    passed_over: u32,
}

impl Connections {
    /// Makes room in the kernel's table if much of it is used. `living`: the processes that are observed.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(crate) fn look(&mut self, probes: &Probes, living: impl Iterator<Item = u32>) -> Result<()> {
        let seen = probes.given_out("SOCKETS_SEEN")?;
        let most = u64::from(probes.most_sockets());
        let is_full = seen.saturating_sub(self.taken) * FULL_SHARE >= most;
        let beyond = probes.given_out("SOCKETS_BEYOND")?;
        if !is_full || !self.is_worth_it(seen, beyond, most) {
            return Ok(());
        }
        self.read(probes)?;
        // Not every end of a socket is a call of close: a process exits, or a ring closes it.
        self.compare(living);
        let gone: Vec<u64> =
            self.open.iter().filter(|(_, of)| of.closed_ns != 0).map(|(inode, _)| *inode).collect();
        for inode in gone {
            if bpf::delete(probes.map(SOCKETS)?, &inode).is_ok()
                && let Some(of) = self.open.remove(&inode)
            {
                self.take_out(of);
            }
        }
        Ok(())
    }

    /// Whether closed ones are to be looked for. If most are open, there is little to take out, and to find that out takes time: only when many are
    /// new, or, now and then, if some had no room.
    fn is_worth_it(&mut self, seen: u64, beyond: u64, most: u64) -> bool {
        self.passed_over += 1;
        let is_needed = beyond > self.beyond_then && self.passed_over >= LOOKS_APART;
        let is_worth_it = seen >= self.looked_for || is_needed;
        if is_worth_it {
            (self.looked_for, self.beyond_then, self.passed_over) = (seen + most / NEW_SHARE, beyond, 0);
        }
        is_worth_it
    }

    fn take_out(&mut self, of: Connection) {
        self.taken += 1;
        self.sums.entry((of.space, of.service)).or_default().add(&of);
        if self.closed.len() >= 2 * MOST_CLOSED {
            self.closed.drain(..MOST_CLOSED);
        }
        self.closed.push(of);
    }

    /// Reads the kernel's table.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(crate) fn read(&mut self, probes: &Probes) -> Result<()> {
        self.open.clear();
        let open = &mut self.open;
        probes.each(SOCKETS, |inode: u64, socket: Socket| {
            open.insert(inode, Connection::of(inode, &socket));
        })?;
        self.beyond = probes.given_out("SOCKETS_BEYOND")?;
        Ok(())
    }

    /// Marks those as closed that no descriptor of these processes refers to: a process may end without closing them, or hand them over.
    /// When that was is not known.
    pub(crate) fn compare(&mut self, living: impl Iterator<Item = u32>) {
        let held: HashSet<u64> = living.flat_map(sockets_of).collect();
        for (inode, of) in &mut self.open {
            match held.contains(inode) {
                true => of.closed_ns = 0,
                false if of.closed_ns == 0 => {
                    of.closed_ns = of.used_ns.max(1);
                    of.closed_unseen = true;
                }
                false => {}
            }
        }
    }

    /// All of them that are kept one by one.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Connection> {
        self.open.values().chain(&self.closed)
    }
}

/// Inodes of the sockets that a process has open.
fn sockets_of(pid: u32) -> Vec<u64> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let inode = |link: &std::path::Path| {
        let name = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        name.parse::<u64>().ok()
    };
    let links = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| inode(&link)).collect()
}

/// Tells the kernel side on which ports a process waits for connections already.
///
/// # Errors
/// If the kernel does not take it.
pub(crate) fn announce_served_ports(probes: &Probes, pid: u32) -> Result<()> {
    let own: HashSet<u64> = sockets_of(pid).into_iter().collect();
    for table in ["tcp", "tcp6"] {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/net/{table}")) else { continue };
        for port in text.lines().filter_map(|line| listens(line, &own)) {
            let place = u32::from(port) / 64;
            let bits = probes.value::<u64>("SERVED_PORTS", place)? | 1 << (port & 63);
            probes.write("SERVED_PORTS", &place, &bits)?;
        }
    }
    Ok(())
}

/// The port of a line of `/proc/PID/net/tcp`, if one of these sockets waits for connections on it.
fn listens(line: &str, own: &HashSet<u64>) -> Option<u16> {
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let inode = words.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    (state == LISTEN && own.contains(&inode)).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_on_which_a_process_waits_are_read_from_the_kernels_table() {
        let own = HashSet::from([48_230]);
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 48230 1 0000 100 0 0 10 0";
        assert_eq!(listens(line, &own), Some(8080));
        assert_eq!(listens(line, &HashSet::new()), None, "it is another process's");
        assert_eq!(listens(&line.replace(" 0A ", " 01 "), &own), None, "it is connected");
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(listens(head, &own), None);
        assert_eq!(listens("", &own), None);
    }

    #[test]
    fn sockets_that_no_descriptor_refers_to_are_closed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = sockets_of(std::process::id());
        assert!(!own.is_empty(), "{listener:?}");
        // SAFETY: any bytes are valid for a wire type.
        let socket = Socket { used_ns: 7, ..unsafe { std::mem::zeroed() } };
        let mut connections = Connections::default();
        for inode in [own[0], u64::MAX] {
            connections.open.insert(inode, Connection::of(inode, &socket));
        }
        connections.compare([std::process::id()].into_iter());
        let closed: Vec<u64> = connections.all().map(|of| of.closed_ns).collect();
        assert_eq!(closed, [0, 7]);
    }

    /// When the table is full, no socket gets an entry, so the number of those seen does not grow.
    #[test]
    fn closed_ones_are_looked_for_again_after_the_table_was_full() {
        const MOST: u64 = 65_536;
        let mut connections = Connections::default();
        assert!(connections.is_worth_it(64_000, 0, MOST));
        assert!(!connections.is_worth_it(MOST, 0, MOST), "few are new");
        let looks = (1..100).map(|used| connections.is_worth_it(MOST, used, MOST));
        assert_eq!(looks.filter(|is_worth_it| *is_worth_it).count(), 6);
        let last = connections.beyond_then;
        assert!((0..100).all(|_| !connections.is_worth_it(MOST, last, MOST)), "nobody needs room any more");
    }
}

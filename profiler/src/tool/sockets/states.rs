//! The state of the targets' sockets: what no system call shows, such as queues, drops and retransmissions.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    os::fd::BorrowedFd,
    path::PathBuf,
};

use profiler_common::{
    file::{AF_INET, AF_INET6, Addresses, SOCK_STREAM, TCP_LISTEN, socket::Side},
    ledger::{Class, MAX_COUNTERS},
    socket::{Counter, SYN_SENT},
};

use super::lines::{Described, What};
use crate::{
    error::Result,
    io_tools::{Label, ground_of_trial},
    observe::{
        Observation, Part,
        ground::Ground,
        io::Connections,
        socket_state::{Counters, Lack, Limits, Sockets, Tracked, standing::Standing},
    },
    units,
};

/// Sockets at the same time, as many as have sums of calls.
const MOST_SOCKETS: u32 = 1 << 16;

/// The programs that look at sockets, and why there are none.
#[derive(Default)]
pub(super) struct States {
    sockets: Option<Sockets>,
    missing: Option<String>,
    counts: Vec<u64>,
    /// The processes of the last look, with their address spaces, and whether they began while they were observed.
    processes: Vec<(u32, u16, bool)>,
    /// Network namespaces: a process in each, and what the kernel had counted for it at the start.
    networks: BTreeMap<PathBuf, (u32, Counters)>,
    /// What it has counted for each of them since. `None`: no process of it is left.
    since: Vec<Option<Counters>>,
}

/// The sockets of a service.
#[derive(Debug, Default)]
pub(super) struct OfService<'a> {
    /// Those that are kept one by one.
    pub(super) tracked: Vec<&'a Tracked>,
    /// Sums over the others, which are closed.
    pub(super) others: Vec<&'a Standing>,
}

impl OfService<'_> {
    /// How all of them stand.
    pub(super) fn standing(&self) -> Standing {
        let mut sum = Standing::of(self.tracked.iter().copied());
        self.others.iter().for_each(|others| sum.add_all(others));
        sum
    }
}

/// Sockets of the targets, by service.
pub(super) type ByService<'a> = BTreeMap<What, OfService<'a>>;

impl States {
    /// Loads the programs and attaches them, once. Without them, calls are counted all the same.
    pub(super) fn attach_once(&mut self, ground: &Ground) {
        if self.sockets.is_some() || self.missing.is_some() {
            return;
        }
        let limits = Limits { sockets: MOST_SOCKETS, ..Limits::default() };
        let loaded = Sockets::load(limits, ground.shared()).and_then(|mut sockets| {
            sockets.attach()?;
            Ok(sockets)
        });
        match loaded {
            Ok(sockets) => self.sockets = Some(sockets),
            Err(error) => self.missing = Some(error.to_string()),
        }
    }

    /// Notes what the kernel has counted for the network namespace of a process that is about to be observed.
    pub(super) fn begin(&mut self, pid: u32) {
        if let Some(network) = network_of(pid) {
            self.networks.entry(network).or_insert_with(|| (pid, Counters::of(pid)));
        }
    }

    /// Looks at the sockets of these processes, see [`Sockets::look`].
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn look(&mut self, processes: impl IntoIterator<Item = (u32, u16, bool)>) -> Result<()> {
        self.processes.clear();
        self.processes.extend(processes);
        self.look_again()
    }

    /// Looks at the sockets of the same processes, those of them that live.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn look_again(&mut self) -> Result<()> {
        let processes = self.processes.iter().copied();
        self.sockets.as_mut().map_or(Ok(()), |sockets| sockets.look(processes))
    }

    /// Takes the programs away.
    pub(super) fn close(&mut self) {
        if let Some(sockets) = &mut self.sockets {
            sockets.close();
        }
    }

    /// Reads what was counted.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(super) fn read(&mut self) -> Result<()> {
        if let Some(sockets) = &mut self.sockets {
            sockets.settle()?;
            self.counts = sockets.ledger()?.1.to_vec();
        }
        let of = |(network, (first, before)): (&PathBuf, &(u32, Counters))| {
            let pids = std::iter::once(*first).chain(self.processes.iter().map(|(pid, ..)| *pid));
            // Of targets that have ended, most had the network of everybody.
            let mut pids = pids.chain([std::process::id()]);
            let pid = pids.find(|pid| network_of(*pid).as_ref() == Some(network))?;
            Some(Counters::of(pid).since(before))
        };
        self.since = self.networks.iter().map(of).collect();
        Ok(())
    }

    /// Hits of the programs, and those that were lost.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub(super) fn counts(&self) -> Result<[u64; 2]> {
        let Some(sockets) = &self.sockets else { return Ok([0, 0]) };
        let (entries, counts) = sockets.ledger()?;
        let of = |class| entries.iter().zip(counts).filter(move |(of, _)| of.class == class);
        Ok([Class::Hits, Class::Lost].map(|class| of(class).map(|(_, count)| count).sum()))
    }

    /// The descriptors of its own maps.
    pub(super) fn maps(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().flat_map(Sockets::maps)
    }

    /// Adds the outcomes of its hits to the report.
    pub(super) fn account(&self, part: &mut Part) {
        const { assert!(Counter::COUNT <= MAX_COUNTERS) };
        if let Some(sockets) = &self.sockets {
            part.account::<Counter>(&self.counts);
            part.account_missed(sockets.missed());
        }
    }

    /// How many looks there were.
    pub(super) fn looks(&self) -> u64 {
        self.sockets.as_ref().map_or(0, Sockets::looks)
    }

    /// The kernel's name for the reason of a drop.
    pub(super) fn reason(&self, number: u64) -> String {
        let known = self.sockets.as_ref().and_then(|sockets| sockets.reason(number));
        known.map_or_else(|| format!("reason {number}"), str::to_lowercase)
    }

    /// What is not known of any socket here, and why: sentences for people.
    pub(super) fn unknown(&self) -> Vec<String> {
        let lacks = self.sockets.iter().flat_map(Sockets::lacks).map(Lack::to_string);
        self.missing.iter().cloned().chain(lacks).collect()
    }

    /// What is missing from the sums over sockets: sentences for people.
    pub(super) fn notes(&self, connections: &Connections) -> Vec<String> {
        let mut notes = Vec::new();
        let Some(sockets) = &self.sockets else { return notes };
        let lost = self.lost();
        if lost > 0 {
            notes.push(format!(
                "sockets were not looked at {} times because there are too many: there may be more of everything here",
                units::count(lost as f64)
            ));
        }
        let used: HashSet<u64> = connections.all().map(|of| of.inode).collect();
        let by_port = sockets.by_port(|inode| used.contains(&inode));
        if by_port > 0 {
            notes.push(format!(
                "{} connections at ports of the targets are left out, because nobody was seen to use them: other processes may have accepted them",
                units::count(by_port as f64)
            ));
        }
        let reasons = self.count(Counter::DroppedLost);
        if reasons > 0 {
            notes.push(format!(
                "{} drops have no reason here, because there are too many reasons",
                units::count(reasons as f64)
            ));
        }
        let listeners = self.count(Counter::ListenerLost);
        if listeners > 0 {
            notes.push(format!(
                "{} times there was no room for a port that is served: connections that were accepted there and closed within a second are missing here",
                units::count(listeners as f64)
            ));
        }
        notes
    }

    /// What the kernel has counted for whole network namespaces: sentences for people.
    pub(super) fn of_networks(&self) -> Vec<String> {
        let gone =
            "all processes of a network namespace have ended: what the kernel counted for it is not known";
        let of = |since: &Option<Counters>| match since {
            Some(since) => of_network(since),
            None => Some(gone.to_owned()),
        };
        self.since.iter().filter_map(of).collect()
    }

    /// What is missing from the values of queues over time.
    pub(super) fn without_history(&self) -> Option<String> {
        let count = self.sockets.as_ref().map_or(0, Sockets::without_history);
        let some = units::plural(count as usize, "socket", "sockets");
        (count > 0).then(|| {
            format!("values over time are without {some}: 1,024 at a time have a history of their queues")
        })
    }

    fn lost(&self) -> u64 {
        self.count(Counter::LookLost) + self.count(Counter::StateLost)
    }

    fn count(&self, of: Counter) -> u64 {
        self.counts.get(of as usize).copied().unwrap_or_default()
    }

    /// The sockets, by the service that their calls count for; of those that no call has used, by their addresses.
    pub(super) fn by_service(&self, on: &Observation<'_>, connections: &Connections) -> ByService<'_> {
        let Some(sockets) = &self.sockets else { return ByService::new() };
        let numbers: HashMap<u64, u32> = connections.all().map(|of| (of.inode, of.service)).collect();
        let number_of =
            |tracked: &Tracked| tracked.socket.inode.and_then(|inode| numbers.get(&inode)).copied();
        let is_own = |of: &&Tracked| !of.socket.is_by_port || number_of(of).is_some();
        let all = || sockets.live().chain(sockets.ended()).filter(is_own);
        let mut served = served(all(), |of| number_of(of).and_then(|number| on.files.side(number)));
        served.extend(sockets.served());
        let mut by_service = ByService::new();
        for tracked in all() {
            let of = &tracked.socket.addresses;
            // A call that connects begins before the socket has a peer, and counts when it returns.
            let has_begun = of.state == SYN_SENT || tracked.socket.events.closed_from == Some(SYN_SENT);
            let connects = |number: &u32| has_begun && on.files.side(*number) == Some(Side::Loose);
            let service = match number_of(tracked).filter(|number| !connects(number)) {
                Some(number) => Described::of(&on.files, number).service,
                None => unused(on, of, &served),
            };
            let what = What { space: tracked.socket.space, service };
            by_service.entry(what).or_default().tracked.push(tracked);
        }
        for (group, standing) in sockets.left_out() {
            let service = match group.is_rest() {
                true => Label::Unknown("there are too many services to tell them apart".to_owned()),
                false => match unused(on, &group.addresses(), &served) {
                    Label::Unknown(_) => {
                        Label::Unknown("one of the sockets that were closed before the last 4,096".to_owned())
                    }
                    known => known,
                },
            };
            let what = What { space: group.space, service };
            by_service.entry(what).or_default().others.push(standing);
        }
        by_service.retain(|what, _| !on.left_out.contains(&what.space));
        by_service
    }

    /// The socket with an inode.
    pub(super) fn by_inode(&self) -> HashMap<u64, &Tracked> {
        let all = self.sockets.iter().flat_map(|sockets| sockets.live().chain(sockets.ended()));
        all.filter_map(|tracked| Some((tracked.socket.inode?, tracked))).collect()
    }
}

/// Loads the programs and attaches them for a moment, without any target. Returns what is not known of any socket here, and why.
///
/// # Errors
/// If the ground cannot be loaded.
pub(super) fn try_out() -> Result<Vec<String>> {
    let mut states = States::default();
    states.attach_once(&ground_of_trial()?);
    Ok(states.unknown())
}

/// The network namespace of a process; `None`: it has ended.
fn network_of(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// What all sockets of a network namespace have had, those of other processes included; `None`: nothing of interest.
fn of_network(since: &Counters) -> Option<String> {
    const COUNTERS: [(&str, &str); 4] = [
        ("Tcp.RetransSegs", "segments sent again"),
        ("TcpExt.ListenDrops", "connections not taken"),
        ("Udp.RcvbufErrors", "datagrams without room"),
        ("Udp6.RcvbufErrors", "datagrams of IPv6 without room"),
    ];
    let grown =
        |(name, words): (&str, &str)| Some(format!("{} {words}", units::count(since.get(name)? as f64)));
    let all: Vec<String> = COUNTERS.into_iter().filter_map(grown).collect();
    (!all.is_empty()).then(|| format!("all processes of the network namespace together: {}", all.join(", ")))
}

/// Ports that are served: those at which sockets wait for connections, and those of connections that calls have accepted, because the
/// socket that waited may have been closed before. `side`: what the calls of a socket say.
fn served<'a>(
    all: impl Iterator<Item = &'a Tracked>,
    side: impl Fn(&Tracked) -> Option<Side>,
) -> BTreeSet<u16> {
    let serves = |of: &&Tracked| {
        let addresses = &of.socket.addresses;
        let is_stream = addresses.kind == SOCK_STREAM && addresses.local_port != 0;
        is_stream && (addresses.state == TCP_LISTEN || side(of) == Some(Side::Serves))
    };
    all.filter(serves).map(|of| of.socket.addresses.local_port).collect()
}

/// The service of a socket that no call has used.
fn unused(on: &Observation<'_>, of: &Addresses, served: &BTreeSet<u16>) -> Label {
    match side(of, served) {
        Some(side) => Label::Known(on.files.service(side, of)),
        None => Label::Unknown("no call has used it meanwhile".to_owned()),
    }
}

/// What a socket of IPv4 or IPv6 has in common with others, see [`Side`].
fn side(of: &Addresses, served: &BTreeSet<u16>) -> Option<Side> {
    if !matches!(of.family, AF_INET | AF_INET6) {
        return None;
    }
    Some(match (of.kind, of.remote_port) {
        (SOCK_STREAM, _) if of.state == TCP_LISTEN || served.contains(&of.local_port) => Side::Serves,
        (SOCK_STREAM, 0) => Side::Loose,
        (_, 0) if of.local_port == 0 => Side::Loose,
        (_, 0) => Side::Bound,
        _ => Side::Calls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::socket_state::standing::tests::socket;
    use profiler_common::socket::TCP;

    #[test]
    fn a_connection_belongs_to_a_port_whose_listener_is_closed() {
        let (mut accepted, mut early) = (socket(TCP), socket(TCP));
        accepted.socket.addresses.remote_port = 40_000;
        // It ended before a call used it, so only its addresses are known.
        early.socket.addresses.remote_port = 40_001;
        early.socket.inode = None;
        let of = &early.socket.addresses;
        let by_calls = |tracked: &Tracked| tracked.socket.inode.map(|_| Side::Serves);
        assert_eq!(side(of, &served([&accepted, &early].into_iter(), by_calls)), Some(Side::Serves));
        assert_eq!(side(of, &served([&accepted, &early].into_iter(), |_| None)), Some(Side::Calls));
        let mut listener = socket(TCP);
        listener.socket.addresses.state = TCP_LISTEN;
        assert_eq!(side(of, &served([&listener].into_iter(), |_| None)), Some(Side::Serves));
    }
}

//! Sockets from look to look.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    os::fd::BorrowedFd,
};

use profiler_common::{
    file::TCP_LISTEN,
    ledger::{Entry, Ledger as _},
    socket::{CLOSE, Counter, DropKey, SYN_RECV, SYN_SENT, SocketRecord, TCP},
};

use super::{
    facts::Stalls,
    group::Group,
    history::History,
    members::Lack,
    probes::{Limits, Probes},
    socket::{Socket, State},
    standing::Standing,
};
use crate::{capture::object::Maps, error::Result, stats::Histogram};

/// Closed sockets that are kept one by one, the last ones. Of earlier ones only sums are kept, by what they have in common.
const MOST_ENDED: usize = 4_096;
/// Sums over closed sockets. What is left over is in a single one for each address space.
const MOST_GROUPS: usize = 4_096;
/// Sockets that have a history of their queues. One gets it when its queue is not empty for the first time.
const MOST_HISTORIES: usize = 1_024;
/// Looks after which a connection that no process has any more is given up, if the kernel does not say that it is closed.
const LOOKS_WITHOUT_END: u64 = 120;

/// A socket while it is observed.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    /// As it was at the last look, or when it was closed.
    pub(crate) socket: Socket,
    /// Its state when it was first seen: what it had counted by then. Of one that is known from its start: [`State::beginning`].
    pub(crate) first: State,
    /// The look at which it was first seen, and the last one.
    pub(crate) first_look: u64,
    pub(crate) last_look: u64,
    /// Its queues, unless they were always empty, or too many sockets have a history.
    pub(crate) history: Option<History>,
    /// Too many have one.
    is_without_history: bool,
    /// No target has it any more.
    has_ended: bool,
    /// The most bytes in its receive queue at any look. The programs see more of most sockets, and nothing of some.
    pub(crate) receive_most: u64,
    /// The most bytes in its send queue at any look.
    pub(crate) send_most: u64,
    /// Looks at which something was to be sent and the peer offered no window.
    pub(crate) zero_windows: u64,
    /// Times in which its peer took nothing.
    pub(crate) stalls: Stalls,
    /// How long data waited until it was read. `None`: nothing was measured, or some of it is in no histogram.
    pub(crate) ages: Option<Histogram>,
    /// Dropped packets by the kernel's number for the reason.
    pub(crate) drops: BTreeMap<u64, u64>,
}

impl Tracked {
    /// One that is seen for the first time, at this look.
    pub(crate) fn beginning(socket: Socket, look: u64) -> Tracked {
        Tracked {
            first: if socket.is_from_start { State::beginning() } else { socket.state },
            socket,
            first_look: look,
            last_look: 0,
            history: None,
            is_without_history: false,
            has_ended: false,
            receive_most: 0,
            send_most: 0,
            zero_windows: 0,
            stalls: Stalls::default(),
            ages: None,
            drops: BTreeMap::new(),
        }
    }

    /// Whether data can wait in it: it neither listens, nor connects, nor is it closed. In the queues of one that listens are connections, in
    /// that of one that connects is its request.
    pub(crate) fn has_queues(&self) -> bool {
        let has_none = matches!(self.socket.addresses.state, TCP_LISTEN | SYN_SENT | SYN_RECV);
        !self.is_over() && !has_none
    }

    /// Whether it is closed, or no target has it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.socket.is_closed || self.has_ended
    }
}

/// The sockets of an observation.
pub(crate) struct Sockets {
    probes: Probes,
    looks: u64,
    live: BTreeMap<u64, Tracked>,
    ended: VecDeque<Tracked>,
    /// Sums over those that are not.
    left_out: BTreeMap<Group, Standing>,
    /// Ports at which targets have waited for connections.
    served: BTreeSet<u16>,
    /// The first look at each address space; 0: it is observed from its beginning on.
    looked_at: BTreeMap<u16, u64>,
    histories: usize,
    /// Sockets that had a queue and have no history.
    without_history: u64,
    /// Closed sockets that no process was seen to use, except for those that are kept one by one.
    by_port: u64,
}

impl Sockets {
    /// Loads the kernel side; nothing is attached. `shared`: the maps of the observation.
    ///
    /// # Errors
    /// If the kernel cannot do what is needed, see [`Probes::load`].
    pub(crate) fn load(limits: Limits, shared: Maps) -> Result<Sockets> {
        Ok(Sockets {
            probes: Probes::load(limits, shared)?,
            looks: 0,
            live: BTreeMap::new(),
            ended: VecDeque::new(),
            left_out: BTreeMap::new(),
            served: BTreeSet::new(),
            looked_at: BTreeMap::new(),
            histories: 0,
            without_history: 0,
            by_port: 0,
        })
    }

    /// Attaches the programs. The first look should follow at once: a socket that was there before is not known until then.
    ///
    /// # Errors
    /// If the kernel cannot follow the states of sockets.
    pub(crate) fn attach(&mut self) -> Result<()> {
        self.probes.attach()
    }

    /// Looks at the sockets of these processes, given by their numbers in the initial pid namespace, their address spaces, and whether they
    /// began while they were observed. To be called once a second, and at the end before [`Sockets::close`].
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn look(&mut self, processes: impl IntoIterator<Item = (u32, u16, bool)>) -> Result<()> {
        // Before the states, so that they have counted what has a reason here.
        let drops = self.probes.drops()?;
        self.looks = self.probes.begin_look();
        for (pid, space, has_begun) in processes {
            self.probes.look_at(pid)?;
            // Looks are counted from 1 on.
            self.looked_at.entry(space).or_insert(if has_begun { 0 } else { self.looks });
        }
        let mut over = Vec::new();
        for (cookie, record) in self.probes.sockets()? {
            let first_look = self.take(cookie, &record);
            if is_over(&record, self.looks, first_look) {
                over.push((cookie, record.events.histogram));
            }
        }
        self.take_drops(drops);
        for (cookie, histogram) in over {
            self.end(cookie, histogram);
        }
        Ok(())
    }

    /// Takes what the kernel side has of a socket. Returns the look at which it was first seen.
    fn take(&mut self, cookie: u64, record: &SocketRecord) -> u64 {
        let looks = self.looks;
        let socket = Socket::of(cookie, record);
        // The process was looked at before, or had not begun, and did not have it: the socket is new, and has counted what it has since.
        let is_new = self.looked_at.get(&socket.space).is_some_and(|first| *first < looks);
        let tracked = self.live.entry(cookie).or_insert_with(|| {
            let mut tracked = Tracked::beginning(socket.clone(), looks);
            if is_new && tracked.has_datagrams() && tracked.first.drops.is_some() {
                tracked.first.drops = Some(0);
            }
            tracked
        });
        let is_read = socket.state.at_ns != tracked.socket.state.at_ns || tracked.last_look == 0;
        tracked.socket = socket;
        if record.look == looks {
            tracked.last_look = looks;
        }
        if tracked.socket.addresses.state == TCP_LISTEN {
            self.served.insert(tracked.socket.addresses.local_port);
        }
        if is_read && tracked.has_queues() {
            let state = &tracked.socket.state;
            tracked.stalls.see(state);
            let unsent = state.send_queue.unwrap_or_default();
            let unread = state.receive_queue.unwrap_or_default();
            tracked.receive_most = tracked.receive_most.max(unread);
            tracked.send_most = tracked.send_most.max(unsent);
            tracked.zero_windows += u64::from(unsent > 0 && state.peer_window == Some(0));
            let has_queue = unread > 0 || unsent > 0;
            if tracked.history.is_none() && !tracked.is_without_history && has_queue {
                if self.histories < MOST_HISTORIES {
                    self.histories += 1;
                    tracked.history = Some(History::beginning(tracked.first_look));
                } else {
                    self.without_history += 1;
                    tracked.is_without_history = true;
                }
            }
            if let Some(history) = &mut tracked.history {
                history.take(looks, state);
            }
        }
        tracked.first_look
    }

    /// Takes the drops by reason. What belongs to no socket any more is removed: the socket is closed, and has it already.
    fn take_drops(&mut self, drops: Vec<(DropKey, u64)>) {
        for (key, count) in drops {
            match self.live.get_mut(&key.cookie) {
                Some(tracked) => {
                    tracked.drops.insert(key.reason, count);
                }
                None => self.probes.forget_drops(&key),
            }
        }
    }

    /// A socket is closed.
    fn end(&mut self, cookie: u64, histogram: u64) {
        if let Some(mut tracked) = self.live.remove(&cookie) {
            tracked.ages = ages(&self.probes, &tracked.socket, histogram);
            tracked.has_ended = true;
            self.ended.push_back(tracked);
        }
        self.probes.forget(cookie, histogram);
        while self.ended.len() > MOST_ENDED {
            let Some(first) = self.ended.pop_front() else { break };
            self.histories -= usize::from(first.history.is_some());
            if first.socket.is_by_port {
                self.by_port += 1;
                continue;
            }
            self.without_history += u64::from(first.history.is_some());
            let group = Group::of(&first.socket, &self.served);
            let has_room = self.left_out.len() < MOST_GROUPS || self.left_out.contains_key(&group);
            let group = if has_room { group } else { Group::rest(group.space) };
            self.left_out.entry(group).or_default().add(&first);
        }
    }

    /// Reads the ages of the sockets that are not closed. To be called before a report.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for (cookie, record) in self.probes.sockets()? {
            if let Some(tracked) = self.live.get_mut(&cookie) {
                tracked.socket.events = Socket::of(cookie, &record).events;
                tracked.ages = ages(&self.probes, &tracked.socket, record.events.histogram);
            }
        }
        Ok(())
    }

    /// Detaches the programs. What was seen stays.
    pub(crate) fn close(&mut self) {
        self.probes.close();
    }

    /// Sockets that are not closed, by cookie.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Tracked> {
        self.live.values()
    }

    /// The last closed ones, in the order in which that was seen.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &Tracked> {
        self.ended.iter()
    }

    /// Sockets that a target may have accepted, as their port says, but that no process was seen to use. `is_used`: whether calls have used the socket
    /// with an inode.
    pub(crate) fn by_port(&self, is_used: impl Fn(u64) -> bool) -> u64 {
        let kept = self.live.values().chain(&self.ended).map(|of| &of.socket);
        let unused = kept.filter(|of| of.is_by_port && !of.inode.is_some_and(&is_used));
        self.by_port + unused.count() as u64
    }

    /// Sockets that had something in a queue and have no history, because there are too many.
    pub(crate) fn without_history(&self) -> u64 {
        self.without_history
    }

    /// Closed ones that are not among [`Sockets::ended`] any more, because there are too many.
    pub(crate) fn left_out(&self) -> &BTreeMap<Group, Standing> {
        &self.left_out
    }

    /// Ports at which targets have waited for connections.
    pub(crate) fn served(&self) -> &BTreeSet<u16> {
        &self.served
    }

    /// How many looks there were.
    pub(crate) fn looks(&self) -> u64 {
        self.looks
    }

    /// What is not known of any socket, and why.
    pub(crate) fn lacks(&self) -> &[Lack] {
        self.probes.lacks()
    }

    /// The kernel's name for the reason of a drop, see [`Probes::reason`].
    pub(crate) fn reason(&self, number: u64) -> Option<&str> {
        self.probes.reason(number)
    }

    /// The ledger: its entries, and a number for each.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn ledger(&self) -> Result<(&'static [Entry], [u64; Counter::COUNT])> {
        Ok((Counter::ENTRIES, self.probes.counters()?))
    }

    /// See [`Tracepoints::missed`](crate::capture::tracepoints::Tracepoints::missed).
    pub(crate) fn missed(&self) -> u64 {
        self.probes.missed()
    }

    /// The descriptors of its own maps.
    pub(crate) fn maps(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.probes.maps()
    }

    /// Instructions that the verifier has looked at, by program.
    #[cfg(feature = "lab")]
    pub(crate) fn verified(&self) -> Vec<(&'static str, u32)> {
        self.probes.verified()
    }
}

/// The histogram of ages of a socket, if all of them are in it.
fn ages(probes: &Probes, socket: &Socket, histogram: u64) -> Option<Histogram> {
    let events = &socket.events;
    if events.ages == 0 || events.ages_without_histogram > 0 {
        return None;
    }
    let counts = probes.ages(histogram, socket.cookie)?;
    Some(Histogram::from_kernel(&counts, events.age_total_ns, events.age_max_ns))
}

/// Whether a socket is closed. The kernel says so of TCP; any other one is closed when no target has a descriptor for it any more.
fn is_over(record: &SocketRecord, look: u64, first_look: u64) -> bool {
    if record.look == look {
        return false;
    }
    if record.flags & profiler_common::socket::CLOSED != 0 {
        return true;
    }
    let unseen = look.saturating_sub(record.look.max(first_look));
    let state = record.addresses.state;
    match record.protocol {
        TCP if state == CLOSE || state == TCP_LISTEN => unseen > 0,
        TCP => unseen > LOOKS_WITHOUT_END,
        _ => unseen > 0,
    }
}

#[cfg(test)]
mod tests;

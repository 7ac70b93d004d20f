//! How the sockets of a service stand: sums over what is known of each. Pure.

use std::collections::BTreeMap;

use profiler_common::{
    file::TCP_LISTEN,
    socket::{TCP, UDP},
};

use crate::{
    observe::socket_state::{Tracked, facts::Retransmits},
    stats::Histogram,
};

/// A minimum of the round-trip time that was not measured (include/linux/win_minmax.h, as TCP begins it).
const NOT_MEASURED: u64 = u32::MAX as u64;

/// Bytes in queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    /// In all of them at the last look.
    pub(super) now: u64,
    /// The most in one of them.
    pub(super) most: u64,
}

impl Queue {
    fn add(&mut self, now: Option<u64>, most: u64) {
        let now = now.unwrap_or_default();
        self.now += now;
        self.most = self.most.max(most).max(now);
    }
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) now: u64,
    pub(super) most: u64,
    /// How many may wait.
    pub(super) limit: u64,
    /// How often a connection was not taken.
    pub(super) dropped: u64,
}

/// Sums over the sockets of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Sockets that are open, except for those that listen.
    pub(super) open: u64,
    pub(super) receive: Queue,
    pub(super) send: Queue,
    /// Datagrams that the kernel has dropped.
    pub(super) dropped: u64,
    /// Packets that it has dropped, by its number for the reason. Of TCP most were not needed, such as the last acknowledgement.
    pub(super) reasons: BTreeMap<u64, u64>,
    /// How long data waited until it was read, in nanoseconds.
    pub(super) ages: Option<Histogram>,
    pub(super) backlog: Option<Backlog>,
    pub(super) tcp: Tcp,
}

/// What only connections of TCP have.
#[derive(Clone, Debug, Default)]
pub(super) struct Tcp {
    pub(super) connections: u64,
    /// Connections whose round-trip time is known, and the sum of their smoothed times, in microseconds.
    pub(super) measured: u64,
    pub(super) srtt_us: u64,
    /// The least that any of them measured.
    pub(super) rtt_min_us: Option<u64>,
    pub(super) retransmits: Retransmits,
    /// Looks at which a peer offered no window although something was to be sent.
    pub(super) zero_windows: u64,
    pub(super) resets_received: u64,
    pub(super) resets_sent: u64,
    pub(super) attempts: u64,
    pub(super) refused: u64,
    pub(super) timed_out: u64,
    /// How long it took to connect, in nanoseconds.
    pub(super) connects: Option<Histogram>,
}

impl Standing {
    /// Of these sockets.
    pub(super) fn of<'a>(sockets: impl IntoIterator<Item = &'a Tracked>) -> Standing {
        let mut standing = Standing::default();
        for tracked in sockets {
            if tracked.socket.addresses.state == TCP_LISTEN {
                standing.listens(tracked);
            } else {
                standing.add(tracked);
            }
        }
        standing
    }

    fn listens(&mut self, tracked: &Tracked) {
        let state = &tracked.socket.state;
        let backlog = self.backlog.get_or_insert_default();
        let now = state.receive_queue.unwrap_or_default();
        backlog.now += now;
        backlog.most = backlog.most.max(now).max(tracked.socket.events.queue_max);
        backlog.limit = backlog.limit.max(state.send_queue.unwrap_or_default());
        backlog.dropped += tracked.refusals().map_or(0, |refusals| refusals.dropped);
    }

    fn add(&mut self, tracked: &Tracked) {
        let socket = &tracked.socket;
        self.open += u64::from(!socket.is_closed);
        let state = if socket.is_closed { &Default::default() } else { &socket.state };
        self.receive.add(state.receive_queue, socket.events.queue_max);
        self.send.add(state.send_queue, tracked.send_most);
        for (reason, count) in &tracked.drops {
            *self.reasons.entry(*reason).or_default() += count;
        }
        if u64::from(socket.protocol) == UDP {
            self.dropped += tracked.overruns().map_or(0, |overruns| overruns.dropped);
        }
        if let Some(ages) = &tracked.ages {
            merge(&mut self.ages, ages);
        }
        if u64::from(socket.protocol) == TCP {
            self.tcp.add(tracked);
        }
    }
}

impl Tcp {
    fn add(&mut self, tracked: &Tracked) {
        let (state, events) = (&tracked.socket.state, &tracked.socket.events);
        self.connections += 1;
        if let Some(srtt_us) = state.srtt_us.filter(|us| *us > 0) {
            self.measured += 1;
            self.srtt_us += srtt_us;
        }
        let least = state.rtt_min_us.filter(|us| *us < NOT_MEASURED);
        self.rtt_min_us = self.rtt_min_us.into_iter().chain(least).min();
        self.retransmits = self.retransmits.and(tracked.retransmits().unwrap_or_default());
        self.zero_windows += tracked.zero_windows;
        self.resets_received += events.resets_received;
        self.resets_sent += events.resets_sent;
        self.attempts += events.attempts;
        self.refused += events.refused;
        self.timed_out += events.timed_out;
        if let Some(took_ns) = events.connect_ns() {
            let mut one = Histogram::from_kernel(&[], 0, 0);
            one.record(took_ns);
            merge(&mut self.connects, &one);
        }
    }
}

/// Adds a histogram of the kernel's buckets. All of them have the same; sums of nanoseconds do not overflow.
fn merge(to: &mut Option<Histogram>, more: &Histogram) {
    match to {
        Some(sum) => {
            if let Err(error) = sum.merge(more) {
                tracing::debug!("a histogram is left out: {error}");
            }
        }
        None => *to = Some(more.clone()),
    }
}

#[cfg(test)]
pub(super) mod tests;

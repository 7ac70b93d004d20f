//! How the sockets of a service stand: sums over what is known of each. Pure.

use std::collections::BTreeMap;

use profiler_common::socket::TCP;

use super::{
    Tracked,
    facts::{Retransmits, UNANSWERED_NS},
};
use crate::stats::Histogram;

/// A minimum of the round-trip time that was not measured (include/linux/win_minmax.h, as TCP begins it).
const NOT_MEASURED: u64 = u32::MAX as u64;

/// Bytes in queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    /// In all of them at the last look.
    pub(crate) now: u64,
    /// The most in one of them.
    pub(crate) most: u64,
    /// Sockets of which the kernel does not say it.
    pub(crate) unknown: u64,
}

impl Queue {
    fn add(&mut self, now: Option<u64>, most: u64) {
        self.unknown += u64::from(now.is_none());
        let now = now.unwrap_or_default();
        self.now += now;
        self.most = self.most.max(most).max(now);
    }

    fn add_all(&mut self, other: Queue) {
        self.now += other.now;
        self.most = self.most.max(other.most);
        self.unknown += other.unknown;
    }
}

/// Datagrams that the kernel has dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) count: u64,
    /// Sockets of which the kernel does not say it.
    pub(crate) unknown: u64,
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) now: u64,
    pub(crate) most: u64,
    /// How many may wait.
    pub(crate) limit: u64,
    /// How often a connection was not taken.
    pub(crate) dropped: u64,
    /// Sockets of which the kernel does not count that, such as those of Unix.
    pub(crate) unknown: u64,
}

/// Sums over the sockets of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// All of them.
    pub(crate) sockets: u64,
    /// Sockets that are open, except for those that listen.
    pub(crate) open: u64,
    pub(crate) receive: Queue,
    pub(crate) send: Queue,
    pub(crate) dropped: Dropped,
    /// Packets that it has dropped, by its number for the reason. Of TCP most were not needed, such as the last acknowledgement.
    pub(crate) reasons: BTreeMap<u64, u64>,
    /// How long data waited until it was read, in nanoseconds, of the sockets that have a histogram.
    pub(crate) ages: Option<Histogram>,
    /// Ages that were measured on sockets without one.
    pub(crate) ages_without_histogram: u64,
    pub(crate) backlog: Option<Backlog>,
    pub(crate) tcp: Tcp,
}

/// What only connections of TCP have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) connections: u64,
    /// Connections whose round-trip time is known, and the sum of their smoothed times, in microseconds.
    pub(crate) measured: u64,
    pub(crate) srtt_us: u64,
    /// The least that any of them measured.
    pub(crate) rtt_min_us: Option<u64>,
    pub(crate) retransmits: Retransmits,
    /// Those of them on connections that were established: others ask again and again for one.
    pub(crate) of_established: Retransmits,
    /// Looks at which a peer offered no window although something was to be sent.
    pub(crate) zero_windows: u64,
    pub(crate) resets_received: u64,
    pub(crate) resets_sent: u64,
    pub(crate) attempts: u64,
    pub(crate) refused: u64,
    pub(crate) timed_out: u64,
    /// Those that nobody had answered for [`UNANSWERED_NS`] at the end, or when they were given up, and how long the longest had waited.
    pub(crate) unanswered: u64,
    pub(crate) longest_unanswered_ns: u64,
    /// How long it took to connect, in nanoseconds.
    pub(crate) connects: Option<Histogram>,
}

impl Standing {
    /// Of these sockets.
    pub(crate) fn of<'a>(sockets: impl IntoIterator<Item = &'a Tracked>) -> Standing {
        let mut standing = Standing::default();
        sockets.into_iter().for_each(|tracked| standing.add(tracked));
        standing
    }

    /// Adds a socket.
    pub(crate) fn add(&mut self, tracked: &Tracked) {
        if tracked.socket.is_listener() {
            self.add_listener(tracked);
        } else {
            self.add_other(tracked);
        }
    }

    /// Adds other sockets.
    pub(crate) fn add_all(&mut self, other: &Standing) {
        self.sockets += other.sockets;
        self.open += other.open;
        self.receive.add_all(other.receive);
        self.send.add_all(other.send);
        self.dropped.count += other.dropped.count;
        self.dropped.unknown += other.dropped.unknown;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(*reason).or_default() += count;
        }
        if let Some(ages) = &other.ages {
            merge(&mut self.ages, ages);
        }
        self.ages_without_histogram += other.ages_without_histogram;
        if let Some(other) = other.backlog {
            let backlog = self.backlog.get_or_insert_default();
            backlog.now += other.now;
            backlog.most = backlog.most.max(other.most);
            backlog.limit = backlog.limit.max(other.limit);
            backlog.dropped += other.dropped;
            backlog.unknown += other.unknown;
        }
        self.tcp.add_all(&other.tcp);
    }

    fn add_listener(&mut self, tracked: &Tracked) {
        self.sockets += 1;
        self.add_reasons(tracked);
        let state = &tracked.socket.state;
        let backlog = self.backlog.get_or_insert_default();
        let now = if tracked.socket.is_closed { 0 } else { state.receive_queue.unwrap_or_default() };
        backlog.now += now;
        backlog.most = backlog.most.max(now).max(tracked.socket.events.queue_max);
        backlog.limit = backlog.limit.max(state.send_queue.unwrap_or_default());
        backlog.dropped += tracked.refusals().map_or(0, |refusals| refusals.dropped);
        backlog.unknown += u64::from(state.at_ns != 0 && state.drops.is_none());
    }

    fn add_reasons(&mut self, tracked: &Tracked) {
        for (reason, count) in &tracked.drops {
            *self.reasons.entry(*reason).or_default() += count;
        }
    }

    fn add_other(&mut self, tracked: &Tracked) {
        let socket = &tracked.socket;
        self.sockets += 1;
        self.open += u64::from(!tracked.is_over());
        // Nothing waits in a socket that is closed, and of one that connects only its request to connect is not acknowledged.
        // One that began after the last look has not been read yet.
        let has_queues = tracked.has_queues() && socket.state.at_ns != 0;
        let now = |queue: Option<u64>| if has_queues { queue } else { Some(0) };
        let receive_most = socket.events.queue_max.max(tracked.receive_most);
        self.receive.add(now(socket.state.receive_queue), receive_most);
        self.send.add(now(socket.state.send_queue), tracked.send_most);
        self.add_reasons(tracked);
        match tracked.overruns() {
            Some(overruns) => self.dropped.count += overruns.dropped,
            None => self.dropped.unknown += u64::from(tracked.has_datagrams()),
        }
        match &tracked.ages {
            Some(ages) => merge(&mut self.ages, ages),
            None => self.ages_without_histogram += socket.events.ages,
        }
        if u64::from(socket.protocol) == TCP {
            self.tcp.add(tracked);
        }
    }
}

impl Tcp {
    fn add_all(&mut self, other: &Tcp) {
        self.connections += other.connections;
        self.measured += other.measured;
        self.srtt_us += other.srtt_us;
        self.rtt_min_us = self.rtt_min_us.into_iter().chain(other.rtt_min_us).min();
        self.retransmits = self.retransmits.and(other.retransmits);
        self.of_established = self.of_established.and(other.of_established);
        self.zero_windows += other.zero_windows;
        self.resets_received += other.resets_received;
        self.resets_sent += other.resets_sent;
        self.attempts += other.attempts;
        self.refused += other.refused;
        self.timed_out += other.timed_out;
        self.unanswered += other.unanswered;
        self.longest_unanswered_ns = self.longest_unanswered_ns.max(other.longest_unanswered_ns);
        if let Some(connects) = &other.connects {
            merge(&mut self.connects, connects);
        }
    }

    fn add(&mut self, tracked: &Tracked) {
        let (state, events) = (&tracked.socket.state, &tracked.socket.events);
        self.connections += 1;
        if let Some(srtt_us) = state.srtt_us.filter(|us| *us > 0) {
            self.measured += 1;
            self.srtt_us += srtt_us;
        }
        let least = state.rtt_min_us.filter(|us| *us < NOT_MEASURED);
        self.rtt_min_us = self.rtt_min_us.into_iter().chain(least).min();
        let retransmits = tracked.retransmits().unwrap_or_default();
        self.retransmits = self.retransmits.and(retransmits);
        if events.attempts == 0 || events.established_ns.is_some() {
            self.of_established = self.of_established.and(retransmits);
        }
        self.zero_windows += tracked.zero_windows;
        self.resets_received += events.resets_received;
        self.resets_sent += events.resets_sent;
        self.attempts += events.attempts;
        self.refused += events.refused;
        self.timed_out += events.timed_out;
        if let Some(waited_ns) = tracked.unanswered_ns().filter(|waited_ns| *waited_ns >= UNANSWERED_NS) {
            self.unanswered += 1;
            self.longest_unanswered_ns = self.longest_unanswered_ns.max(waited_ns);
        }
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
pub(crate) mod tests;

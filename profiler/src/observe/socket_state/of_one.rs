//! What follows from what was seen of one socket.

use profiler_common::socket::{SYN_SENT, UDP};

use super::{
    facts::{Overruns, Refusals, Retransmits, overruns, refusals, retransmits},
    socket::Socket,
    tracked::Tracked,
};

impl Tracked {
    /// What was dropped for it, if it is a UDP socket and the kernel counts that.
    pub(crate) fn overruns(&self) -> Option<Overruns> {
        if self.has_datagrams() {
            overruns(&self.first, &self.socket.state, &self.socket.events)
        } else {
            None
        }
    }

    /// Whether it is a UDP socket.
    pub(crate) fn has_datagrams(&self) -> bool {
        u64::from(self.socket.protocol) == UDP
    }

    /// How many connections were seen to wait at a socket that listens, and how many may, if these are more and the kernel does not drop
    /// any: clients wait, too.
    pub(crate) fn held_up(&self) -> Option<(u64, u64)> {
        let waiting = self.socket.events.queue_max;
        let limit = self.socket.state.send_queue?;
        let is_full = self.socket.is_listener() && self.socket.state.drops.is_none() && waiting > limit;
        is_full.then_some((waiting, limit))
    }

    /// Its refusals, if it listens, or did.
    pub(crate) fn refusals(&self) -> Option<Refusals> {
        if self.socket.is_listener() {
            refusals(&self.first, &self.socket.state, &self.socket.events)
        } else {
            None
        }
    }

    /// How long its request to connect has waited for an answer: at the last look, or when the program or the kernel gave up. Of one that is
    /// older than the observation, since its beginning. `None`: it does not connect, or the attempt ended in another way.
    pub(crate) fn unanswered_ns(&self) -> Option<u64> {
        let Socket { state, events, .. } = &self.socket;
        // An attempt that fails on this machine, because no port is left, has sent nothing.
        let was_sent = state.segments_out != Some(0);
        let begun_ns = events.connecting_ns.unwrap_or(self.first.at_ns);
        let was_given_up = events.failed > 0 && state.error == Some(0) || events.timed_out > 0;
        match events.closed_ns {
            _ if events.established_ns.is_some() || !was_sent => None,
            Some(ended_ns) if events.closed_from == Some(SYN_SENT) && was_given_up => {
                Some(ended_ns.saturating_sub(begun_ns))
            }
            None if self.socket.addresses.state == SYN_SENT && !self.is_over() => {
                Some(state.at_ns.saturating_sub(begun_ns))
            }
            _ => None,
        }
    }

    /// Its retransmits since it is observed.
    pub(crate) fn retransmits(&self) -> Option<Retransmits> {
        retransmits(&self.first, &self.socket.state)
    }
}

//! What follows from what was seen of a socket, in numbers. Pure: nothing here asks the kernel, or words a finding.

use super::socket::{Events, State};

/// A connect that waits for this long was sent at least three times: the kernel sends it again after one second, and after two more at the latest
/// (`TCP_TIMEOUT_INIT`, include/net/tcp.h). A segment that the network has lost does not explain it.
pub(crate) const UNANSWERED_NS: u64 = 3_000_000_000;
/// A peer that takes nothing for fewer looks than this is none that reads slowly.
pub(crate) const LEAST_STALLED_LOOKS: u64 = 5;
/// Fewer segments than this say nothing of the share that is sent again.
pub(crate) const LEAST_SEGMENTS: u64 = 100;
/// A lower share of segments that are sent again is normal on the internet.
pub(crate) const LEAST_RETRANSMITTED: f64 = 0.01;
/// If a socket was last read longer ago than 2^13 us, 8 ms, its reader was held up, or waited for something else: half of the tick of a
/// server with 60 ticks per second.
pub(crate) const STALL_BUCKET: usize = 13;
/// At least this share of the drops must be of one kind for it to explain them.
const EXPLAINS: f64 = 0.9;

/// A time in which the peer of a TCP socket acknowledged nothing, although there was something to send all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Stall {
    /// When it was first and last seen, on the monotonic clock in nanoseconds.
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    /// Looks since the first.
    pub(crate) looks: u64,
    /// Bytes in the send queue then and now. They only grow meanwhile.
    pub(crate) from_bytes: u64,
    pub(crate) to_bytes: u64,
    /// Bytes that were acknowledged before.
    acked: u64,
    /// The peer offered no window at the last look: it has the data, and its process does not read.
    pub(crate) is_window_closed: bool,
}

/// The stalls of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stalls {
    now: Option<Stall>,
    longest: Option<Stall>,
}

impl Stalls {
    /// Takes the state at the next look.
    pub(crate) fn see(&mut self, state: &State) {
        let (Some(bytes), Some(acked)) = (state.send_queue, state.bytes_acked) else {
            self.now = None;
            return;
        };
        let is_window_closed = state.peer_window == Some(0);
        self.now = match self.now {
            _ if bytes == 0 => None,
            Some(stall) if stall.acked == acked && bytes >= stall.to_bytes => Some(Stall {
                to_ns: state.at_ns,
                looks: stall.looks + 1,
                to_bytes: bytes,
                is_window_closed,
                ..stall
            }),
            _ => Some(Stall {
                from_ns: state.at_ns,
                to_ns: state.at_ns,
                looks: 0,
                from_bytes: bytes,
                to_bytes: bytes,
                acked,
                is_window_closed,
            }),
        };
        let length = |stall: Option<Stall>| stall.map_or(0, |stall| stall.looks);
        if length(self.now) >= length(self.longest) {
            self.longest = self.now.or(self.longest);
        }
    }

    /// The longest one, if it is long enough for the peer to be one that reads slowly, or cannot be reached.
    pub(crate) fn long(&self) -> Option<Stall> {
        self.longest.filter(|stall| stall.looks >= LEAST_STALLED_LOOKS)
    }
}

/// Datagrams that the kernel dropped for UDP sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Overruns {
    /// How many it dropped since the sockets are observed, for whatever reason.
    pub(crate) dropped: u64,
    /// Those of them that found the receive buffer full. 0 if the kernel does not say so.
    pub(crate) full: u64,
    /// How many were read meanwhile; 0: that is not known.
    pub(crate) reads: u64,
    /// Of how many it is known when the socket was last read before them.
    pub(crate) timed: u64,
    /// Those of them before which it was not read for [`STALL_BUCKET`].
    pub(crate) in_stalls: u64,
    /// The longest time without a read at which one was dropped, rounded down to a power of two, in microseconds.
    pub(crate) longest_gap_us: Option<u64>,
    /// The highest age of a datagram when it was read, in nanoseconds.
    pub(crate) age_max_ns: Option<u64>,
}

/// Why datagrams found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) enum Cause {
    /// The reader did not come back in time.
    Stall,
    /// It read all the time: the room is too small for what arrives at once, or the reader too slow.
    Load,
    /// Some of both.
    Both,
}

impl Overruns {
    /// Their share of all that arrived, from 0 to 1. `None`: it is not known how many were read.
    pub(crate) fn share(&self) -> Option<f64> {
        (self.reads > 0).then(|| self.dropped as f64 / (self.dropped + self.reads) as f64)
    }

    /// Whether that the reader was held up explains them. `None`: it is not known when the sockets were read before most of them.
    pub(crate) fn cause(&self) -> Option<Cause> {
        if self.timed == 0 || (self.timed as f64) < EXPLAINS * self.dropped as f64 {
            return None;
        }
        Some(match self.in_stalls as f64 / self.timed as f64 {
            EXPLAINS.. => Cause::Stall,
            share if share <= 1.0 - EXPLAINS => Cause::Load,
            _ => Cause::Both,
        })
    }

    /// Those of several sockets together.
    #[must_use]
    pub(crate) fn and(self, other: Overruns) -> Overruns {
        Overruns {
            dropped: self.dropped + other.dropped,
            full: self.full + other.full,
            reads: self.reads + other.reads,
            timed: self.timed + other.timed,
            in_stalls: self.in_stalls + other.in_stalls,
            longest_gap_us: self.longest_gap_us.max(other.longest_gap_us),
            age_max_ns: self.age_max_ns.max(other.age_max_ns),
        }
    }
}

/// Overruns of a UDP socket; `None`: the kernel does not count what it drops.
pub(crate) fn overruns(first: &State, last: &State, events: &Events) -> Option<Overruns> {
    let gaps = |from: usize| events.drop_gaps.iter().skip(from).map(|count| u64::from(*count)).sum();
    let longest = events.drop_gaps.iter().rposition(|count| *count > 0);
    Some(Overruns {
        // The last look may have been before the end; the programs count up to it.
        dropped: since(first.drops?, last.drops?).max(events.overruns + events.no_memory),
        full: events.overruns,
        reads: events.reads,
        timed: gaps(0),
        in_stalls: gaps(STALL_BUCKET),
        longest_gap_us: longest.map(|bucket| 1 << bucket),
        age_max_ns: (events.ages > 0).then_some(events.age_max_ns),
    })
}

/// Connections that a socket which listens did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Refusals {
    /// How often the kernel dropped a segment of one. A client sends it again several times.
    pub(crate) dropped: u64,
    /// The most that waited to be accepted. `None`: no connection was seen to begin.
    pub(crate) waiting_max: Option<u64>,
    /// How many may wait: `listen`'s argument, at most `net.core.somaxconn`. The kernel lets one more wait.
    pub(crate) limit: Option<u64>,
    /// Whether the queue was seen full. If not, they were dropped for another reason.
    pub(crate) was_full: bool,
}

/// Refusals of a socket that listens; `None`: there were none, or the kernel does not count them.
pub(crate) fn refusals(first: &State, last: &State, events: &Events) -> Option<Refusals> {
    let dropped = since(first.drops?, last.drops?);
    if dropped == 0 {
        return None;
    }
    let waiting_max =
        [(events.queue_max > 0).then_some(events.queue_max), last.receive_queue].into_iter().flatten().max();
    let limit = last.send_queue;
    let was_full = waiting_max.zip(limit).is_some_and(|(waiting, limit)| waiting > limit);
    Some(Refusals { dropped, waiting_max, limit, was_full })
}

/// Segments that were sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Retransmits {
    pub(crate) segments: u64,
    /// All that were sent, those included.
    pub(crate) of: u64,
}

impl Retransmits {
    /// The share of segments that were sent again, from 0 to 1.
    pub(crate) fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.segments as f64 / self.of as f64 }
    }

    /// Whether there are enough of them to speak of.
    pub(crate) fn are_many(self) -> bool {
        self.of >= LEAST_SEGMENTS && self.share() >= LEAST_RETRANSMITTED
    }

    /// Those of several sockets together.
    pub(crate) fn and(self, other: Retransmits) -> Retransmits {
        Retransmits { segments: self.segments + other.segments, of: self.of + other.of }
    }
}

/// Retransmits of a TCP socket since it is observed; `None`: the kernel does not say.
pub(crate) fn retransmits(first: &State, last: &State) -> Option<Retransmits> {
    Some(Retransmits {
        segments: since(first.retransmits?, last.retransmits?),
        of: since(first.segments_out?, last.segments_out?),
    })
}

/// How much a count of the kernel has grown, which has 32 bits. If it is lower than before, it has passed the highest number, or begun anew:
/// a socket of TCP counts from 0 when it connects again.
fn since(first: u64, last: u64) -> u64 {
    let grown = (last as u32).wrapping_sub(first as u32);
    if last < first && grown > u32::MAX / 2 { last } else { grown.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(at_ns: u64, bytes: u64, acked: u64) -> State {
        State {
            at_ns,
            send_queue: Some(bytes),
            bytes_acked: Some(acked),
            peer_window: Some(500),
            ..State::default()
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_for_some_looks_is_slow() {
        let mut stalls = Stalls::default();
        for look in 0..LEAST_STALLED_LOOKS {
            stalls.see(&sending(look, 100 + 10 * look, 7));
            assert_eq!(stalls.long(), None, "after {look} looks");
        }
        let closed = State { peer_window: Some(0), ..sending(LEAST_STALLED_LOOKS, 150, 7) };
        stalls.see(&closed);
        let stall = stalls.long().unwrap();
        assert_eq!((stall.from_ns, stall.to_ns, stall.looks), (0, LEAST_STALLED_LOOKS, LEAST_STALLED_LOOKS));
        assert_eq!((stall.from_bytes, stall.to_bytes, stall.is_window_closed), (100, 150, true));
        // It stays known after the peer has begun to read again.
        stalls.see(&sending(9, 20, 137));
        stalls.see(&sending(10, 0, 157));
        assert_eq!(stalls.long(), Some(stall));
    }

    #[test]
    fn a_peer_that_takes_something_is_not_slow() {
        let mut stalls = Stalls::default();
        for look in 0..100 {
            stalls.see(&sending(look, 1000 + look, 7 + look / 4));
        }
        assert_eq!(stalls.long(), None);
        for look in 0..100 {
            stalls.see(&sending(look, 0, 500));
        }
        assert_eq!(stalls.long(), None, "there is nothing to take");
        for look in 0..100 {
            stalls.see(&State { bytes_acked: None, ..sending(look, 5, 5) });
        }
        assert_eq!(stalls.long(), None, "it is not known");
    }

    fn dropping(gaps: &[(usize, u32)], reads: u64) -> Events {
        let mut events = Events { reads, ..Events::default() };
        for (bucket, count) in gaps {
            events.drop_gaps[*bucket] = *count;
        }
        events
    }

    fn drops(count: u64) -> State {
        State { drops: Some(count), ..State::default() }
    }

    #[test]
    fn a_reader_that_was_held_up_explains_overruns() {
        let found = overruns(&drops(3), &drops(103), &dropping(&[(3, 2), (15, 98)], 300)).unwrap();
        assert_eq!((found.dropped, found.timed, found.in_stalls), (100, 100, 98));
        assert_eq!(
            (found.cause(), found.share(), found.longest_gap_us),
            (Some(Cause::Stall), Some(0.25), Some(1 << 15))
        );
        let load = overruns(&drops(0), &drops(100), &dropping(&[(2, 100)], 0)).unwrap();
        assert_eq!((load.cause(), load.share()), (Some(Cause::Load), None));
        let both = overruns(&drops(0), &drops(100), &dropping(&[(2, 50), (STALL_BUCKET, 50)], 1)).unwrap();
        assert_eq!(both.cause(), Some(Cause::Both));
        let together = found.and(load);
        assert_eq!((together.dropped, together.reads, together.cause()), (200, 300, Some(Cause::Both)));
        assert_eq!((together.share(), together.longest_gap_us), (Some(0.4), Some(1 << 15)));
    }

    #[test]
    fn nothing_explains_overruns_of_which_nothing_is_known() {
        let none = overruns(&drops(5), &drops(5), &Events::default()).unwrap();
        assert_eq!((none.dropped, none.cause()), (0, None));
        assert_eq!(overruns(&State::default(), &drops(5), &Events::default()), None);
        let found = overruns(&drops(0), &drops(100), &dropping(&[(20, 40)], 7)).unwrap();
        assert_eq!((found.cause(), found.timed), (None, 40));
        let wrapped = overruns(&drops(u64::from(u32::MAX)), &drops(4), &Events::default()).unwrap();
        assert_eq!((wrapped.dropped, wrapped.longest_gap_us), (5, None));
    }

    #[test]
    fn a_count_that_begins_anew_is_not_four_billion() {
        assert_eq!((since(7, 9), since(7, 7), since(7, 2), since(7, 0)), (2, 0, 2, 0));
        assert_eq!(since(u64::from(u32::MAX), 1), 2, "it has passed the highest number");
    }

    #[test]
    fn a_full_queue_of_connections_is_told_from_other_drops() {
        let last = State { receive_queue: Some(0), send_queue: Some(1), ..drops(9) };
        let full = refusals(&drops(2), &last, &Events { queue_max: 2, ..Events::default() }).unwrap();
        assert_eq!((full.dropped, full.waiting_max, full.limit, full.was_full), (7, Some(2), Some(1), true));
        let other = refusals(&drops(2), &last, &Events { queue_max: 1, ..Events::default() }).unwrap();
        assert!(!other.was_full);
        assert_eq!(refusals(&last, &last, &Events::default()), None);
    }

    #[test]
    fn a_few_retransmits_are_not_many() {
        let of = |segments, of| Retransmits { segments, of };
        assert!(of(5, 100).are_many() && of(1, 100).are_many());
        assert!(!of(9, 99).are_many(), "too few segments");
        assert!(!of(9, 1000).are_many(), "less than a hundredth");
        assert_eq!(of(1, 2).and(of(3, 5)), of(4, 7));
        assert!(of(0, 0).share() < f64::EPSILON);
        let state =
            |again, out| State { retransmits: Some(again), segments_out: Some(out), ..State::default() };
        assert_eq!(retransmits(&state(2, 10), &state(5, 40)), Some(of(3, 30)));
        assert_eq!(retransmits(&State::default(), &state(5, 40)), None);
    }
}

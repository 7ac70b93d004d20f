//! What the server counts of itself: the truth that an observer is held against.
//!
//! Every number is counted where the thing is done, by the thread that does it. Counters start at zero and only grow;
//! bytes are those of the payload, as the system call returned them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// A number that threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The larger of what it was and this one.
    pub(crate) fn raise_to(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// What it is now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// All books of the server.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Books {
    pub(crate) ticks: Ticks,
    pub(crate) players: Players,
    pub(crate) udp: Udp,
    pub(crate) save: Save,
    pub(crate) log: Log,
    pub(crate) backend: Backend,
    pub(crate) spectators: Spectators,
    pub(crate) config: Config,
}

/// Turns of the loop.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Ticks {
    pub(crate) done: Counter,
    /// Turns whose work took longer than 50 ms, which is the whole time that a turn has.
    pub(crate) slow: Counter,
    /// Turns that were left out because the one before them ended after their deadline.
    pub(crate) left_out: Counter,
    /// The work of the longest turn.
    pub(crate) longest_ns: Counter,
}

/// Who came and went.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Players {
    pub(crate) joined: Counter,
    pub(crate) left: Counter,
    /// Players of whom nothing was heard for a while.
    pub(crate) timed_out: Counter,
    /// Players who found the zone full.
    pub(crate) refused: Counter,
}

/// The players' socket.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Udp {
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    /// Receives that found nothing: one for each healthy turn.
    pub(crate) empty_receives: Counter,
    pub(crate) receive_errors: Counter,
    /// Datagrams that are not of our protocol, or not of somebody who has joined.
    pub(crate) strays: Counter,
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    /// Sends that failed, for whatever reason; their datagrams are in no other number.
    pub(crate) send_errors: Counter,
    /// Size of the receive buffer in bytes, as the kernel says: twice what was asked for.
    pub(crate) receive_buffer_bytes: Counter,
}

/// Saving the world.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Save {
    /// Saves that were completed, by whatever thread.
    pub(crate) saves: Counter,
    /// Those of them that the loop's own thread did, with the last one after its last turn.
    pub(crate) saves_on_tick: Counter,
    pub(crate) failed: Counter,
    /// Saves that were left out because the one before was not done yet.
    pub(crate) left_out: Counter,
    /// Calls of `write`.
    pub(crate) writes: Counter,
    /// Calls of `fsync`: two for each save, the file and its directory.
    pub(crate) fsyncs: Counter,
    pub(crate) renames: Counter,
    pub(crate) bytes: Counter,
    /// The longest save, from opening the file to the second `fsync`.
    pub(crate) longest_ns: Counter,
}

/// The event log.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Log {
    pub(crate) lines: Counter,
    /// Calls of `write`.
    pub(crate) appends: Counter,
    pub(crate) bytes: Counter,
    /// Calls of `fdatasync`.
    pub(crate) fsyncs: Counter,
    /// Lines that were left out because the log was too far behind.
    pub(crate) lines_left_out: Counter,
    /// Lines that could not be written.
    pub(crate) lines_failed: Counter,
}

/// What is asked of the backend.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Backend {
    pub(crate) connections: Counter,
    /// Requests written together, until all of their answers were read.
    pub(crate) round_trips: Counter,
    pub(crate) round_trips_on_tick: Counter,
    /// The sum of the round trips.
    pub(crate) waited_ns: Counter,
    pub(crate) longest_ns: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) bytes_in: Counter,
    /// Round trips that failed.
    pub(crate) errors: Counter,
    /// Players who left and could not be saved.
    pub(crate) players_not_saved: Counter,
    pub(crate) commands: Commands,
}

/// Requests, by command.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Commands {
    pub(crate) ping: Counter,
    pub(crate) get: Counter,
    pub(crate) set: Counter,
    pub(crate) mget: Counter,
    pub(crate) hgetall: Counter,
    pub(crate) hset: Counter,
}

/// The spectators' connections.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Spectators {
    pub(crate) accepted: Counter,
    pub(crate) accept_errors: Counter,
    /// Connections that were closed at once because there are too many.
    pub(crate) refused: Counter,
    /// Connections that the other side ended.
    pub(crate) closed: Counter,
    /// Frames that were queued, one for each spectator and turn.
    pub(crate) frames: Counter,
    /// Frames that were left out because the spectator's queue is full.
    pub(crate) frames_left_out: Counter,
    /// Calls of `write` that wrote something.
    pub(crate) writes: Counter,
    /// Calls of `write` for which the kernel's send queue was full.
    pub(crate) writes_would_block: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) bytes_received: Counter,
    /// The largest queue of a spectator in this process. The kernel's send queue comes on top.
    pub(crate) longest_queue_bytes: Counter,
}

/// The file with the rules of the zone.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Config {
    /// How often it was opened, read and closed.
    pub(crate) reads: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_numbers_in_json() {
        let books = Books::default();
        books.ticks.done.add(41);
        books.ticks.done.one();
        books.ticks.longest_ns.raise_to(7);
        books.ticks.longest_ns.raise_to(5);
        let json = serde_json::to_value(&books).unwrap();
        assert_eq!(json["ticks"]["done"], 42);
        assert_eq!(json["ticks"]["longest_ns"], 7);
        assert_eq!(json["backend"]["commands"]["mget"], 0);
    }
}

//! What the kernel side of `sockets` counts.

use crate::io_counters;

/// Bytes or messages are sent. Operations have numbers, because some of them change what is known of a socket.
pub const SEND: u32 = 1;
/// They are received.
pub const RECEIVE: u32 = 2;
/// A connection is accepted.
pub const ACCEPT: u32 = 3;
/// A connection is begun.
pub const CONNECT: u32 = 4;
/// A descriptor is closed.
pub const CLOSE: u32 = 5;
/// A connection is shut down.
pub const SHUTDOWN: u32 = 6;
/// Bytes are looked at, and received again later.
pub const PEEK: u32 = 7;
/// Not a call: what was received after something was sent on a socket that calls others. It lasts from the end of the last send to the end
/// of the first receive.
pub const TURN_AROUND: u32 = 8;
/// Not a call: what was sent after something was received on a socket that serves others. It lasts from the end of the last receive to the
/// end of the first send.
pub const ANSWER: u32 = 9;

/// After so many sends in a row, nobody waits for an answer to them: it is a log, or a feed.
pub const AWAITED_SENDS: u64 = 64;

/// Places of the numbers that are kept of a thread: answers that it waits for now.
pub const PENDING: usize = 0;
/// 1 if it has waited for more than one at a time in the present turn. A turn ends with a wait during which it waits for no answer.
pub const OVERLAPPED: usize = 1;
/// Answers in the present turn.
pub const ANSWERS: usize = 2;
/// How long it took from the ends of sends to them, in nanoseconds.
pub const ANSWERS_NS: usize = 3;
/// Turns in which it has waited for answers, for one at a time.
pub const TURNS: usize = 4;
/// Answers in these turns.
pub const TURN_ANSWERS: usize = 5;
/// How long they took, in nanoseconds.
pub const TURN_ANSWERS_NS: usize = 6;
/// Most answers in one of these turns.
pub const MOST_ANSWERS: usize = 7;

io_counters! {
    other: "of_no_socket", without_cell: "without_service";
    probes {}

    /// A call has received so many messages that the bytes of the last ones were not counted.
    MessagesBeyond = "messages_without_bytes" in Exit as Quality,
}

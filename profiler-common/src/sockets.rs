//! What the kernel side of `sockets` counts.

use crate::counters;

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

counters! {
    probes {
        /// Entry of a call.
        Enter = "sys_enter",
        /// Return of a call.
        Exit = "sys_exit",
        /// Operation of io_uring.
        Ring = "io_uring",
    }

    /// Hits at the entry.
    EnterHits = "hits" in Enter as Hits,
    /// The call is an operation on sockets, and is counted when it returns.
    Began = "began" in Enter as Recorded,
    /// The call uses no socket.
    Other = "of_no_socket" in Enter as Filtered,
    /// There was no room for the record of the thread.
    LostThread = "lost_thread_state" in Enter as Lost,

    /// Hits at the return.
    ExitHits = "hits" in Exit as Hits,
    /// The operation was counted.
    Counted = "counted" in Exit as Recorded,
    /// The call is not counted: it uses no socket, or it began before the observation.
    NotCounted = "of_no_socket" in Exit as Filtered,
    /// A signal has interrupted the call, and the kernel begins it anew.
    Restarted = "restarted" in Exit as Filtered,
    /// There was no memory for the sums of the service.
    LostCell = "lost_cell" in Exit as Lost,

    /// Operations that were submitted to rings of io_uring, of kinds that are counted.
    RingSubmitted = "hits" in Ring as Hits,
    /// The operation was counted.
    RingCounted = "counted" in Ring as Recorded,
    /// It uses no socket.
    RingOther = "of_no_socket" in Ring as Filtered,
    /// It has not been completed. User space knows how many there are.
    RingUnderWay = "under_way" in Ring as Recorded,
    /// There was no memory to follow or to count it.
    RingLost = "lost" in Ring as Lost,

    /// The thread ended before its operation did.
    EndedInCall = "ended_with_its_thread" in Enter as Quality,
    /// The operation counts for no service of its own: too many services, threads and operations have sums.
    WithoutCell = "without_service" in Exit as Quality,
    /// Durations that are in no histogram, because none was left.
    WithoutHistogram = "duration_not_in_histogram" in Exit as Quality,
    /// A single operation did not fit into the ring.
    LostSample = "operation_not_listed" in Exit as Quality,
    /// A single operation was not sent, because this CPU had sent enough in that second.
    Spared = "operation_spared" in Exit as Quality,
    /// All numbers of stacks were taken (`--max-stacks`).
    StackTableFull = "stack_table_full" in Exit as Quality,
    /// The frames of a new stack did not fit into the ring; they are sent at its next use.
    StackRingFull = "stack_ring_full" in Exit as Quality,
    /// The stack was deeper than the limit.
    StackTruncated = "stack_truncated" in Exit as Quality,
    /// The stack could not be read beyond its first frame, or is one of 32-bit code.
    StackShort = "stack_short" in Exit as Quality,
}

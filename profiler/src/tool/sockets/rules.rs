//! The rules of `sockets`: the stable names of its findings. `docs/sockets.md` lists them with their thresholds.

use crate::observe::sight::Terms;

/// What was sent and received, and with whom most of it.
pub(super) const TRAFFIC: &str = "sockets.traffic";
/// No operation was seen.
pub(super) const NOTHING_SEEN: &str = "sockets.nothing_seen";
/// A target is stopped, or was for a while.
pub(super) const HALTED: &str = "sockets.halted";
/// Children of the targets do work, and are not observed.
pub(super) const CHILDREN: &str = "sockets.children";
/// A target has become a program that is not observed.
pub(super) const UNOBSERVED: &str = "sockets.unobserved";
/// A target ended, or was killed, before the observation did.
pub(super) const ENDED: &str = "sockets.ended";
/// Losses could change the answer.
pub(super) const INCOMPLETE: &str = "sockets.incomplete";
/// A thread waits for many answers in each turn, one after another.
pub(super) const ROUND_TRIPS: &str = "sockets.round_trips";
/// A thread that works in turns waits for answers for a large part of each.
pub(super) const WAIT_IN_LOOP: &str = "sockets.wait_in_loop";
/// Small sends wait for the delayed acknowledgement of earlier ones.
pub(super) const HELD_BACK: &str = "sockets.held_back";
/// A connection is made for each request.
pub(super) const NOT_REUSED: &str = "sockets.not_reused";
/// Many clients connect, and soon leave again.
pub(super) const STORM: &str = "sockets.connection_storm";
/// Datagrams found no room in a receive buffer.
pub(super) const OVERRUNS: &str = "sockets.overruns";
/// A peer does not take what is sent to it.
pub(super) const SLOW_READER: &str = "sockets.slow_reader";
/// Connections were not taken, because too many waited to be accepted.
pub(super) const NOT_TAKEN: &str = "sockets.not_taken";
/// Many segments of TCP were sent again.
pub(super) const SENT_AGAIN: &str = "sockets.sent_again";
/// Connects were refused or not answered.
pub(super) const FAILED_CONNECTS: &str = "sockets.failed_connects";
/// Connects got no answer for a long time.
pub(super) const UNANSWERED: &str = "sockets.unanswered_connects";
/// A thread receives again and again, and finds nothing.
pub(super) const POLLS: &str = "sockets.polls";
/// A thread sends many small messages in each turn.
pub(super) const SMALL_SENDS: &str = "sockets.small_sends";
/// Some answers take far longer than others.
pub(super) const LATE_ANSWERS: &str = "sockets.late_answers";

/// What is said about targets that are not what the user meant.
pub(super) const TERMS: Terms = Terms {
    nothing: "No operation on a socket ended",
    does: "sends and receives",
    did: "sent and received",
    calls: "nothing in the kernel that works on sockets.",
    aged: "it sent and received nothing meanwhile",
    nothing_seen: NOTHING_SEEN,
    halted: HALTED,
    children: CHILDREN,
    unobserved: UNOBSERVED,
    ended: ENDED,
};

/// Every rule.
#[cfg(test)]
pub(super) const ALL: [&str; 21] = [
    TRAFFIC,
    NOTHING_SEEN,
    HALTED,
    CHILDREN,
    UNOBSERVED,
    ENDED,
    INCOMPLETE,
    ROUND_TRIPS,
    WAIT_IN_LOOP,
    HELD_BACK,
    NOT_REUSED,
    STORM,
    OVERRUNS,
    SLOW_READER,
    NOT_TAKEN,
    SENT_AGAIN,
    FAILED_CONNECTS,
    UNANSWERED,
    POLLS,
    SMALL_SENDS,
    LATE_ANSWERS,
];

//! What is wrong with queues: datagrams without room, peers that do not read, connections that are not taken, lost segments.

use super::{Facts, name};
use crate::{
    observe::socket_state::{
        Tracked,
        facts::{Cause, Overruns, Refusals, Stall},
        standing::Standing,
    },
    report::{Finding, Phrase, Severity, Unit, Value},
    tool::sockets::{lines::What, rules},
    units,
};

/// Datagrams are lost if at least this many found no room,
const LEAST_OVERRUNS: u64 = 10;
/// which are at least this share of those that arrived, if that is known.
const OVERRUN_SHARE: f64 = 0.001;
/// Connects fail if at least this many were refused or not answered,
const LEAST_FAILED: u64 = 5;
/// which are at least this share of all attempts.
const FAILED_SHARE: f64 = 0.1;

/// The findings of all services.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (what, sockets) in facts.sockets {
        findings.extend(overruns(facts, what, &sockets.tracked));
        findings.extend(slow_reader(facts, what, &sockets.tracked));
        findings.extend(not_taken(facts, what, &sockets.tracked));
        findings.extend(held_up(facts, what, &sockets.tracked));
        let standing = sockets.standing();
        findings.extend(sent_again(facts, what, &standing));
        findings.extend(failed_connects(facts, what, &standing));
        findings.extend(unanswered(facts, what, &standing));
    }
    findings
}

/// Datagrams that found no room, on all sockets of a service. The buffer is that of the socket with the most.
fn overruns(facts: &Facts<'_>, what: &What, sockets: &[&Tracked]) -> Option<Finding> {
    let all = || sockets.iter().filter_map(|tracked| Some((*tracked, tracked.overruns()?)));
    let (tracked, _) = all().max_by_key(|(_, overruns)| overruns.dropped)?;
    let sum = all().map(|(_, overruns)| overruns).fold(Overruns::default(), Overruns::and);
    if sum.dropped < LEAST_OVERRUNS || sum.share().is_some_and(|share| share < OVERRUN_SHARE) {
        return None;
    }
    let share =
        sum.share().map_or_else(String::new, |share| format!(" ({} of what arrived)", units::percent(share)));
    let room = tracked.socket.state.receive_limit;
    let room = room.map_or_else(String::new, |bytes| format!(" of {}", units::bytes(bytes as f64)));
    let sentence = vec![
        Phrase::Plain(format!("{} datagrams{share} to ", units::count(sum.dropped as f64))),
        name(what),
        Phrase::Plain(format!(" were dropped: {}{}. {}", why(&sum, &room), age(&sum), cause(&sum))),
    ];
    let mut finding = Finding::new(rules::OVERRUNS, Severity::Problem, sentence)
        .on((facts.row)(what))
        .because("dropped", Unit::Count, Value::Exact(sum.dropped))
        .because("found_no_room", Unit::Count, Value::Exact(sum.full))
        .because("timed", Unit::Count, Value::Exact(sum.timed))
        .because("in_stalls", Unit::Count, Value::Exact(sum.in_stalls));
    if let Some(age_ns) = sum.age_max_ns {
        finding = finding.because("age_max_ns", Unit::Nanos, Value::Exact(age_ns));
    }
    Some(finding)
}

/// Why they were dropped. The kernel counts all of them together; that the buffer was full it says of each, if it has the tracepoint.
fn why(of: &Overruns, room: &str) -> String {
    match of.full {
        0 => format!("why is not known, but mostly it is because the receive buffer{room} is full"),
        full if full >= of.dropped => format!("the receive buffer{room} was full"),
        full => format!("the receive buffer{room} was full at {} of them", units::count(full as f64)),
    }
}

/// How long the reader must have been away for that to be a stall, as [`STALL_BUCKET`](crate::observe::socket_state::facts::STALL_BUCKET) has it.
const STALL: &str = "8.2 ms";

fn age(of: &Overruns) -> String {
    let words = |ns: u64| {
        format!(", and the oldest datagram that was read had waited {} in it", units::nanos(ns as f64))
    };
    of.age_max_ns.map_or_else(String::new, words)
}

/// Whether a reader that was held up explains the drops.
fn cause(of: &Overruns) -> String {
    let gap = of.longest_gap_us.map(|us| units::nanos(us as f64 * 1e3)).unwrap_or_default();
    match of.cause() {
        Some(Cause::Stall) => {
            format!(
                "A stall explains it: before {} of them nothing was read for {STALL} or longer, once for {gap} or longer.",
                units::count(of.in_stalls as f64)
            )
        }
        Some(Cause::Load) => {
            "No stall explains it: it was read all the time, so the buffer is too small for what arrives \
                              at once, or one thread is too slow."
                .to_owned()
        }
        Some(Cause::Both) => format!(
            "A stall explains {} of them: before these nothing was read for {STALL} or longer, once for {gap} or longer. At the \
             others it was being read.",
            units::count(of.in_stalls as f64)
        ),
        None => "It is not known when it was last read before them.".to_owned(),
    }
}

/// A peer that takes nothing, although there is something for it. Of several, the one that has waited longest.
fn slow_reader(facts: &Facts<'_>, what: &What, sockets: &[&Tracked]) -> Option<Finding> {
    let all = || sockets.iter().filter_map(|tracked| Some((*tracked, tracked.stalls.long()?)));
    let (tracked, stall) = all().max_by_key(|(_, stall)| (stall.looks, stall.to_bytes))?;
    let count = all().count();
    let peer = facts.files.peer(&tracked.socket.addresses);
    let Stall { from_ns, to_ns, from_bytes, to_bytes, is_window_closed, .. } = stall;
    let length = units::nanos(to_ns.saturating_sub(from_ns) as f64);
    let grown = match to_bytes > from_bytes {
        true => format!("grew from {} to {}", units::bytes(from_bytes as f64), units::bytes(to_bytes as f64)),
        false => format!("held {}", units::bytes(to_bytes as f64)),
    };
    let why = match tracked.socket.state.peer_window {
        _ if is_window_closed => "its receive window is closed: its program does not read",
        Some(_) => "its window is open: it cannot be reached, or the network loses what is sent",
        None => "this kernel does not say whether its window is closed",
    };
    let others = match count {
        1 => String::new(),
        _ => format!(" {} more like it.", units::count(count as f64 - 1.0)),
    };
    let mut sentence = vec![Phrase::plain("A peer of "), name(what)];
    if let Some(peer) = peer {
        let port = tracked.socket.addresses.remote_port;
        sentence.extend([Phrase::plain(", "), Phrase::Name(peer), Phrase::Plain(format!(" port {port},"))]);
    }
    sentence
        .push(Phrase::Plain(format!(" took nothing for {length}: the send queue {grown}; {why}.{others}")));
    let finding = Finding::new(rules::SLOW_READER, Severity::Problem, sentence)
        .on((facts.row)(what))
        .because("peers", Unit::Count, Value::Exact(count as u64))
        .because("looks", Unit::Count, Value::Exact(stall.looks))
        .because("send_queue", Unit::Bytes, Value::Exact(to_bytes))
        .because("remote_port", Unit::None, Value::Exact(tracked.socket.addresses.remote_port.into()));
    Some(finding)
}

/// Connections that are not taken, because too many wait to be accepted.
fn not_taken(facts: &Facts<'_>, what: &What, sockets: &[&Tracked]) -> Option<Finding> {
    let full = || sockets.iter().filter_map(|tracked| tracked.refusals()).filter(|of| of.was_full);
    let Refusals { waiting_max, limit, .. } = full().max_by_key(|refusals| refusals.dropped)?;
    let dropped: u64 = full().map(|refusals| refusals.dropped).sum();
    let sentence = vec![
        name(what),
        Phrase::Plain(format!(
            " did not take new connections {} times: {} waited to be accepted, more than its backlog of {}. Accept faster, or \
             listen with a higher backlog (and net.core.somaxconn).",
            units::count(dropped as f64),
            units::count(waiting_max.unwrap_or_default() as f64),
            units::count(limit.unwrap_or_default() as f64),
        )),
    ];
    let finding = Finding::new(rules::NOT_TAKEN, Severity::Problem, sentence)
        .on((facts.row)(what))
        .because("not_taken", Unit::Count, Value::Exact(dropped))
        .because("backlog_max", Unit::Count, Value::Exact(waiting_max.unwrap_or_default()))
        .because("backlog_limit", Unit::Count, Value::Exact(limit.unwrap_or_default()));
    Some(finding)
}

/// Clients of a Unix socket that wait to connect, because too many connections wait to be accepted.
fn held_up(facts: &Facts<'_>, what: &What, sockets: &[&Tracked]) -> Option<Finding> {
    let (waiting, limit) = sockets.iter().filter_map(|tracked| tracked.held_up()).max()?;
    let sentence = vec![
        name(what),
        Phrase::Plain(format!(
            " holds up its clients: {} connections wait to be accepted, more than its backlog of {}. Accept faster, or listen with a higher \
             backlog (and net.core.somaxconn).",
            units::count(waiting as f64),
            units::count(limit as f64),
        )),
    ];
    let finding = Finding::new(rules::NOT_TAKEN, Severity::Problem, sentence)
        .on((facts.row)(what))
        .because("backlog_max", Unit::Count, Value::Exact(waiting))
        .because("backlog_limit", Unit::Count, Value::Exact(limit));
    Some(finding)
}

/// Many segments are sent again.
fn sent_again(facts: &Facts<'_>, what: &What, standing: &Standing) -> Option<Finding> {
    let of = standing.tcp.of_established;
    if !of.are_many() {
        return None;
    }
    let sentence = vec![
        Phrase::Plain(format!("{} of the segments on ", units::percent(of.share()))),
        name(what),
        Phrase::Plain(format!(
            " were sent again ({} of {}): the network loses or delays them.",
            units::count(of.segments as f64),
            units::count(of.of as f64)
        )),
    ];
    let finding = Finding::new(rules::SENT_AGAIN, Severity::Problem, sentence)
        .on((facts.row)(what))
        .because("retransmits", Unit::Count, Value::Exact(of.segments))
        .because("segments", Unit::Count, Value::Exact(of.of));
    Some(finding)
}

/// Connects that are refused or not answered.
fn failed_connects(facts: &Facts<'_>, what: &What, standing: &Standing) -> Option<Finding> {
    let tcp = &standing.tcp;
    let failed = tcp.refused + tcp.timed_out;
    if failed < LEAST_FAILED || (failed as f64) < FAILED_SHARE * tcp.attempts as f64 {
        return None;
    }
    let sentence = vec![
        Phrase::Plain(format!(
            "{} of {} connects on ",
            units::count(failed as f64),
            units::count(tcp.attempts as f64)
        )),
        name(what),
        Phrase::Plain(format!(
            " failed: {} were refused (nothing listens there), {} were not answered in time.",
            units::count(tcp.refused as f64),
            units::count(tcp.timed_out as f64)
        )),
    ];
    let finding = Finding::new(rules::FAILED_CONNECTS, Severity::Problem, sentence)
        .on((facts.row)(what))
        .because("attempts", Unit::Count, Value::Exact(tcp.attempts))
        .because("refused", Unit::Count, Value::Exact(tcp.refused))
        .because("timed_out", Unit::Count, Value::Exact(tcp.timed_out));
    Some(finding)
}

/// Connects that nobody answers. A thread that waits for one hangs.
fn unanswered(facts: &Facts<'_>, what: &What, standing: &Standing) -> Option<Finding> {
    let tcp = &standing.tcp;
    if tcp.unanswered == 0 {
        return None;
    }
    let connects = units::plural(tcp.unanswered as usize, "connect", "connects");
    let sentence = vec![
        Phrase::Plain(format!("{connects} on ")),
        name(what),
        Phrase::Plain(format!(
            " got no answer{} {}: the host is gone, something drops the packets, or its backlog is full.",
            if tcp.unanswered == 1 { " for" } else { ", the longest for" },
            units::nanos(tcp.longest_unanswered_ns as f64)
        )),
    ];
    let finding = Finding::new(rules::UNANSWERED, Severity::Problem, sentence)
        .on((facts.row)(what))
        .because("unanswered", Unit::Count, Value::Exact(tcp.unanswered))
        .because("unanswered_max_ns", Unit::Nanos, Value::Exact(tcp.longest_unanswered_ns))
        .because("attempts", Unit::Count, Value::Exact(tcp.attempts));
    Some(finding)
}

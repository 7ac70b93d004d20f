//! Findings of queues.

use profiler_common::{
    file::TCP_LISTEN,
    socket::{SYN_SENT, TCP, UDP},
};

use super::*;
use crate::observe::socket_state::standing::tests::socket;

/// The rules and sentences of one socket.
fn of(tracked: &Tracked) -> Vec<(String, String)> {
    found(Line::default(), &[tracked], &[])
}

fn sentence(tracked: &Tracked, rule: &str) -> String {
    let [(found, sentence)] = of(tracked).try_into().unwrap();
    assert_eq!(found, rule, "{sentence}");
    sentence
}

/// A socket of UDP of which so many datagrams were read, and dropped at these times since the last read.
fn dropping(reads: u64, gaps: &[(usize, u32)]) -> Tracked {
    let mut of = socket(UDP);
    of.socket.events.reads = reads;
    for (bucket, count) in gaps {
        of.socket.events.drop_gaps[*bucket] = *count;
    }
    of.socket.events.overruns = gaps.iter().map(|(_, count)| u64::from(*count)).sum();
    of.socket.state.drops = Some(of.socket.events.overruns);
    of.socket.state.receive_limit = Some(212_992);
    of
}

#[test]
fn datagrams_without_room_are_found_with_the_cause() {
    let stalled = sentence(&dropping(100, &[(17, 90), (2, 10)]), rules::OVERRUNS);
    assert!(stalled.contains("208 KiB") && stalled.contains("50.0 % of what arrived"), "{stalled}");
    assert!(
        stalled.contains("before 90 of them nothing was read for 8.2 ms or longer, once for 131 ms"),
        "{stalled}"
    );
    let loaded = sentence(&dropping(100, &[(2, 100)]), rules::OVERRUNS);
    assert!(loaded.contains("No stall explains it"), "{loaded}");
    assert!(of(&dropping(100, &[(17, 9)])).is_empty(), "few");
    assert!(of(&dropping(100_000, &[(17, 99)])).is_empty(), "less than one in a thousand");
    let mut old = dropping(100, &[(17, 100)]);
    old.socket.events.ages = 5;
    old.socket.events.age_max_ns = 250_000_000;
    let old = sentence(&old, rules::OVERRUNS);
    assert!(old.contains("the oldest datagram that was read had waited 250 ms in it"), "{old}");
}

#[test]
fn datagrams_that_were_dropped_for_another_reason_are_told_apart() {
    let mut some = dropping(100, &[(17, 80)]);
    some.socket.state.drops = Some(100);
    let some = sentence(&some, rules::OVERRUNS);
    assert!(some.contains("100 datagrams (50.0 % of what arrived)"), "{some}");
    assert!(some.contains("the receive buffer of 208 KiB was full at 80 of them"), "{some}");
    assert!(some.contains("It is not known when it was last read"), "80 of 100 explain too few: {some}");
    let mut unsaid = dropping(0, &[]);
    unsaid.socket.state.drops = Some(100);
    let unsaid = sentence(&unsaid, rules::OVERRUNS);
    assert!(unsaid.contains("why is not known"), "{unsaid}");
}

#[test]
fn overruns_of_several_sockets_count_together() {
    let (stalled, loaded) = (dropping(100, &[(17, 50)]), dropping(100, &[(2, 50)]));
    let [(_, sentence)] = found(Line::default(), &[&stalled, &loaded], &[]).try_into().unwrap();
    assert!(sentence.contains("100 datagrams (33.3 % of what arrived)"), "{sentence}");
    assert!(sentence.contains("A stall explains 50 of them"), "{sentence}");
}

/// A peer that took nothing at so many looks, with this window.
fn stalled(looks: u64, window: u64) -> Tracked {
    let mut of = socket(TCP);
    for look in 0..=looks {
        of.stalls.see(&State {
            at_ns: look * 1_000_000_000,
            send_queue: Some(1_024 * (1 + look)),
            bytes_acked: Some(7),
            peer_window: Some(window),
            ..State::default()
        });
    }
    of
}

#[test]
fn a_peer_that_takes_nothing_is_found() {
    let closed = sentence(&stalled(5, 0), rules::SLOW_READER);
    assert!(
        closed.contains("took nothing for 5.0 s: the send queue grew from 1.0 KiB to 6.0 KiB"),
        "{closed}"
    );
    assert!(closed.contains("its program does not read"), "{closed}");
    let open = sentence(&stalled(5, 500), rules::SLOW_READER);
    assert!(open.contains("it cannot be reached"), "{open}");
    assert!(of(&stalled(4, 0)).is_empty(), "short");
}

fn listening(most: u64, dropped: u64) -> Tracked {
    let mut of = socket(TCP);
    of.socket.addresses.state = TCP_LISTEN;
    of.socket.state.send_queue = Some(128);
    of.socket.state.drops = Some(dropped);
    of.socket.events.queue_max = most;
    of
}

#[test]
fn connections_that_are_not_taken_are_found() {
    let full = sentence(&listening(129, 5), rules::NOT_TAKEN);
    assert!(full.contains("5 times: 129 waited to be accepted, more than its backlog of 128"), "{full}");
    assert!(of(&listening(129, 0)).is_empty(), "all were taken");
    assert!(of(&listening(12, 5)).is_empty(), "for another reason");
}

#[test]
fn clients_of_unix_sockets_that_are_held_up_are_found() {
    let mut full = listening(6, 0);
    full.socket.state.drops = None;
    full.socket.state.send_queue = Some(5);
    let sentence = sentence(&full, rules::NOT_TAKEN);
    assert!(sentence.contains("holds up its clients: 6 connections wait"), "{sentence}");
    full.socket.events.queue_max = 5;
    assert!(of(&full).is_empty(), "there is room for one more");
}

#[test]
fn many_segments_that_are_sent_again_are_found() {
    let sent = |again, out| {
        let mut of = socket(TCP);
        of.socket.state.retransmits = Some(again);
        of.socket.state.segments_out = Some(out);
        of
    };
    let many = sentence(&sent(30, 1_000), rules::SENT_AGAIN);
    assert!(many.contains("3.0 % of the segments") && many.contains("30 of 1.0k"), "{many}");
    assert!(of(&sent(9, 1_000)).is_empty() && of(&sent(50, 99)).is_empty());
    let mut asking = sent(300, 400);
    asking.socket.events.attempts = 1;
    assert!(of(&asking).is_empty(), "nobody answers: it is no loss of what was sent");
    asking.socket.events.established_ns = Some(1);
    assert!(sentence(&asking, rules::SENT_AGAIN).contains("75.0 % of the segments"));
}

#[test]
fn connects_that_fail_are_found() {
    let failing = |attempts, refused, timed_out| {
        let mut of = socket(TCP);
        of.socket.events.attempts = attempts;
        of.socket.events.refused = refused;
        of.socket.events.timed_out = timed_out;
        of
    };
    let failed = sentence(&failing(50, 4, 1), rules::FAILED_CONNECTS);
    assert!(failed.contains("5 of 50 connects") && failed.contains("4 were refused"), "{failed}");
    assert!(of(&failing(50, 4, 0)).is_empty() && of(&failing(51, 4, 1)).is_empty());
}

#[test]
fn connects_that_hang_are_found() {
    let hanging = |seconds: u64| {
        let mut of = socket(TCP);
        of.socket.addresses.state = SYN_SENT;
        of.socket.events.attempts = 1;
        of.socket.events.connecting_ns = Some(1);
        of.socket.state.at_ns = 1 + seconds * 1_000_000_000;
        of.socket.state.segments_out = Some(1);
        of
    };
    let hangs = sentence(&hanging(12), rules::UNANSWERED);
    assert!(hangs.starts_with("1 connect on ") && hangs.contains(" got no answer for 12 s"), "{hangs}");
    assert!(of(&hanging(2)).is_empty());
}

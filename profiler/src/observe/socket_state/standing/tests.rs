use profiler_common::{
    file::{AF_INET, Addresses, TCP_LISTEN},
    socket::{CLOSE, SYN_SENT, UDP},
};

use super::*;
use crate::observe::socket_state::{Socket, State, Tracked};

/// An open socket of this protocol, of which nothing was counted.
pub(crate) fn socket(protocol: u64) -> Tracked {
    let kind = if protocol == TCP { 1 } else { 2 };
    let addresses = Addresses {
        family: AF_INET,
        kind,
        local_port: 7777,
        remote_port: 0,
        state: 1,
        local: [0; 16],
        remote: [0; 16],
    };
    let state = State { at_ns: 1, ..State::beginning() };
    let socket = Socket {
        cookie: 1,
        inode: Some(2),
        network: 3,
        space: 0,
        descriptor: Some(4),
        is_shared: false,
        is_by_port: false,
        is_from_start: true,
        is_closed: false,
        protocol: protocol as u16,
        addresses,
        state,
        events: Default::default(),
    };
    Tracked::beginning(socket, 1)
}

#[test]
fn queues_are_summed_and_their_most_is_that_of_one() {
    let mut first = socket(UDP);
    first.socket.state.receive_queue = Some(100);
    first.socket.events.queue_max = 900;
    let mut second = socket(UDP);
    second.socket.state.receive_queue = Some(30);
    second.send_most = 70;
    let of = Standing::of([&first, &second]);
    assert_eq!((of.open, of.receive, of.send.most), (2, Queue { now: 130, most: 900, unknown: 0 }, 70));
    second.socket.is_closed = true;
    let of = Standing::of([&first, &second]);
    assert_eq!((of.open, of.receive.now), (1, 100), "nothing waits in a socket that is closed");
}

#[test]
fn what_the_kernel_does_not_say_is_not_zero() {
    let mut datagrams = socket(UDP);
    datagrams.socket.state.receive_queue = None;
    datagrams.socket.state.drops = None;
    let of = Standing::of([&datagrams, &socket(TCP)]);
    assert_eq!((of.receive.unknown, of.send.unknown), (1, 0));
    assert_eq!(of.dropped, Dropped { count: 0, unknown: 1 });
    datagrams.socket.is_closed = true;
    assert_eq!(Standing::of([&datagrams]).receive.unknown, 0, "nothing waits in a socket that is closed");
}

#[test]
fn a_request_to_connect_is_nothing_that_waits_to_be_sent() {
    let mut connects = socket(TCP);
    connects.socket.addresses.state = SYN_SENT;
    connects.socket.state.send_queue = Some(1);
    assert_eq!(Standing::of([&connects]).send, Queue::default());
}

#[test]
fn a_connect_waits_until_it_is_answered_or_given_up() {
    const BEGUN: u64 = 1_000;
    let mut connects = socket(TCP);
    connects.socket.addresses.state = SYN_SENT;
    connects.socket.events.connecting_ns = Some(BEGUN);
    connects.socket.state.at_ns = BEGUN + UNANSWERED_NS;
    connects.socket.state.segments_out = Some(3);
    let of = |socket: &Tracked| {
        let Tcp { unanswered, longest_unanswered_ns, .. } = Standing::of([socket]).tcp;
        (unanswered, longest_unanswered_ns)
    };
    assert_eq!(of(&connects), (1, UNANSWERED_NS));
    let mut given_up = connects.clone();
    given_up.socket.is_closed = true;
    given_up.socket.addresses.state = CLOSE;
    given_up.socket.events.closed_ns = Some(BEGUN + UNANSWERED_NS + 7);
    given_up.socket.events.closed_from = Some(SYN_SENT);
    assert_eq!(of(&given_up), (0, 0), "it was refused");
    given_up.socket.events.failed = 1;
    assert_eq!(of(&given_up), (1, UNANSWERED_NS + 7));
    let sum = Standing::of([&connects, &given_up]).tcp;
    assert_eq!((sum.unanswered, sum.longest_unanswered_ns), (2, UNANSWERED_NS + 7));
    given_up.socket.state.segments_out = Some(0);
    assert_eq!(of(&given_up), (0, 0), "it was not sent");
    given_up.socket.state.segments_out = Some(3);
    given_up.socket.state.error = Some(113);
    assert_eq!(of(&given_up), (0, 0), "there is no way to that host");
    given_up.socket.events.failed = 0;
    given_up.socket.events.timed_out = 1;
    assert_eq!(of(&given_up), (1, UNANSWERED_NS + 7), "the kernel gave up");
    connects.socket.state.at_ns -= 1;
    assert_eq!(of(&connects), (0, 0), "it may be answered yet");
    connects.socket.state.at_ns += 1;
    connects.socket.events.established_ns = Some(9);
    assert_eq!(of(&connects), (0, 0), "it is established");
}

#[test]
fn ages_that_are_in_no_histogram_are_counted() {
    let mut read = socket(UDP);
    read.socket.events.ages = 7;
    assert_eq!(Standing::of([&read, &read]).ages_without_histogram, 14);
}

#[test]
fn connections_that_wait_are_no_bytes() {
    let mut listens = socket(TCP);
    listens.socket.addresses.state = TCP_LISTEN;
    listens.socket.state.receive_queue = Some(3);
    listens.socket.state.send_queue = Some(128);
    listens.socket.state.drops = Some(7);
    listens.socket.events.queue_max = 129;
    let of = Standing::of([&listens]);
    assert_eq!(of.backlog, Some(Backlog { now: 3, most: 129, limit: 128, dropped: 7, unknown: 0 }));
    assert_eq!((of.open, of.receive.now, of.tcp.connections), (0, 0, 0));
    listens.socket.is_closed = true;
    listens.socket.addresses.state = CLOSE;
    listens.socket.events.closed_from = Some(TCP_LISTEN);
    let of = Standing::of([&listens]);
    assert_eq!(
        of.backlog,
        Some(Backlog { now: 0, most: 129, limit: 128, dropped: 7, unknown: 0 }),
        "it is closed"
    );
    assert_eq!((of.receive.most, of.tcp.connections), (0, 0));
}

#[test]
fn connections_that_the_kernel_does_not_count_are_unknown() {
    let mut listens = socket(0);
    listens.socket.addresses.state = TCP_LISTEN;
    listens.socket.state.drops = None;
    assert_eq!(Standing::of([&listens]).backlog.map(|of| (of.dropped, of.unknown)), Some((0, 1)));
}

#[test]
fn round_trips_that_were_not_measured_do_not_count() {
    let measured = |srtt_us, rtt_min_us| {
        let mut of = socket(TCP);
        of.socket.state.srtt_us = Some(srtt_us);
        of.socket.state.rtt_min_us = Some(rtt_min_us);
        of
    };
    let of = Standing::of([&measured(0, NOT_MEASURED), &measured(300, 90), &measured(100, 50)]).tcp;
    assert_eq!((of.connections, of.measured, of.srtt_us, of.rtt_min_us), (3, 2, 400, Some(50)));
    assert_eq!(Standing::of([&measured(0, NOT_MEASURED)]).tcp.rtt_min_us, None);
}

#[test]
fn datagrams_are_dropped_and_segments_sent_again() {
    let mut datagrams = socket(UDP);
    datagrams.socket.state.drops = Some(41);
    let mut segments = socket(TCP);
    segments.socket.state.retransmits = Some(3);
    segments.socket.state.segments_out = Some(90);
    segments.socket.events.established_ns = Some(5_000);
    segments.socket.events.connecting_ns = Some(2_000);
    let of = Standing::of([&datagrams, &segments]);
    assert_eq!((of.dropped.count, of.tcp.retransmits.segments, of.tcp.retransmits.of), (41, 3, 90));
    let connects = of.tcp.connects.unwrap();
    assert_eq!((connects.total(), connects.sum), (1, 3_000));
}

#[test]
fn sums_of_sums_are_those_of_all() {
    let mut first = socket(UDP);
    first.socket.state.receive_queue = Some(100);
    first.socket.state.drops = Some(41);
    first.drops.insert(7, 41);
    let mut second = socket(TCP);
    second.socket.events.attempts = 3;
    second.socket.events.established_ns = Some(5_000);
    second.socket.events.connecting_ns = Some(2_000);
    second.socket.state.rtt_min_us = Some(9);
    let mut third = socket(TCP);
    third.socket.addresses.state = TCP_LISTEN;
    third.socket.state.drops = Some(2);
    let mut sum = Standing::of([&first, &second]);
    sum.add_all(&Standing::of([&third, &second]));
    assert_eq!(format!("{sum:?}"), format!("{:?}", Standing::of([&first, &second, &third, &second])));
}

//! How old data is when a process reads it, as it measures that itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::calls::number;
use support::kernel::Feature;
use support::network;
use support::socket_state::{LOCAL, ages, connected, knows, lack, live, nothing_lost, observe, seen};

#[track_caller]
fn assert_ages(socket: &Value, times: u32, (least, most): (Duration, Duration)) {
    let events = &socket["events"];
    assert_eq!(number(events, "ages"), u64::from(times), "{socket:#}");
    let total = Duration::from_nanos(number(events, "age_total_ns"));
    assert!(least <= total && total <= most, "{least:?} <= {total:?} <= {most:?}");
    let buckets = socket["ages"]["buckets"].as_array().unwrap();
    let in_histogram: u64 = buckets.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
    assert_eq!(in_histogram, u64::from(times));
    assert!(events["waiting_since_ns"].is_null(), "nothing waits any more: {socket:#}");
}

/// How long data waits until it is read is what this process measures around it.
#[test]
fn ages_are_those_that_the_process_measures() {
    let Some(_live) = support::live() else { return };
    network::alone(|| {
        const TIMES: u32 = 53;
        let (reader, writer) = (UdpSocket::bind(LOCAL).unwrap(), UdpSocket::bind(LOCAL).unwrap());
        writer.connect(reader.local_addr().unwrap()).unwrap();
        let (_listener, mut client, mut server) = connected();
        let observer = observe(&[]);
        let datagrams = ages(
            TIMES,
            || {
                // Only the first one is measured: it is the oldest.
                for _ in 0..3 {
                    writer.send(b"player input").unwrap();
                }
            },
            || {
                for _ in 0..3 {
                    reader.recv(&mut [0; 32]).unwrap();
                }
            },
        );
        let bytes = ages(
            TIMES,
            || client.write_all(&[0; 100]).unwrap(),
            || server.read_exact(&mut [0; 100]).unwrap(),
        );
        let report = seen(observer);
        nothing_lost(&report);
        assert_eq!(lack(&report, "age of TCP data"), None);
        assert_ages(live(&report, &server), TIMES, bytes);
        assert_eq!(number(&live(&report, &server)["events"], "queue_max"), 100);
        if !knows(&report, "age of datagrams", Feature::ReadsOfSockets) {
            assert_eq!(live(&report, &reader)["ages"], Value::Null);
            return;
        }
        assert_ages(live(&report, &reader), TIMES, datagrams);
        assert_eq!(number(&live(&report, &reader)["events"], "reads"), 3 * u64::from(TIMES));
    });
}

/// The same of Unix sockets: from the send to the read.
#[test]
fn ages_of_unix_sockets_are_those_that_the_process_measures() {
    const TIMES: u32 = 31;
    let Some(_live) = support::live() else { return };
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let (taker, giver) = UnixDatagram::pair().unwrap();
    let observer = observe(&[]);
    let bytes = ages(
        TIMES,
        || (0..3).for_each(|_| (&writer).write_all(&[0; 40]).unwrap()),
        || reader.read_exact(&mut [0; 120]).unwrap(),
    );
    let messages = ages(
        TIMES,
        || assert_eq!(giver.send(b"a command").unwrap(), 9),
        || assert_eq!(taker.recv(&mut [0; 32]).unwrap(), 9),
    );
    let report = seen(observer);
    nothing_lost(&report);
    if !knows(&report, "what Unix sockets receive", Feature::ReadsOfSockets) {
        assert_eq!(live(&report, &taker)["ages"], Value::Null);
        return;
    }
    assert_ages(live(&report, &reader), TIMES, bytes);
    assert_ages(live(&report, &taker), TIMES, messages);
}

/// Reads of another process, which gets `reader` and is not observed, and then of this one. Returns how long the latter waited.
fn shared(
    reader: OwnedFd,
    others: u32,
    own: u32,
    send: impl Fn(),
    receive: impl FnMut(),
) -> (Duration, Duration) {
    let mut other = Command::new("cat").stdin(reader).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = other.stdout.take().unwrap();
    for _ in 0..others {
        send();
        output.read_exact(&mut [0; 9]).unwrap();
    }
    // It waits for the next one, which is for this process.
    other.kill().unwrap();
    other.wait().unwrap();
    ages(own, send, receive)
}

/// Workers of a server may share a socket: what one has read that is not observed was not read by the target.
#[test]
fn what_other_processes_read_does_not_count() {
    const OTHERS: u32 = 37;
    const OWN: u32 = 23;
    let Some(_live) = support::live() else { return };
    network::alone(|| {
        let (reader, writer) = (UdpSocket::bind(LOCAL).unwrap(), UdpSocket::bind(LOCAL).unwrap());
        writer.connect(reader.local_addr().unwrap()).unwrap();
        let (taker, giver) = UnixDatagram::pair().unwrap();
        let observer = observe(&[]);
        let datagrams = shared(
            reader.try_clone().unwrap().into(),
            OTHERS,
            OWN,
            || assert_eq!(writer.send(b"a command").unwrap(), 9),
            || assert_eq!(reader.recv(&mut [0; 32]).unwrap(), 9),
        );
        let messages = shared(
            taker.try_clone().unwrap().into(),
            OTHERS,
            OWN,
            || assert_eq!(giver.send(b"a command").unwrap(), 9),
            || assert_eq!(taker.recv(&mut [0; 32]).unwrap(), 9),
        );
        let report = seen(observer);
        nothing_lost(&report);
        if !knows(&report, "age of datagrams", Feature::ReadsOfSockets) {
            return;
        }
        for (socket, times) in [(live(&report, &reader), datagrams), (live(&report, &taker), messages)] {
            assert_ages(socket, OWN, times);
            assert_eq!(number(&socket["events"], "reads"), u64::from(OWN), "{socket:#}");
        }
    });
}

//! The state of sockets and what happens to them, as the kernel says it in other ways: socket options, `/proc`, `ss`. The sockets are those
//! of this process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Command;

use serde_json::Value;
use support::calls::number;
use support::network::{self, info, memory};
use support::socket_state::{LOCAL, connected, live, nothing_lost, observe, seen, with};

/// Compares values of the state with what options say.
#[track_caller]
fn assert_state(socket: &Value, expected: &[(&str, u64)]) {
    for (field, value) in expected {
        assert_eq!(number(&socket["state"], field), *value, "{field} of {socket:#}");
    }
}

#[track_caller]
fn assert_memory(report: &Value, socket: impl AsFd) {
    let of = network::memory_of(socket.as_fd());
    let places = [
        ("receive_limit", memory::RECEIVE_LIMIT),
        ("send_limit", memory::SEND_LIMIT),
        ("drops", memory::DROPS),
        ("receive_memory", memory::RECEIVE),
    ];
    assert_state(live(report, &socket), &places.map(|(field, place)| (field, u64::from(of[place]))));
}

#[track_caller]
fn assert_tcp(report: &Value, socket: &TcpStream) {
    let of = network::tcp_info(socket.as_fd());
    let word = |place: usize| u64::from(of[place]);
    let long = |place: usize| network::long(&of, place);
    let expected = [
        ("receive_queue", network::queued(socket.as_fd(), libc::FIONREAD)),
        ("send_queue", network::queued(socket.as_fd(), libc::TIOCOUTQ)),
        ("srtt_us", word(info::RTT)),
        ("rtt_min_us", word(info::RTT_MIN)),
        ("congestion_window", word(info::CONGESTION_WINDOW)),
        ("retransmits", word(info::TOTAL_RETRANSMITS)),
        ("bytes_acked", long(info::BYTES_ACKED)),
        ("bytes_received", long(info::BYTES_RECEIVED)),
        ("bytes_sent", long(info::BYTES_SENT)),
        ("segments_in", word(info::SEGMENTS_IN)),
        ("segments_out", word(info::SEGMENTS_OUT)),
        ("lost", word(info::LOST)),
        ("no_delay", u64::from(socket.nodelay().unwrap())),
    ];
    let seen = live(report, socket);
    assert_state(seen, &expected);
    // Newer than the rest of the option.
    if let Some(window) = of.get(info::PEER_WINDOW) {
        assert_state(seen, &[("peer_window", u64::from(*window))]);
    }
    let (local, remote) = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    assert_eq!(number(seen, "local_port"), u64::from(local.port()));
    assert_eq!(number(seen, "remote_port"), u64::from(remote.port()));
    assert_eq!(number(seen, "descriptor"), socket.as_raw_fd() as u64);
}

/// The inode of a descriptor.
fn inode(socket: impl AsFd) -> u64 {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd())).unwrap();
    let digits = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect::<String>();
    digits.parse().unwrap()
}

#[test]
fn the_state_is_that_of_socket_options() {
    let Some(_live) = support::live() else { return };
    network::alone(|| {
        let (listener, mut client, mut server) = connected();
        client.set_nodelay(true).unwrap();
        client.write_all(&[1; 1009]).unwrap();
        server.write_all(&[2; 313]).unwrap();
        client.read_exact(&mut [0; 13]).unwrap();
        let (reader, writer) = (UdpSocket::bind(LOCAL).unwrap(), UdpSocket::bind(LOCAL).unwrap());
        let local = reader.local_addr().unwrap();
        for _ in 0..7 {
            writer.send_to(&[3; 101], local).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("waits");
        let unix = UnixListener::bind(&path).unwrap();
        let waiting = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
        let (one, other) = UnixDatagram::pair().unwrap();
        one.send(b"seventeen letters").unwrap();

        let report = seen(observe(&[]));
        nothing_lost(&report);
        for socket in [&client, &server] {
            assert_tcp(&report, socket);
            assert_memory(&report, socket);
        }
        for socket in [&reader, &writer] {
            assert_memory(&report, socket);
        }
        assert_eq!(number(&live(&report, &server)["state"], "receive_queue"), 1009);
        assert_eq!(number(&live(&report, &client)["state"], "receive_queue"), 300);
        let datagrams = live(&report, &reader);
        assert_eq!(number(datagrams, "local_port"), u64::from(local.port()));
        assert_eq!(datagrams["local"].as_array().unwrap()[..4], [127, 0, 0, 1]);
        assert_eq!(datagrams["inode"], inode(&reader));
        assert!(number(&datagrams["state"], "receive_queue") >= 7 * 101, "{datagrams:#}");
        let listening = live(&report, &listener);
        // Of a socket that listens, these two are the connections that wait, and how many may.
        let queues = network::tcp_info(listener.as_fd());
        assert_state(listening, &[("receive_queue", queues[6].into()), ("send_queue", queues[7].into())]);
        assert!(queues[7] > 0);
        assert_eq!(number(listening, "tcp_state"), 10);
        let listening = live(&report, &unix);
        assert_state(listening, &[("receive_queue", waiting.len() as u64)]);
        assert_eq!(number(&listening["events"], "queue_max"), waiting.len() as u64);
        assert_eq!(listening["state"]["drops"], Value::Null, "the kernel does not count them");
        let sent = u64::from(network::memory_of(one.as_fd())[memory::SEND]);
        assert!(sent > 0);
        assert_state(live(&report, &one), &[("send_queue", sent)]);
        assert_eq!(live(&report, &other)["family"], 1);
    });
}

#[test]
fn the_state_is_that_of_ss() {
    let Some(_live) = support::live() else { return };
    if Command::new("ss").arg("-V").output().is_err() {
        testbed::skip::skip("ss (iproute2) is not installed");
        return;
    }
    let (_listener, mut client, server) = connected();
    client.write_all(&[1; 3001]).unwrap();
    let (reader, writer) = (UdpSocket::bind("[::1]:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap());
    writer.send_to(&[3; 101], reader.local_addr().unwrap()).unwrap();
    let report = seen(observe(&[]));
    let said =
        Command::new("ss").args(["-O", "-H", "-t", "-u", "-a", "-n", "-e", "-i", "-m"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    for cookie in [client.as_fd(), server.as_fd(), reader.as_fd(), writer.as_fd()].map(network::cookie) {
        let mark = format!(" sk:{cookie:x} ");
        let line =
            said.lines().find(|line| line.contains(&mark)).unwrap_or_else(|| panic!("no {mark}: {said}"));
        assert_ss(with(&report, "live", cookie), line);
    }
    assert_eq!(live(&report, &reader)["family"], 10);
}

/// Compares a socket with its line of `ss`.
#[track_caller]
fn assert_ss(socket: &Value, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = &socket["state"];
    for (place, field) in [(2, "receive_queue"), (3, "send_queue")] {
        assert_eq!(number(state, field).to_string(), words[place], "{field}: {line}");
    }
    let memory = line.split_once("skmem:(").unwrap().1.split_once(')').unwrap().0;
    let of = |key: &str| {
        let mut all = memory.split(',').filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        all.next_back().unwrap_or_else(|| panic!("no {key} in {memory}"))
    };
    let fields = [("r", "receive_memory"), ("rb", "receive_limit"), ("tb", "send_limit"), ("d", "drops")];
    for (key, field) in fields {
        assert_eq!(number(state, field), of(key), "{field}: {line}");
    }
    let mut compared = 0;
    for word in words {
        let Some((key, value)) = word.split_once(':') else { continue };
        let field = match key {
            "bytes_sent" | "bytes_acked" | "bytes_received" => key,
            "segs_in" => "segments_in",
            "segs_out" => "segments_out",
            "cwnd" => "congestion_window",
            "snd_wnd" => "peer_window",
            _ => continue,
        };
        assert_eq!(number(state, field).to_string(), value, "{field}: {line}");
        compared += 1;
    }
    assert!(socket["protocol"] != 6 || compared >= 5, "{line}");
}

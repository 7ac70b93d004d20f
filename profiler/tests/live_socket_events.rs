//! What happens to sockets, as the kernel counts it and as this process knows it, whose sockets they are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::account;
use support::calls::number;
use support::kernel::Feature;
use support::network::{self, info, memory};
use support::socket_state::{
    LOCAL, connected, knows, lack, live, nothing_lost, observe, observe_with_tables, seen, with,
};
use support::tables::{exact, rows};
use support::workload::PATIENCE;

/// Time between looks, in milliseconds.
const EVERY: &str = "100";

#[test]
fn connects_are_timed_and_refusals_told() {
    let Some(_live) = support::live() else { return };
    network::alone(connect_and_be_refused);
}

fn connect_and_be_refused() {
    const REFUSED: usize = 7;
    const CONNECTED: usize = 5;
    let observer = observe(&["--every", EVERY]);
    let listener = TcpListener::bind(LOCAL).unwrap();
    let address = listener.local_addr().unwrap();
    // A port below those that clients get.
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
    let mut times = Vec::new();
    for _ in 0..CONNECTED {
        let begun = Instant::now();
        let mut client = TcpStream::connect(address).unwrap();
        let took = begun.elapsed();
        times.push((network::cookie(client.as_fd()), took));
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        server.write_all(b"y").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    for _ in 0..REFUSED {
        assert_eq!(TcpStream::connect(nobody).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    let report = seen(observer);
    nothing_lost(&report);
    let ended = report["ended"].as_array().unwrap();
    let of = |wanted: &dyn Fn(&Value) -> bool| {
        ended.iter().filter(|socket| wanted(socket)).cloned().collect::<Vec<_>>()
    };
    let refused = of(&|socket| socket["remote_port"] == nobody.port() && socket["protocol"] == 6);
    let attempts: u64 = refused.iter().map(|socket| number(&socket["events"], "refused")).sum();
    assert_eq!((refused.len(), attempts), (REFUSED, REFUSED as u64));
    for socket in &refused {
        assert!(number(socket, "local_port") > 0, "{socket:#}");
        assert_eq!(socket["from_start"], true);
        assert_eq!(
            (number(&socket["state"], "error"), &socket["closed"]),
            (libc::ECONNREFUSED as u64, &true.into())
        );
    }
    for (cookie, took) in times {
        let client = with(&report, "ended", cookie);
        assert!(Duration::from_nanos(number(client, "connect_ns")) <= took, "{took:?}: {client:#}");
        assert_eq!(
            (client["remote_port"].clone(), number(&client["events"], "attempts")),
            (address.port().into(), 1)
        );
        assert!(number(client, "lifetime_ns") > 0);
    }
    let accepted = of(&|socket| socket["local_port"] == address.port() && socket["remote_port"] != 0);
    assert_eq!(accepted.len(), CONNECTED, "{report:#}");
    for socket in accepted {
        assert_eq!(socket["events"]["attempts"], 0, "{socket:#}");
        assert_eq!(number(&socket["state"], "bytes_sent"), 1, "{socket:#}");
        assert!(number(&socket, "lifetime_ns") > 0, "{socket:#}");
        assert_eq!(socket["by_port"], false, "the process has read from it: {socket:#}");
    }
}

/// Datagrams that find no room, while the reader does something else.
#[test]
fn overruns_are_the_kernels_and_a_reader_that_was_held_up_explains_them() {
    let Some(_live) = support::live() else { return };
    network::alone(|| {
        const SENT: u64 = 1009;
        let (reader, writer) = (UdpSocket::bind(LOCAL).unwrap(), UdpSocket::bind(LOCAL).unwrap());
        network::set_option(reader.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 8192);
        writer.connect(reader.local_addr().unwrap()).unwrap();
        let (observer, tables) = (observe(&["--every", EVERY]), observe_with_tables("sockets"));
        writer.send(b"first").unwrap();
        reader.recv(&mut [0; 8]).unwrap();
        writer.send(&[0; 512]).unwrap();
        // The time in which something waits without a read is what is tested: longer than a stall has to be.
        thread::sleep(Duration::from_millis(23));
        for _ in 1..SENT {
            writer.send(&[0; 512]).unwrap();
        }
        let dropped = u64::from(network::memory_of(reader.as_fd())[memory::DROPS]);
        reader.set_nonblocking(true).unwrap();
        let mut read = 0;
        while reader.recv(&mut [0; 1024]).is_ok() {
            read += 1;
        }
        assert!(dropped > 0 && read > 0);
        assert_eq!(dropped + read, SENT);
        assert_eq!(network::counters()["Udp.RcvbufErrors"], dropped);
        let report = seen(observer);
        nothing_lost(&report);
        let socket = live(&report, &reader);
        assert_eq!(number(&socket["state"], "drops"), dropped);
        assert_eq!(number(&socket["overruns"], "dropped"), dropped);
        assert_eq!(socket["from_start"], false, "it was there before: {socket:#}");
        if knows(&report, "why packets", Feature::SocketsOfDrops) {
            assert_eq!(socket["drops"]["SOCKET_RCVBUFF"], dropped, "{socket:#}");
        } else {
            assert_eq!(socket["drops"], json!({}), "{socket:#}");
        }
        assert_eq!(lack(&report, "when datagrams"), None);
        assert_eq!(number(&socket["events"], "overruns"), dropped, "{socket:#}");
        assert!(number(&socket["events"], "queue_max") > number(&socket["state"], "receive_limit") / 2);
        let overruns = &socket["overruns"];
        if knows(&report, "reads of datagrams", Feature::ReadsOfSockets) {
            assert_eq!(number(&socket["events"], "reads"), read + 1);
            assert_eq!(socket["overruns_cause"], "Stall", "{socket:#}");
            assert_eq!(number(overruns, "in_stalls"), dropped);
            let share = dropped as f64 / (SENT + 1) as f64;
            assert!((socket["overruns_share"].as_f64().unwrap() - share).abs() < 1e-9, "{socket:#}");
        } else {
            // Nothing is made up: neither a cause nor a share of what was read.
            for unknown in ["overruns_cause", "overruns_share"] {
                assert_eq!(socket[unknown], Value::Null, "{unknown}: {socket:#}");
            }
            for unknown in ["longest_gap_us", "age_max_ns"] {
                assert_eq!(overruns[unknown], Value::Null, "{unknown}: {socket:#}");
            }
            assert_eq!((number(overruns, "timed"), number(overruns, "reads")), (0, 0), "{socket:#}");
        }
        let tables = tables.interrupt().report(0);
        account::assert_nothing_lost(&tables);
        let queues: Vec<_> =
            rows(&tables, "queues").into_iter().filter(|row| exact(row, "dropped") > 0).collect();
        let [row] = &queues[..] else { panic!("{queues:#?}") };
        assert_eq!(exact(row, "dropped"), dropped);
        assert_eq!(exact(row, "receive_queue_max"), number(&socket["events"], "queue_max"));
    });
}

/// A reader that had nothing to read before was not held up, however long that was.
#[test]
fn a_burst_into_an_empty_queue_is_no_stall_of_its_reader() {
    let Some(_live) = support::live() else { return };
    network::alone(|| {
        let (reader, writer) = (UdpSocket::bind(LOCAL).unwrap(), UdpSocket::bind(LOCAL).unwrap());
        network::set_option(reader.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 2304);
        reader.set_nonblocking(true).unwrap();
        writer.connect(reader.local_addr().unwrap()).unwrap();
        let observer = observe(&["--every", EVERY]);
        // Without this it is not known when it has read before the first burst.
        writer.send(b"first").unwrap();
        for _ in 0..7 {
            while reader.recv(&mut [0; 1024]).is_ok() {}
            // The time in which nothing waits is what is tested.
            thread::sleep(Duration::from_millis(23));
            for _ in 0..13 {
                writer.send(&[0; 512]).unwrap();
            }
        }
        let dropped = u64::from(network::memory_of(reader.as_fd())[memory::DROPS]);
        assert!(dropped > 0);
        let report = seen(observer);
        nothing_lost(&report);
        let socket = live(&report, &reader);
        assert_eq!(number(&socket["overruns"], "dropped"), dropped);
        if knows(&report, "reads of datagrams", Feature::ReadsOfSockets) {
            assert_eq!(socket["overruns_cause"], "Load", "{socket:#}");
            assert_eq!(number(&socket["overruns"], "in_stalls"), 0, "{socket:#}");
        }
    });
}

/// Begins to connect without waiting for the end of it.
fn begin_to_connect(address: SocketAddrV4) -> OwnedFd {
    // SAFETY: system calls that take numbers, and an address of the size that is given; the descriptor is new.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        assert!(socket >= 0);
        let to = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
            sin_zero: [0; 8],
        };
        libc::connect(socket, (&raw const to).cast(), size_of_val(&to) as libc::socklen_t);
        OwnedFd::from_raw_fd(socket)
    }
}

/// Connections beyond those that may wait are dropped, and time out.
#[test]
fn a_full_queue_of_connections_drops_more() {
    let Some(_live) = support::live() else { return };
    network::alone(|| {
        const TOO_MANY: usize = 11;
        let listener = TcpListener::bind(LOCAL).unwrap();
        // SAFETY: a system call that takes numbers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("not IPv4") };
        let observer = observe(&["--every", EVERY]);
        // One more than may wait does.
        let waiting: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
        let turned_away: Vec<_> = (0..TOO_MANY).map(|_| begin_to_connect(address)).collect();
        for socket in &turned_away {
            // What cannot be sent for so long fails, although it would be tried again for minutes.
            network::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_SYNCNT, 1);
        }
        let deadline = Instant::now() + PATIENCE;
        let pending =
            |socket: &&OwnedFd| network::option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR)[0] == 0;
        for socket in &turned_away {
            while pending(&socket) {
                assert!(Instant::now() < deadline, "an attempt to connect does not end");
                thread::sleep(Duration::from_millis(20));
            }
        }
        let counters = network::counters();
        let report = seen(observer);
        nothing_lost(&report);
        let socket = live(&report, &listener);
        let refusals = &socket["refusals"];
        assert!(number(refusals, "dropped") >= TOO_MANY as u64, "{socket:#}");
        assert_eq!(number(refusals, "dropped"), counters["TcpExt.ListenDrops"], "{socket:#}");
        assert_eq!(counters["TcpExt.ListenDrops"], counters["TcpExt.ListenOverflows"]);
        assert_eq!((number(refusals, "waiting_max"), number(refusals, "limit")), (2, 1), "{socket:#}");
        assert_eq!(refusals["was_full"], true);
        for socket in &turned_away {
            let socket = live(&report, socket);
            let events = &socket["events"];
            assert_eq!((number(events, "attempts"), number(events, "timed_out")), (1, 1), "{events:#}");
            // It waits for an answer all the time, but has nothing to send.
            assert_eq!((&socket["stall"], &socket["history"]), (&Value::Null, &Value::Null), "{socket:#}");
        }
        drop(waiting);
    });
}

/// A peer that does not read lets the send queue of this process grow, until its window closes.
#[test]
fn a_peer_that_stops_reading_is_seen() {
    let Some(_live) = support::live() else { return };
    network::alone(|| {
        let (_listener, client, mut server) = connected();
        server.set_nonblocking(true).unwrap();
        let observer = observe(&["--every", EVERY]);
        let deadline = Instant::now() + PATIENCE;
        while network::tcp_info(server.as_fd()).get(info::PEER_WINDOW).is_some_and(|window| *window > 0) {
            assert!(Instant::now() < deadline, "the window stays open");
            while server.write(&[0; 1 << 16]).is_ok() {}
        }
        while server.write(&[0; 1 << 16]).is_ok() {}
        // So many looks that the stall is a long one, and some more.
        thread::sleep(Duration::from_millis(1300));
        let report = seen(observer);
        nothing_lost(&report);
        let socket = live(&report, &server);
        let queued = network::queued(server.as_fd(), libc::TIOCOUTQ);
        assert!(queued > 0);
        assert_eq!(number(&socket["state"], "send_queue"), queued);
        assert_eq!(number(&socket["stall"], "to_bytes"), queued, "{socket:#}");
        assert_eq!(socket["stall"]["is_window_closed"], true, "{socket:#}");
        assert!(number(&socket["stall"], "looks") >= 5, "{socket:#}");
        assert!(socket["history"].as_array().unwrap().iter().any(|point| point["send"] == queued));
        let other = live(&report, &client);
        assert_eq!(number(&other["state"], "receive_queue"), network::queued(client.as_fd(), libc::FIONREAD));
        assert_eq!(other["stall"], Value::Null, "{other:#}");
    });
}

/// A table that is too small loses sockets, and says how many.
#[test]
fn sockets_without_room_are_counted() {
    let Some(_live) = support::live() else { return };
    const ROOM: usize = 7;
    let sockets: Vec<_> = (0..23).map(|_| UdpSocket::bind(LOCAL).unwrap()).collect();
    let report = seen(observe(&["--most", &ROOM.to_string()]));
    assert_eq!(report["live"].as_array().unwrap().len(), ROOM);
    let looks = number(&report, "looks");
    assert!(
        number(&report["ledger"]["sockets_look"], "lost_socket") >= looks * (sockets.len() - ROOM) as u64
    );
}

#[test]
fn every_program_is_easy_to_verify() {
    let Some(_live) = support::live() else { return };
    const TOO_MANY_VERIFIED: u64 = 20_000;
    let report = seen(observe(&[]));
    let verified = report["verified_insns"].as_object().unwrap();
    assert!(verified.len() >= 7, "{verified:?}");
    for (program, count) in verified {
        support::remark(&format!("VERIFIED {program} {count}"));
        assert!(count.as_u64().unwrap() < TOO_MANY_VERIFIED, "{program} {count}");
    }
}

//! What the tables of `sockets` say of connections is what the kernel says of them, and what this process measures, whose sockets they are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::account;
use support::calls::number;
use support::network::{self, info};
use support::observer::Observer;
use support::socket_state::{LOCAL, nothing_lost, observe, observe_with_tables, row_of, seen, with};
use support::tables::{exact, rows, word};
use support::workload::PATIENCE;

/// A request to connect that finds no room is sent again after a second (RFC 6298, section 2.1). The connection is then kept for a while.
#[test]
fn connects_and_lives_take_as_long_as_the_process_measures() {
    const RESENT_AFTER: Duration = Duration::from_secs(1);
    const KEPT: Duration = Duration::from_millis(230);
    let Some(_live) = support::live() else { return };
    network::alone(|| {
        let listener = TcpListener::bind(LOCAL).unwrap();
        // SAFETY: a system call that takes numbers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
        let address = listener.local_addr().unwrap();
        let tables = observe_with_tables("sockets");
        let waiting: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
        let (connect_took, [life_least, life_most]) = thread::scope(|scope| {
            let late = scope.spawn(|| {
                let begun = Instant::now();
                let stream = TcpStream::connect(address).unwrap();
                let (took, connected) = (begun.elapsed(), Instant::now());
                // Its life is what is tested.
                thread::sleep(KEPT);
                let least = connected.elapsed();
                drop(stream);
                (took, [least, begun.elapsed()])
            });
            let deadline = Instant::now() + PATIENCE;
            while network::counters()["TcpExt.ListenDrops"] == 0 {
                assert!(Instant::now() < deadline, "no connect is turned away");
                thread::sleep(Duration::from_millis(1));
            }
            let accepted = [(); 2].map(|()| listener.accept().unwrap());
            let times = late.join().unwrap();
            drop(accepted);
            times
        });
        let report = tables.interrupt().report(0);
        account::assert_nothing_lost(&report);
        let service = format!("tcp to {address}");
        let row = row_of(&report, "tcp", &service);
        let connect = Duration::from_nanos(number(&row["connect_ns"]["histogram"], "max"));
        assert!(RESENT_AFTER * 9 / 10 <= connect && connect <= connect_took, "{connect:?} {connect_took:?}");
        let row = row_of(&report, "services", &service);
        let life = Duration::from_nanos(row["life_ns"]["estimate"]["value"].as_f64().unwrap() as u64);
        assert!(
            KEPT <= life && life_least <= life && life <= life_most,
            "{life:?} {life_least:?} {life_most:?}"
        );
        drop(waiting);
    });
}

/// Runs `ip` or `tc`.
#[track_caller]
fn run(program: &str, arguments: &str) {
    let done = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A sender behind a link that drops what it cannot carry.
#[test]
fn retransmits_are_those_that_the_kernel_counts() {
    let Some(_live) = support::live() else { return };
    if !["ip", "tc"].iter().all(|program| Command::new(program).arg("-V").output().is_ok()) {
        testbed::skip::skip("ip and tc (iproute2) are not installed");
        return;
    }
    const BYTES: usize = 3 << 20;
    let (say, hear) = mpsc::channel::<i32>();
    let (say_ready, hear_ready) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            network::alone(move || {
                // SAFETY: a system call without arguments.
                say.send(unsafe { libc::gettid() }).unwrap();
                hear_ready.recv_timeout(PATIENCE).unwrap();
                run("ip", "addr add 10.77.0.2/24 dev v1");
                network::bring_up("v1").unwrap();
                let listener = TcpListener::bind("10.77.0.2:4000").unwrap();
                say.send(0).unwrap();
                let mut stream = accept(&listener);
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                all.len()
            })
        });
        network::alone(move || {
            let there = hear.recv_timeout(PATIENCE).unwrap();
            run("ip", &format!("link add v0 type veth peer name v1 netns {there}"));
            run("ip", "addr add 10.77.0.1/24 dev v0");
            network::bring_up("v0").unwrap();
            run("tc", "qdisc add dev v0 root tbf rate 20mbit burst 5k limit 9k");
            say_ready.send(()).unwrap();
            hear.recv_timeout(PATIENCE).unwrap();
            let (observer, tables) = (observe(&["--every", "100"]), observe_with_tables("sockets"));
            let mut stream = TcpStream::connect("10.77.0.2:4000").unwrap();
            let cookie = network::cookie(stream.as_fd());
            stream.write_all(&vec![7; BYTES]).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while network::queued(stream.as_fd(), libc::TIOCOUTQ) > 0 {
                assert!(Instant::now() < deadline, "it is never all acknowledged");
                thread::sleep(Duration::from_millis(5));
            }
            let again = u64::from(network::tcp_info(stream.as_fd())[info::TOTAL_RETRANSMITS]);
            assert!(again > 0);
            assert_eq!(network::counters()["Tcp.RetransSegs"], again);
            let report = seen(observer);
            nothing_lost(&report);
            let socket = with(&report, "live", cookie);
            let events = number(&socket["events"], "retransmits");
            assert_eq!(number(&socket["state"], "retransmits"), again);
            assert_eq!(number(&socket["retransmits"], "segments"), again);
            assert!(0 < events && events <= again, "{events} times, {again} segments");
            let sent = u64::from(network::tcp_info(stream.as_fd())[info::SEGMENTS_OUT]);
            assert_eq!(number(&socket["retransmits"], "of"), sent);
            let tables = tables.interrupt().report(0);
            account::assert_nothing_lost(&tables);
            let info = network::tcp_info(stream.as_fd());
            let row = row_of(&tables, "tcp", "tcp to 10.77.0.2:4000");
            assert_eq!([exact(&row, "retransmits"), exact(&row, "segments")], [again, sent]);
            assert_eq!(exact(&row, "rtt_min_ns"), 1000 * u64::from(info[info::RTT_MIN]));
            assert_eq!(row["rtt_ns"]["estimate"]["value"], f64::from(info[info::RTT]) * 1e3);
            let row = row_of(&tables, "peers", "tcp to 10.77.0.2:4000");
            assert_eq!(word(row["peer"]), "10.77.0.2");
            assert_eq!([exact(&row, "sent"), exact(&row, "sent_bytes")], [1, BYTES as u64]);
            let row = row_of(&tables, "connections", "tcp to 10.77.0.2:4000");
            let ports = [stream.local_addr().unwrap().port(), 4000].map(u64::from);
            assert_eq!([exact(&row, "local_port"), exact(&row, "remote_port")], ports);
            assert_eq!([exact(&row, "retransmits"), exact(&row, "sent_bytes")], [again, BYTES as u64]);
        });
        assert_eq!(receiver.join().unwrap(), BYTES);
    });
}

/// Datagrams find no room long before the first look at a program. Argument: where the kernel's count is written to.
const DROPS_AT_ONCE: &str = "\
import socket, sys, time
full = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
full.bind(('127.0.0.1', 0))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(500):
    sender.sendto(b'x' * 100, full.getsockname())
port = ':%04X' % full.getsockname()[1]
lines = [line.split() for line in open('/proc/self/net/udp')]
open(sys.argv[1], 'w').write([line[12] for line in lines if line[1].endswith(port)][0])
time.sleep(2.5)
";

#[test]
fn drops_of_a_command_count_from_its_beginning_on() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let drops = folder.path().join("drops");
    let python = ["python3", "-c", DROPS_AT_ONCE, drops.to_str().unwrap()];
    let options = ["sockets", "--max-cost", "off", "--format", "json", "--"];
    let report = Observer::spawn(&[&options[..], &python].concat()).finish(PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    let counted: u64 = rows(&report, "queues").iter().map(|row| exact(row, "dropped")).sum();
    let expected: u64 = std::fs::read_to_string(&drops).unwrap().parse().unwrap();
    assert!(expected > 400, "{expected}");
    assert_eq!(counted, expected);
}

/// Accepts a connection, and gives up in the end: the side that connects may have failed.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("nobody connects: {error}"),
        }
    }
}

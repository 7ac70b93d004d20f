//! What is wrong with the traffic of the example server is the first thing that is said, with the peer, the thread and the function.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::process::Command;
use std::thread;

use serde_json::Value;
use support::account;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};
use support::zone::Zone;

/// A fault: the flag that plants it, for how many seconds the server is observed, the rule that finds it, what the sentence names, and the
/// function that does it, which is on the stack of the row that the finding refers to; empty: it is in another process.
type Fault = (&'static [&'static str], u32, &'static str, &'static [&'static str], &'static str);

/// Those that leave the processors to others.
const QUIET: [Fault; 7] = [
    (&["--chatty"], 6, "sockets.small_sends", &["zone-tick", "32 B"], "send_each_entity_alone"),
    (
        &["--n-plus-one"],
        6,
        "sockets.round_trips",
        &["zone-tick", "24 round trips", "tcp to 127.0.0.1:"],
        "get_items_one_by_one",
    ),
    (&["--small-rcvbuf"], 6, "sockets.overruns", &["datagrams", "9.0 KiB", "A stall explains it"], ""),
    (&["--slow-reader"], 11, "sockets.slow_reader", &["127.0.0.1 port ", "its receive window is closed"], ""),
    (&["--nagle"], 6, "sockets.held_back", &["tcp :", "TCP_NODELAY"], "write_header_then_body"),
    (&["--storm"], 6, "sockets.connection_storm", &["tcp :"], ""),
    (&["--stall-io", "100"], 11, "sockets.late_answers", &["tcp to 127.0.0.1:", "zone-store"], ""),
];

/// It takes a processor for itself.
const BUSY: Fault =
    (&["--busy-poll"], 4, "sockets.polls", &["zone-tick", "find nothing"], "spin_on_the_socket");

fn findings(report: &Value) -> &[Value] {
    account::list(report, "findings")
}

/// Observes the example server for some seconds.
fn observe(flags: &[&str], seconds: u32) -> Value {
    let zone = Zone::start(flags);
    let observer = Observer::attach("sockets", zone.pid(), &["--for", &format!("{seconds}s")]);
    let report = observer.finish(PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    zone.end();
    report
}

fn is_found((flags, seconds, rule, words, function): Fault) {
    let report = observe(flags, seconds);
    let first = &findings(&report)[0];
    let text = first["text"].as_str().unwrap();
    assert_eq!(first["rule"], rule, "{flags:?}: {text}");
    for of in words {
        assert!(text.contains(of), "{flags:?}: {of}: {text}");
    }
    if !function.is_empty() {
        let stack = account::stack_of(&report, &first["rows"][0]);
        assert!(stack.iter().any(|name| name.contains(function)), "{flags:?}: {text} {stack:?}");
    }
}

/// The servers run at the same time: each does nearly nothing.
#[test]
fn each_fault_is_the_first_finding() {
    let Some(_live) = support::live() else { return };
    for _ in 0..support::runs() {
        let checks: Vec<_> = QUIET.map(|fault| (fault, thread::spawn(move || is_found(fault)))).into();
        let wrong: Vec<_> =
            checks.into_iter().filter_map(|((flags, ..), check)| check.join().err().map(|_| flags)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_loop_that_polls_is_the_first_finding() {
    let Some(_live) = support::live() else { return };
    for _ in 0..support::runs() {
        is_found(BUSY);
    }
}

#[test]
fn a_healthy_server_has_no_problem() {
    let Some(_live) = support::live() else { return };
    for _ in 0..support::runs() {
        let report = observe(&[], 6);
        let problems: Vec<&Value> =
            findings(&report).iter().filter(|finding| finding["severity"] == "problem").collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

/// A server that answers in two sends, without `TCP_NODELAY`. Argument: whether the kernel of the peer acknowledges at once.
const ANSWERS_IN_TWO_SENDS: &str = "\
import socket, sys, threading, time
at_once = int(sys.argv[1])
listener = socket.create_server(('127.0.0.1', 0))
def peer():
    with socket.create_connection(listener.getsockname()) as asks:
        while True:
            asks.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, at_once)
            asks.send(b'?')
            got = 0
            while got < 20:
                got += len(asks.recv(20 - got))
                asks.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, at_once)
            # Its next turn.
            time.sleep(0.042 if at_once else 0)
threading.Thread(target=peer, daemon=True).start()
server = listener.accept()[0]
print('READY', flush=True)
while server.recv(1):
    server.send(b'header of ')
    server.send(b'the answer')
";

/// The next request comes when an acknowledgement that is delayed would come, because the peer takes its time.
#[test]
fn a_peer_that_takes_its_time_does_not_hold_sends_back() {
    let Some(_live) = support::live() else { return };
    let held_back = |at_once: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", ANSWERS_IN_TWO_SENDS, at_once]);
        let server = Workload::spawn_command(python);
        let report = Observer::attach("sockets", server.pid(), &["--for", "4s"]).finish(PATIENCE).report(0);
        account::assert_nothing_lost(&report);
        findings(&report).iter().any(|finding| finding["rule"] == "sockets.held_back")
    };
    assert!(!held_back("1"));
    assert!(held_back("0"));
}

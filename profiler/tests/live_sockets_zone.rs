//! What is wrong with the traffic of the example server is the first thing that is said, with the peer, the thread and the function.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::thread;

use serde_json::Value;
use support::account;
use support::observer::Observer;
use support::workload::PATIENCE;
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

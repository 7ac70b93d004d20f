//! What `profiler __sockets` has seen of the sockets of this process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::calls::number;
use super::kernel::{self, Feature};
use super::network;
use super::observer::Observer;
use super::tables::{Row, rows, word};

/// Any port of the loopback interface.
pub(crate) const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Looks at the sockets of this process, from now on.
pub(crate) fn observe(arguments: &[&str]) -> Observer {
    let pid = std::process::id().to_string();
    let mut observer = Observer::spawn(&[&["__sockets", "--pid", &pid], arguments].concat());
    observer.wait_attached();
    observer
}

/// Observes this process with a tool, as users do.
pub(crate) fn observe_with_tables(tool: &str) -> Observer {
    Observer::attach(tool, std::process::id(), &["--stacks", "none", "--show-peers"])
}

/// The only row of a table whose service has this name.
#[track_caller]
pub(crate) fn row_of<'r>(report: &'r Value, table: &str, service: &str) -> Row<'r> {
    let found = rows(report, table);
    let mut of: Vec<_> = found.into_iter().filter(|row| word(row["service"]) == service).collect();
    assert_eq!(of.len(), 1, "{table} of {service}: {of:#?}");
    of.remove(0)
}

/// Ends it. Every hit is accounted for.
#[track_caller]
pub(crate) fn seen(observer: Observer) -> Value {
    let outcome = observer.interrupt();
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    for (probe, counts) in report["ledger"].as_object().unwrap() {
        assert_eq!(counts["unaccounted"], 0, "{probe}: {counts}");
    }
    report
}

/// No socket was without room.
#[track_caller]
pub(crate) fn nothing_lost(report: &Value) {
    for (probe, counts) in report["ledger"].as_object().unwrap() {
        assert_eq!(counts["lost"], 0, "{probe}: {counts}");
    }
}

/// Whether the report knows something that takes a feature of the kernel. It does on every kernel that has the feature, and on
/// others says that it does not.
#[track_caller]
pub(crate) fn knows(report: &Value, what: &str, takes: Feature) -> bool {
    let lack = lack(report, what);
    let reason = lack.map(|lack| lack[1].as_str().unwrap());
    assert_eq!(lack.is_none(), kernel::has(takes), "{what}: {takes:?}: {reason:?}");
    assert!(reason.is_none_or(|reason| reason.contains("kernel")), "{what}: {reason:?}");
    lack.is_none()
}

/// What the report says of something that it does not know.
pub(crate) fn lack<'r>(report: &'r Value, what: &str) -> Option<&'r Value> {
    let lacks = report["lacks"].as_array().unwrap();
    lacks.iter().find(|lack| lack[0].as_str().unwrap().contains(what))
}

/// The only socket with a cookie, in a list of a report.
#[track_caller]
pub(crate) fn with<'r>(report: &'r Value, list: &str, cookie: u64) -> &'r Value {
    let found: Vec<_> =
        report[list].as_array().unwrap().iter().filter(|socket| number(socket, "cookie") == cookie).collect();
    let [socket] = found[..] else { panic!("{} sockets with cookie {cookie}: {report:#}", found.len()) };
    socket
}

/// A socket that is open, as the report has it.
#[track_caller]
pub(crate) fn live(report: &Value, socket: impl AsFd) -> &Value {
    with(report, "live", network::cookie(socket.as_fd()))
}

/// A connection between two sockets of this process.
pub(crate) fn connected() -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind(LOCAL).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (listener, client, server)
}

/// Sends, waits, and reads, again and again. Returns the sums of the shortest and the longest time that can have passed in between.
pub(crate) fn ages(times: u32, mut send: impl FnMut(), mut receive: impl FnMut()) -> (Duration, Duration) {
    let (mut least, mut most) = (Duration::ZERO, Duration::ZERO);
    for turn in 0..times {
        let before = Instant::now();
        send();
        let sent = Instant::now();
        // The wait is what is measured.
        thread::sleep(Duration::from_millis(u64::from(turn % 3)));
        least += sent.elapsed();
        receive();
        most += before.elapsed();
    }
    (least, most)
}

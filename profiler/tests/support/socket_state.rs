//! What `profiler __sockets` has seen of the sockets of this process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use serde_json::Value;

use super::calls::number;
use super::network;
use super::observer::Observer;

/// Any port of the loopback interface.
pub(crate) const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Looks at the sockets of this process, from now on.
pub(crate) fn observe(arguments: &[&str]) -> Observer {
    let pid = std::process::id().to_string();
    let mut observer = Observer::spawn(&[&["__sockets", "--pid", &pid], arguments].concat());
    observer.wait_attached();
    observer
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

/// Whether the report says that something is not known on this kernel, and that it has no tracepoint for it.
pub(crate) fn lacks(report: &Value, what: &str) -> bool {
    let lacks = report["lacks"].as_array().unwrap();
    let lack = lacks.iter().find(|lack| lack[0].as_str().unwrap().contains(what));
    if let Some(lack) = lack {
        testbed::skip::kernel_has_no(&format!("{what}: {}", lack[1].as_str().unwrap()));
    }
    lack.is_some()
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

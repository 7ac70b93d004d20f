//! What threads send and receive is counted exactly, for the service that it belongs to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::process::Command;

use profiler_common::sockets::AWAITED_SENDS;
use serde_json::Value;
use support::account;
use support::books;
use support::calls::number;
use support::compile::Build;
use support::observer::Observer;
use support::tables::{Row, exact, rows, word};
use support::workload::{PATIENCE, Workload};
use testbed::skip::kernel_has_no;

/// What the books and the report both have of a service.
const COLUMNS: [&str; 13] = [
    "operations",
    "received",
    "received_bytes",
    "sent",
    "sent_bytes",
    "accepted",
    "connected",
    "peeks",
    "not_ready",
    "errors",
    "connections",
    "open",
    "answers",
];

/// By service: the values of these columns.
type Services = BTreeMap<String, BTreeMap<&'static str, u64>>;

fn of_books(books: &Value) -> Services {
    let service = |of: &Value| {
        let values = COLUMNS.map(|column| (column, number(of, column)));
        (of["service"].as_str().unwrap().to_owned(), values.into())
    };
    account::list(books, "services").iter().map(service).collect()
}

/// The values of these columns of a table, by the name in column `key`, of the rows that `is_of` takes.
fn table(
    report: &Value,
    name: &str,
    key: &str,
    columns: &[&'static str],
    is_of: impl Fn(&Row<'_>) -> bool,
) -> Services {
    let values = |row: &Row<'_>| columns.iter().map(|column| (*column, exact(row, column))).collect();
    let all = rows(report, name);
    all.iter().filter(|row| is_of(row)).map(|row| (word(row[key]).to_owned(), values(row))).collect()
}

/// The rows of the table of services. A service that is not known has its reason in place of its name.
fn of_report(report: &Value) -> Services {
    table(report, "services", "service", &COLUMNS, |_| true)
}

/// Counts what a workload does in a folder. Returns its books and the report.
fn observe(source: &str, arguments: &[&str]) -> (Value, Value) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    books::of_run("sockets", source, &[&[directory], arguments].concat())
}

/// Counts what a workload does. Returns its books and the report.
fn run(source: &str) -> (Value, Value) {
    books::of_run("sockets", source, &[] as &[&str])
}

/// The books and the report have the same services with the same values.
fn assert_same(books: &Value, report: &Value) {
    let (expected, found) = (of_books(books), of_report(report));
    for (service, values) in &expected {
        assert_eq!(found.get(service), Some(values), "{service}: {found:#?}");
    }
    let more: Vec<&String> = found.keys().filter(|service| !expected.contains_key(*service)).collect();
    assert!(more.is_empty(), "{more:?}");
}

#[test]
fn every_message_and_byte_counts_once_for_its_service() {
    let Some(_live) = support::live() else { return };
    let (books, report) = observe("sockets.c", &[]);
    assert_same(&books, &report);
}

/// Whether the thread itself moves them, a worker of the kernel, or whoever brings what was waited for.
#[test]
fn operations_through_a_ring_count_for_their_service() {
    let Some(_live) = support::live() else { return };
    let (books, report) = observe("sockets_ring.c", &[]);
    if books["errno"] != 0 {
        kernel_has_no(&format!("io_uring for this process: {books}"));
        return;
    }
    assert_same(&books, &report);
}

/// Another thread gives the descriptor to other sockets all the time: a send is counted for the socket that it went to, or for none.
#[test]
fn sends_on_a_descriptor_that_changes_are_never_counted_for_another_socket() {
    let Some(_live) = support::live() else { return };
    let (books, report) = observe("sockets.c", &["--race"]);
    let found = of_report(&report);
    let sent = |service: &str| found.get(service).map_or(0, |values| values["sent"]);
    let all: u64 = found.values().map(|values| values["sent"]).sum();
    assert_eq!(all, number(&books, "sends"), "{found:#?}");
    let arrived: Vec<u64> =
        account::list(&books, "arrived").iter().map(|count| count.as_u64().unwrap()).collect();
    assert!(sent("unix without a name") <= arrived[0], "{books} {found:#?}");
    assert!(sent("unix packets without a name") <= arrived[1], "{books} {found:#?}");
    assert!(arrived.iter().all(|count| *count > 0), "the descriptor has changed: {books}");
}

/// A socket without a peer: each datagram counts for the address that it came from or went to, however it was received or sent.
#[test]
fn datagrams_count_for_the_address_of_the_other_side() {
    const MOVED: [&str; 5] = ["received", "received_bytes", "sent", "sent_bytes", "ports"];
    let Some(_live) = support::live() else { return };
    let (books, report) = run("datagrams.c");
    let expected: Services = account::list(&books, "peers")
        .iter()
        .map(|of| {
            (of["peer"].as_str().unwrap().to_owned(), MOVED.map(|column| (column, number(of, column))).into())
        })
        .collect();
    let is_servers = |row: &Row<'_>| row["service"]["name"] == "udp, ports that the kernel chose";
    assert_eq!(table(&report, "peers", "peer", &MOVED, is_servers), expected);
    let sections = account::list(&report, "sections");
    let notes = &sections.iter().find(|section| section["name"] == "peers").unwrap()["notes"];
    assert!(notes.to_string().contains("1 datagram is in no row"), "{notes}");
}

/// Whether a thread waits for the connect, it is under way, or the program has given it up.
#[test]
fn connects_that_nobody_answers_are_found() {
    let Some(_live) = support::live() else { return };
    let (books, report) = run("connects.c");
    let service = format!("tcp to 127.0.0.1:{}", books["port"]);
    let tcp = table(&report, "tcp", "service", &["attempts", "unanswered"], |row| {
        row["service"]["name"] == *service
    });
    let expected = ["attempts", "unanswered"].map(|column| (column, number(&books, column)));
    assert_eq!(tcp[&service], expected.into(), "{tcp:#?}");
    // Why that is comes first: it is the backlog of this process itself.
    let [why, what, ..] = account::list(&report, "findings") else { panic!("{report:#}") };
    assert_eq!([&why["rule"], &what["rule"]], ["sockets.not_taken", "sockets.unanswered_connects"]);
    let text = what["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("3 connects on {service} got no answer, the longest for ")), "{text}");
    let text = why["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("tcp :{} did not take new connections", books["port"])), "{text}");
}

/// A thread does not wait for an answer to what it writes to a log, so its turns end all the same.
#[test]
fn a_log_does_not_hide_round_trips() {
    let Some(_live) = support::live() else { return };
    let (books, report) = run("asks.c");
    // Without those before, in which the log might have answered yet.
    let turns = number(&books, "turns") - AWAITED_SENDS;
    assert_round_trips(&books, &report, turns - 2..=turns + 1);
}

/// Nor does what it sends while another thread receives the answers.
#[test]
fn answers_that_another_thread_receives_do_not_hide_round_trips() {
    let Some(_live) = support::live() else { return };
    let (books, report) = books::of_run("sockets", "asks.c", &["--reader"]);
    let turns = number(&books, "turns");
    assert_round_trips(&books, &report, turns - 2..=turns);
}

/// The first finding are the round trips of `asks.c`, in so many turns.
#[track_caller]
fn assert_round_trips(books: &Value, report: &Value, turns: RangeInclusive<u64>) {
    let first = &account::list(report, "findings")[0];
    assert_eq!(first["rule"], "sockets.round_trips", "{first:#}");
    let of = |name: &str| {
        let evidence = account::list(first, "evidence");
        let found = evidence.iter().find(|of| of["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {first:#}"))["value"]["exact"].as_u64().unwrap()
    };
    assert!(turns.contains(&of("turns")), "{first:#}");
    assert_eq!(of("most_answers"), number(books, "asks"));
    assert_eq!(of("answers"), of("turns") * number(books, "asks"));
}

/// Both sides of a connection know that it was reset.
#[test]
fn resets_count_for_the_side_that_sends_them_and_the_other() {
    let Some(_live) = support::live() else { return };
    let (books, report) = run("resets.c");
    let (called, served) = (format!("tcp to 127.0.0.1:{}", books["port"]), format!("tcp :{}", books["port"]));
    let found = table(&report, "tcp", "service", &["resets_sent", "resets_received"], |_| true);
    let expected = |sent: &str, received: &str| {
        [("resets_sent", number(&books, sent)), ("resets_received", number(&books, received))].into()
    };
    assert_eq!(found.get(&called), Some(&expected("by_client", "by_server")), "{found:#?}");
    assert_eq!(found.get(&served), Some(&expected("by_server", "by_client")), "{found:#?}");
}

/// One call that receives more messages than one can send, reads of the error queue, connections that are reset before they are accepted, connects
/// that are refused at once, and a socket that changes its peer.
#[test]
fn rare_uses_of_sockets_are_counted_correctly() {
    let Some(_live) = support::live() else { return };
    let (books, report) = run("edges.c");
    let columns = ["received", "received_bytes", "sent", "accepted", "connected", "peeks"];
    let mut found = table(&report, "services", "service", &columns, |_| true);
    let mut expected = |service: &str, values: [u64; 6]| {
        let of = found.remove(service).unwrap_or_else(|| panic!("no {service}"));
        assert_eq!(columns.map(|column| of[column]), values, "{service}");
    };
    let [datagrams, bytes, refused, resets, nobody] =
        ["datagrams", "bytes", "refused", "resets", "nobody"].map(|name| number(&books, name));
    // Both ends of the datagrams, and what is sent to nobody.
    expected("udp, ports that the kernel chose", [datagrams, bytes, refused, 0, 0, refused]);
    expected(&format!("udp to 127.0.0.1:{}", books["datagrams_port"]), [0, 0, datagrams, 0, 1, 0]);
    expected(&format!("tcp :{}", books["gone_port"]), [0, 0, 0, resets, 0, 0]);
    expected(&format!("tcp to 127.0.0.1:{}", books["gone_port"]), [0, 0, 0, 0, resets, 0]);
    // Each has begun, as far as the call knows.
    expected(&format!("tcp to 127.0.0.1:{}", books["nobody_port"]), [0, 0, 0, 0, nobody, 0]);
    // One socket, which is of no single peer.
    for last in [2, 3] {
        expected(&format!("udp to 127.0.0.{last}:47"), [0, 0, last, 0, 1, 0]);
    }
    let connections = rows(&report, "connections");
    let several = connections.iter().find(|row| row["sent"]["exact"] == 2 + 3).unwrap();
    assert_eq!(word(several["peer"]), "it was connected to several addresses in turn");
    let is_of = |row: &Row<'_>| word(row["peer"]).starts_with("127.0.0.") && word(row["peer"]) != "127.0.0.1";
    assert!(!rows(&report, "peers").iter().any(is_of));
    // It calls, although the program has waited for connections on its port before.
    expected(&format!("tcp to 127.0.0.1:{}", books["called_port"]), [0, 0, 1, 0, 1, 0]);
    expected(&format!("tcp :{}", books["served_port"]), [0; 6]);
    // It was closed without a peer.
    expected("tcp, not connected", [0; 6]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_command_does_not_have_the_socket_by_which_it_is_started() {
    let Some(_live) = support::live() else { return };
    let observer = Observer::spawn(&["sockets", "--format", "json", "--", "true"]);
    let report = observer.finish(PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    assert!(rows(&report, "queues").is_empty(), "{:#?}", rows(&report, "queues"));
}

/// Two processes in network namespaces of their own, neither of which is that of profiler.
#[test]
fn processes_in_other_network_namespaces_have_services_of_their_own() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("asks.c").build();
    let mut targets = [(); 2].map(|()| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\""]).arg(&program);
        Workload::spawn_command(command)
    });
    let [first, second] = targets.each_ref().map(Workload::pid);
    let observer = Observer::attach("sockets", first, &["--pid", &second.to_string(), "--stacks", "none"]);
    targets.iter_mut().for_each(|target| target.say("go"));
    let books = targets.each_mut().map(Workload::books);
    targets.iter_mut().for_each(|target| drop(target.expect_line("DONE", PATIENCE)));
    let report = observer.interrupt().report(0);
    for mut target in targets {
        target.say("quit");
        target.quit();
    }
    account::assert_nothing_lost(&report);
    for (pid, books) in [first, second].into_iter().zip(&books) {
        let asks = number(books, "turns") * number(books, "asks");
        let (asked, logged) = (
            format!("tcp to 127.0.0.1:{}", books["port"]),
            format!("tcp to 127.0.0.1:{}", books["log_port"]),
        );
        let found = table(&report, "services", "service", &["sent", "received", "answers"], |row| {
            row["pid"]["exact"] == pid
        });
        assert_eq!(
            found[&asked],
            [("sent", asks), ("received", asks), ("answers", asks)].into(),
            "{found:#?}"
        );
        let lines = number(books, "turns");
        assert_eq!(found[&logged], [("sent", lines), ("received", 0), ("answers", 0)].into(), "{found:#?}");
    }
}

/// From the end of the send to the end of the receive. The program itself begins to wait before the send, and the server may have begun to work before
/// the send has ended.
#[test]
fn answers_take_as_long_as_the_program_waits() {
    let Some(_live) = support::live() else { return };
    let (books, report) = run("asks.c");
    let found = table(&report, "operations", "operation", &["operations", "total_ns", "max_ns"], |_| true);
    let of = &found["wait for answer"];
    assert_eq!(of["operations"], number(&books, "turns") * number(&books, "asks"));
    let range = number(&books, "server_ns") / 2..=number(&books, "waited_ns");
    assert!(range.contains(&of["total_ns"]), "{of:?} {books}");
    assert!(of["max_ns"] <= number(&books, "longest_ns"), "{of:?} {books}");
}

/// One that the kernel begins again counts once, from its first beginning; one that ends fails. A handler may make calls of its own meanwhile.
#[test]
fn receives_that_signals_interrupt_count_once() {
    let Some(_live) = support::live() else { return };
    let (books, report) = run("interrupted.c");
    assert_same(&books, &report);
    let found = table(&report, "operations", "operation", &["errors", "total_ns"], |_| true);
    let of = &found["receive"];
    assert_eq!(of["errors"], number(&books, "interrupted"));
    let range = number(&books, "least_ns")..=number(&books, "most_ns");
    assert!(range.contains(&of["total_ns"]), "{of:?} {books}");
}

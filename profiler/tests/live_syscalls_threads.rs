//! System calls of threads that come and go, of handlers that jump, and of io_uring; reports of threads that never rest.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use support::calls::{self, number};
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};
use testbed::skip::kernel_has_no;

const FUTEX: u64 = 202;
const GETPPID: u64 = 110;
const GETRANDOM: u64 = 318;
const READ: u64 = 0;
const WRITE: u64 = 1;
/// Cells of threads, unless a test wants fewer.
const MAX_CELLS: usize = 4096;

/// Runs the workload under observation up to its end: its books, and what was counted, with every hit accounted for and none lost.
#[track_caller]
fn observe(source: &str, workload: &[&str], arguments: &[&str], ends: bool) -> (Value, Value) {
    let program = Build::c(source).flags(&["-pthread"]).build();
    let mut target = Workload::spawn(&program, workload);
    let observer = calls::count(&target.pid_argument(), arguments);
    target.say("go");
    let books = target.expect_line("{", PATIENCE);
    target.expect_line("DONE", PATIENCE);
    let counted = if ends {
        target.quit();
        calls::counted(observer)
    } else {
        let counted = calls::counted(observer);
        target.quit();
        counted
    };
    (serde_json::from_str(&books).unwrap(), counted)
}

/// A server with a thread for each connection: what they did is exact and under their names, however many there were, and they give
/// their room back.
#[test]
fn ten_thousand_short_threads_count_by_name() {
    let Some(_live) = support::live() else { return };
    let threads = support::by_length("1008", "10000", "10000");
    for arguments in
        [[].as_slice(), &["--threads", "100", "--cells", "200"], &["--slots", "1", "--cells", "200"]]
    {
        let (books, counted) = observe("many_calls.c", &["short", threads], arguments, true);
        let mut calls: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        let mut errors: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for cell in counted["cells"].as_array().unwrap() {
            let name = cell["comm"].as_str().unwrap();
            let over = ["count", "ended", "under_way"].map(|field| number(cell, field)).iter().sum::<u64>();
            *calls.entry((name, number(cell, "call"))).or_default() += over;
            for (error, count) in cell["errors"].as_object().unwrap() {
                *errors.entry((name, error)).or_default() += count.as_u64().unwrap();
            }
        }
        for name in ["task", "conn"] {
            let threads = number(&books, name);
            for (call, times) in [(GETPPID, 3), (READ, 1), (FUTEX, 5), (GETRANDOM, 1)] {
                assert!(calls[&(name, call)] >= times * threads, "{name} {call}: {calls:?} {arguments:?}");
            }
            // Nothing but the workload itself makes these.
            for (call, times) in [(GETPPID, 3), (GETRANDOM, 1)] {
                assert_eq!(calls[&(name, call)], times * threads, "{name} {call}: {calls:?} {arguments:?}");
            }
            assert_eq!(errors[&(name, "9")], threads, "{errors:?} {arguments:?}");
        }
        assert_eq!(counted["entered_threads"], 0, "all have left the filter");
        let own = counted["cells"].as_array().unwrap().iter().filter(|cell| cell["tid"] != 0).count();
        // Half of the room at most, and the cells of the threads that run at a time.
        assert!(own <= MAX_CELLS / 2 + 17 * 6, "{own}");
    }
}

/// What is slow is chosen once a second. A burst within that second takes few stacks; every slow call beyond counts as one without.
#[test]
fn a_burst_of_slow_calls_takes_few_stacks() {
    let Some(_live) = support::live() else { return };
    const MOST_OF_A_SECOND: u64 = 2 * 100;
    let begun = std::time::Instant::now();
    // Every call is slow.
    let (_, counted) =
        observe("many_calls.c", &["short", "1008"], &["--stacks", "slow", "--slow", "1"], true);
    let seconds = begun.elapsed().as_secs() + 2;
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let taken: u64 =
        counted["callers"].as_array().unwrap().iter().map(|caller| number(caller, "count")).sum();
    let ledger = &counted["ledger"]["sys_exit"];
    let spared = number(ledger, "slow_call_without_stack");
    assert!((1..=seconds * cpus * MOST_OF_A_SECOND).contains(&taken), "{taken} in {seconds} s: {ledger}");
    assert!(spared > taken, "{taken}: {ledger}");
    // Each was sent, if there was room for it.
    let sent = counted["slow"].as_array().unwrap().len() as u64 + number(ledger, "slow_call_not_listed");
    assert_eq!(taken + spared, sent, "{ledger}");
}

/// A handler that a program leaves by a jump: the call that it interrupted is over, and the same call from the same place is another.
#[test]
fn a_call_whose_handler_jumped_out_is_not_continued() {
    let Some(_live) = support::live() else { return };
    const BLOCKED_NS: u64 = 60_000_000;
    let (books, counted) = observe("many_calls.c", &["jump"], &[], false);
    let (left, returned) = (number(&books, "left"), number(&books, "returned"));
    assert!(left > 0 && left == returned, "{books}");
    let ledger = &counted["ledger"]["sys_enter"];
    assert_eq!(number(ledger, "abandoned"), left, "{ledger}");
    let read = counted["cells"].as_array().unwrap().iter().find(|cell| cell["call"] == READ).unwrap();
    // The rest of `go`, of which the first byte was under way.
    assert_eq!((number(read, "count"), number(read, "under_way")), (returned + 2, 1), "{read}");
    if support::by_length(false, true, true) {
        assert!(number(read, "max_ns") < BLOCKED_NS / 2, "{read}");
    }
}

/// A server that starts a program for each match: what came and went leaves room for what comes. A program that comes late is told apart.
#[test]
fn children_that_become_other_programs_give_their_room_back() {
    let Some(_live) = support::live() else { return };
    let children = support::by_length("307", "1009", "4001");
    let few = ["--children", "--threads", "100", "--cells", "200"];
    let (books, counted) = observe("many_calls.c", &["exec", children], &few, false);
    let children = number(&books, "children");
    let cells = counted["cells"].as_array().unwrap();
    let late: Vec<_> =
        cells.iter().filter(|cell| cell["comm"] == "late" && cell["call"] == GETPPID).collect();
    let [late] = late.as_slice() else { panic!("{late:?}") };
    assert_eq!(number(late, "count"), 11);
    // What the program became last found room of its own.
    let writes = cells.iter().filter(|cell| cell["call"] == WRITE && cell["tid"] != 0 && cell["space"] != 0);
    assert!(writes.count() > 0, "{counted}");
    let own = cells.iter().filter(|cell| cell["tid"] != 0).count();
    // Half of the room, and what one child and the server take.
    assert!(own < 160, "{own}");
    let made = cells.iter().filter(|cell| cell["call"] == GETPPID).map(|cell| number(cell, "count"));
    assert_eq!(made.sum::<u64>(), 3 * children + 11);
    // The read in which the program became another one.
    assert_eq!(number(&counted["ledger"]["sys_enter"], "abandoned"), 1, "{}", counted["ledger"]);
}

/// The same in a report: all children that have ended have one row for each call.
#[test]
fn many_children_of_a_server_are_in_one_row() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("many_calls.c").flags(&["-pthread"]).build();
    let children = support::by_length("53", "307", "4001");
    let mut target = Workload::spawn(&program, &["exec", children]);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&["syscalls", "--format", "json", "--children", "--pid", &pid]);
    observer.wait_attached();
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.quit();
    let calls = report["sections"].as_array().unwrap().iter().find(|s| s["name"] == "calls").unwrap();
    let column =
        |name: &str| calls["columns"].as_array().unwrap().iter().position(|c| c["name"] == name).unwrap();
    let (whose, call, count) = (column("pid"), column("call"), column("calls"));
    let rows = calls["rows"].as_array().unwrap().iter().map(|row| &row["cells"]);
    let of_children = serde_json::json!({ "word": format!("children of {pid}") });
    let made: BTreeMap<String, u64> = rows
        .filter(|cells| cells[call] == serde_json::json!({ "word": "getppid" }))
        .map(|cells| {
            let whose = if cells[whose] == of_children { "children" } else { "server" };
            (whose.to_owned(), cells[count]["exact"].as_u64().unwrap())
        })
        .collect();
    let children: u64 = children.parse().unwrap();
    assert_eq!(made, BTreeMap::from([("children".to_owned(), 3 * children), ("server".to_owned(), 11)]));
    assert_eq!(report["coverage"]["complete"], true, "{}", report["coverage"]);
}

/// Programs are attached one after another. What threads do until the last one is does not count.
#[test]
fn calls_before_the_start_do_not_count() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("many_calls.c").flags(&["-pthread"]).build();
    let mut target = Workload::spawn(&program, &["busy"]);
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let mut observer = Observer::spawn(&["__calls", "--pid", &target.pid_argument()]);
    observer.wait_attached();
    let outcome = observer.interrupt();
    target.quit();
    let counted: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let cells = counted["cells"].as_array().unwrap();
    let sum = |field: &str| cells.iter().map(|cell| number(cell, field)).sum::<u64>();
    assert!(sum("count") > 0, "{counted}");
    assert_eq!(sum("refused"), 0, "{counted}");
    assert!(sum("under_way") <= 9, "one for each thread: {counted}");
}

/// System calls do not show what goes through a ring of io_uring: its own tracepoints do.
#[test]
fn operations_of_io_uring_count() {
    let Some(_live) = support::live() else { return };
    let _ = operations_of_io_uring(&[]);
}

/// The kernel makes workers for a ring, which end like threads. Threads that get their kernel stacks after them count.
#[test]
fn workers_of_io_uring_hide_no_thread() {
    let Some(_live) = support::live() else { return };
    let Some((books, counted)) = operations_of_io_uring(&["workers"]) else { return };
    assert!(number(&books, "workers") > 0, "{books}");
    let cells = counted["cells"].as_array().unwrap().iter().filter(|cell| cell["call"] == GETPPID);
    assert_eq!(cells.map(|cell| number(cell, "count")).sum::<u64>(), 64 * 7, "{counted}");
    let there = 1 + number(&books, "kept");
    assert_eq!(counted["entered_threads"], there, "the first thread, and workers that the kernel keeps");
}

/// Counts the operations of the workload; `None` if the kernel gives it no ring.
fn operations_of_io_uring(how: &[&str]) -> Option<(Value, Value)> {
    let (books, counted) = observe("uring.c", how, &[], false);
    if books["errno"] != 0 {
        kernel_has_no(&format!("io_uring for this process: {books}"));
        return None;
    }
    assert_eq!(counted["uring"], books["uring"]);
    Some((books, counted))
}

/// When single calls began, by thread, call and duration, in one report. Two calls of a thread may take equally long.
fn beginnings(report: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let sections = report["sections"].as_array().unwrap();
    let Some(slow) = sections.iter().find(|section| section["name"] == "slow") else {
        return BTreeMap::new();
    };
    let column = |name: &str| {
        let columns = slow["columns"].as_array().unwrap();
        columns.iter().position(|column| column["name"] == name).unwrap()
    };
    let key = ["tid", "call", "duration_ns"].map(column);
    let start = column("start_ns");
    let rows = slow["rows"].as_array().unwrap().iter().map(|row| &row["cells"]);
    let mut began: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for cells in rows {
        let call = key.map(|at| cells[at].to_string()).concat();
        began.entry(call).or_default().insert(cells[start].to_string());
    }
    began
}

/// In reports of threads that are always between two calls, hits are what became of them, and histograms are sound. A single call has the
/// same key in each.
#[test]
fn interim_reports_account_for_every_hit() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("many_calls.c").flags(&["-pthread"]).build();
    let mut target = Workload::spawn(&program, &["busy"]);
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    for stacks in ["none", "slow"] {
        let pid = target.pid_argument();
        let how = ["syscalls", "--format", "json", "--stacks", stacks, "--every", "100ms", "--for", "1s"];
        // These threads do nothing but system calls.
        let how = [how.as_slice(), &["--slow", "50us", "--max-cost", "off"]].concat();
        let outcome = Observer::spawn(&[how, vec!["--pid", &pid]].concat()).finish(PATIENCE);
        assert!(outcome.status.success(), "{}", outcome.stderr);
        let (mut reports, mut again) = (0, 0);
        let mut before = BTreeMap::new();
        for report in serde_json::Deserializer::from_slice(&outcome.stdout).into_iter::<Value>() {
            let report = report.unwrap();
            reports += 1;
            for ledger in report["coverage"]["ledger"].as_array().unwrap() {
                assert!(number(ledger, "hits") > 0, "{ledger}");
                assert_eq!(ledger["unaccounted"], 0, "report {reports}: {ledger}");
            }
            assert_eq!(report["coverage"]["complete"], true, "{}", report["coverage"]);
            for (call, start) in beginnings(&report) {
                if let Some(known) = before.insert(call, start.clone()) {
                    assert!(!start.is_disjoint(&known), "{start:?} {known:?}");
                    again += 1;
                }
            }
            let report: profiler::report::Report = serde_json::from_value(report).unwrap();
            report.check().unwrap_or_else(|defect| panic!("report {reports}: {defect}"));
        }
        assert!(reports >= 5 && again > 0, "{reports} {again}");
    }
    target.quit();
}

/// Reports without a call that returned, with rates below and above 10, and with all of them have the same fields.
#[test]
fn interim_reports_in_csv_have_one_header() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("many_calls.c").flags(&["-pthread"]).build(), &["busy"]);
    let pid = target.pid_argument();
    let how =
        ["syscalls", "--format", "csv", "--every", "200ms", "--for", "2s", "--max-cost", "off", "--pid"];
    let observer = Observer::spawn(&[how.as_slice(), &[&pid]].concat());
    std::thread::sleep(Duration::from_secs(2));
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let outcome = observer.finish(PATIENCE);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let text = String::from_utf8_lossy(&outcome.stdout);
    let headers: Vec<&str> = text.lines().filter(|line| line.starts_with("length_ms,")).collect();
    assert_eq!(headers.len(), 1, "{text}");
    assert!(
        headers[0].contains(",calls_per_s,") && headers[0].contains(",duration_p99_ns,"),
        "{}",
        headers[0]
    );
    assert!(!headers[0].contains("_low"), "{}", headers[0]);
    target.quit();
}

//! Very many connections, sockets, files and threads, the longest path, and closed standard streams: everything counts, and what profiler
//! needs is bounded.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use profiler::text::Text;
use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::{Observer, program};
use support::tables::{exact, rows, word};
use support::workload::Workload;

/// Many of anything, as the workload has it.
const MANY: u64 = 100_000;
/// Threads, as the workload has them.
const THREADS: u64 = 1_000;
/// Sockets that are open at the same time, as the workload has them: more than there is room for.
const SOCKETS: u64 = 70_000;
/// Most memory of profiler, in bytes, with all that it shows.
const MOST_MEMORY: u64 = 512 << 20;
/// Rows of a table, with what is put together in a few more.
const MOST_ROWS: usize = 5_100;

/// Observes the workload while it does what this word asks for.
fn observe(tool: &str, word: &str) -> Value {
    observe_in(tempfile::tempdir_in("/dev/shm").unwrap().path(), tool, word)
}

/// The same in a directory.
fn observe_in(folder: &Path, tool: &str, word: &str) -> Value {
    let mut target = Workload::spawn(&Build::c("many.c").build(), &[folder]);
    let observer = Observer::attach(tool, target.pid(), &["--stacks", "none", "--children"]);
    target.say(word);
    target.expect_line("DONE", Duration::from_secs(120));
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    account::assert_all_accounted(&report);
    let memory = report["meta"]["cost"]["own_memory_bytes"].as_u64().unwrap();
    assert!(memory < MOST_MEMORY, "{} MiB", memory >> 20);
    for section in account::list(&report, "sections") {
        let rows = account::list(section, "rows").len();
        assert!(rows < MOST_ROWS, "{rows} rows: {}", section["name"]);
    }
    report
}

/// The sum of a column of a table, over the rows with this word in another column; with none, over all.
fn sum(report: &Value, section: &str, column: &str, of: Option<(&str, &str)>) -> u64 {
    let rows = rows(report, section);
    let of = rows.iter().filter(|row| of.is_none_or(|(column, word)| row[column]["word"] == word));
    of.map(|row| exact(row, column)).sum()
}

#[test]
fn very_many_connections_count_and_take_bounded_room() {
    let Some(_live) = support::live() else { return };
    let report = observe("sockets", "connections");
    account::assert_nothing_lost(&report);
    for column in ["accepted", "connected", "received", "sent", "received_bytes", "sent_bytes"] {
        assert_eq!(sum(&report, "services", column, None), MANY, "{column}");
    }
    assert_eq!(sum(&report, "services", "connections", None), 2 * MANY, "both ends");
    assert_eq!(sum(&report, "tcp", "attempts", None), MANY);
}

#[test]
fn very_many_files_and_threads_count_and_take_bounded_room() {
    let Some(_live) = support::live() else { return };
    let report = observe("disk", "files");
    account::assert_nothing_lost(&report);
    for operation in ["open", "write", "unlink"] {
        let of = Some(("operation", operation));
        assert_eq!(sum(&report, "files", "operations", of), MANY, "{operation} by file");
        assert_eq!(sum(&report, "operations", "operations", of), MANY, "{operation}");
        let threads = rows(&report, "threads");
        let names = threads.iter().filter(|row| row["operation"]["word"] == operation);
        let each: Vec<_> = names.map(|row| (word(row["thread"]), exact(row, "operations"))).collect();
        let expected = (0..THREADS).map(|number| (format!("worker-{number:03}"), MANY / THREADS));
        let missing: Vec<_> =
            expected.filter(|(name, count)| !each.contains(&(name.as_str(), *count))).collect();
        assert!(missing.is_empty() && each.len() == THREADS as usize, "{operation}: {missing:?}");
    }
    assert_eq!(sum(&report, "operations", "moved_bytes", Some(("operation", "write"))), 7 * MANY);
}

#[test]
fn sockets_that_find_no_room_count_too() {
    let Some(_live) = support::live() else { return };
    let report = observe("sockets", "open");
    for column in ["received", "sent", "received_bytes", "sent_bytes"] {
        assert_eq!(sum(&report, "services", column, None), SOCKETS, "{column}");
    }
}

#[test]
fn the_longest_path_is_shown_whole() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let report = observe_in(folder.path(), "disk", "deep");
    account::assert_nothing_lost(&report);
    let rows = rows(&report, "files");
    let row = rows.iter().find(|row| row["operation"]["word"] == "write").unwrap();
    assert_eq!(exact(row, "operations"), 11);
    assert_eq!(exact(row, "moved_bytes"), 7 * 11);
    let mut path = folder.path().to_owned();
    while path.is_dir() {
        path = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    }
    assert_eq!(path.as_os_str().len(), 4_095);
    assert_eq!(row["file"]["name"], serde_json::to_value(Text::new(path.as_os_str().as_bytes())).unwrap());
}

/// What profiler opens first then has the numbers 0, 1 and 2.
#[test]
fn closed_standard_streams_lose_nothing() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut target = Workload::spawn(&Build::c("many.c").build(), &[folder.path()]);
    for (tool, word, operations) in
        [("disk", "files", "moved_bytes"), ("sockets", "connections", "sent_bytes")]
    {
        let file = folder.path().join("report.json");
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"]).arg(program());
        command
            .args([tool, "--max-cost", "off", "--for", "2s", "--pid", &target.pid().to_string(), "-o"])
            .arg(&file);
        let mut observer = command.spawn().unwrap();
        let status = loop {
            target.say(word);
            target.expect_line("DONE", Duration::from_secs(120));
            if let Some(status) = observer.try_wait().unwrap() {
                break status;
            }
        };
        assert!(status.success(), "{tool}: {status}");
        let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        account::assert_nothing_lost(&report);
        let section = if tool == "disk" { "files" } else { "services" };
        assert!(sum(&report, section, operations, None) > 0, "{tool} has counted nothing");
    }
    target.say("quit");
    target.quit();
}

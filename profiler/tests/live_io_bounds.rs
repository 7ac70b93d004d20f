//! Very many connections, files and threads: everything counts, and what profiler needs is bounded.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::tables::{exact, rows, word};
use support::workload::Workload;

/// Many of anything, as the workload has it.
const MANY: u64 = 100_000;
/// Threads, as the workload has them.
const THREADS: u64 = 1_000;
/// Most memory of profiler, in bytes, with all that it shows.
const MOST_MEMORY: u64 = 512 << 20;
/// Rows of a table, with what is put together in a few more.
const MOST_ROWS: usize = 5_100;

/// Observes the workload while it does what this word asks for.
fn observe(tool: &str, word: &str) -> Value {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut target = Workload::spawn(&Build::c("many.c").build(), &[folder.path()]);
    let observer = Observer::attach(tool, target.pid(), &["--stacks", "none"]);
    target.say(word);
    target.expect_line("DONE", Duration::from_secs(120));
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    account::assert_nothing_lost(&report);
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

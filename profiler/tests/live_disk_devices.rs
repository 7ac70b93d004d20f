//! What `disk` says of devices that are slow or broken, and of what other processes do to them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::account;
use support::books;
use support::calls::number;
use support::compile::Build;
use support::loop_device::{Broken, Frozen, Loop, Slowed, wait_until_it_waits};
use support::observer::Observer;
use support::tables::{Row, exact, rows, word};
use support::workload::{PATIENCE, Workload};

/// The row of requests of a kind to a device.
#[track_caller]
fn requests<'r>(report: &'r Value, device: &Loop, kind: &str) -> Row<'r> {
    let is_of = |row: &Row<'_>| row["device"]["word"] == device.name() && row["request"]["word"] == kind;
    rows(report, "devices")
        .into_iter()
        .find(is_of)
        .unwrap_or_else(|| panic!("no {kind} of {}", device.name()))
}

/// A device that stops for a while: it has taken some requests, and the others wait for it.
#[test]
fn queued_and_served_times_show_how_long_a_device_was_frozen() {
    const STOPS: Duration = Duration::from_millis(170);
    let Some(_live) = support::live() else { return };
    let below = Loop::new();
    let device = Loop::inside(&below);
    let queue = format!("/sys/block/{}/queue", device.name());
    if fs::write(format!("{queue}/scheduler"), "mq-deadline").is_err() {
        return testbed::skip::kernel_has_no("scheduler mq-deadline");
    }
    let mut target = Workload::spawn(&Build::c("burst.c").build(), &[device.mount()]);
    let observer = Observer::attach("disk", target.pid(), &["--stacks", "none"]);
    let frozen = Frozen::new(&below);
    let begun = Instant::now();
    target.say("go");
    target.expect_line("SUBMITTED", PATIENCE);
    let submitted = Instant::now();
    // The time for which it stops is what is tested.
    thread::sleep(STOPS);
    let least = submitted.elapsed();
    drop(frozen);
    target.expect_line("DONE", PATIENCE);
    let most = begun.elapsed();
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let writes = requests(&report, &device, "write");
    assert_eq!([exact(&writes, "requests"), exact(&writes, "request_bytes")], [200, 200 * 4096]);
    for column in ["queued_ns", "served_ns"] {
        let longest = Duration::from_nanos(number(&writes[column]["histogram"], "max"));
        assert!(least <= longest && longest <= most, "{column}: {least:?} <= {longest:?} <= {most:?}");
    }
    target.say("quit");
    target.quit();
}

#[test]
fn the_table_of_neighbours_has_what_other_processes_read_and_write() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    let target = Workload::spawn(&Build::c("idle.c").build(), &[] as &[&str]);
    let mut other = Workload::spawn(&Build::c("direct.c").build(), &[device.mount()]);
    let observer = Observer::attach("disk", target.pid(), &["--neighbours", "--stacks", "none"]);
    other.say("go");
    other.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let found = rows(&report, "neighbours");
    let is_of = |row: &&Row<'_>| row["device"]["word"] == device.name() && row["pid"]["exact"] == other.pid();
    let row = found.iter().find(is_of).unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(word(row["thread"]), "direct");
    assert_eq!([exact(row, "read_bytes"), exact(row, "written_bytes")], [37 * 4096, 28 * 4096]);
    other.say("quit");
    other.quit();
    target.quit();
}

/// It waits for its disk already when the observation begins: so it has entered no call that would be seen.
#[test]
fn a_server_that_hangs_is_not_called_idle() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    let mut target = Workload::spawn(&Build::c("frozen.c").build(), &[device.mount()]);
    let first = |report: &Value| {
        let first = &account::list(report, "findings")[0];
        [&first["rule"], &first["text"]].map(|word| word.as_str().unwrap().to_owned())
    };
    let frozen = Frozen::new(&device);
    target.say("append");
    wait_until_it_waits(target.pid());
    let report = Observer::attach("disk", target.pid(), &["--for", "5500ms"]).finish(PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    let [rule, text] = first(&report);
    assert_eq!(rule, "disk.stuck", "{text}");
    let file = device.mount().join("log");
    for words in ["thread frozen", "in write of", file.to_str().unwrap(), "since before the observation"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // If it ends meanwhile, it is not known what it did, and that is said.
    let observer = Observer::attach("disk", target.pid(), &[]);
    drop(frozen);
    target.expect_line("append", PATIENCE);
    let report = observer.interrupt().report(0);
    let [rule, text] = first(&report);
    assert_eq!(rule, "disk.incomplete", "{text}");
    assert!(text.contains("1 call was under way at the start: what it did is not counted"), "{text}");
    assert_eq!(account::outcome(&report, "sys_exit", "under_way_at_start"), 1);
    target.say("quit");
    target.quit();
}

/// The waits of a program that writes 20 MiB to a file on the device, by cause: how many, and for how long.
fn waits_of_a_writer(device: &Loop) -> BTreeMap<String, [u64; 2]> {
    let file = device.mount().join("written");
    let dd = ["dd", "if=/dev/zero", "bs=64k", "count=320"];
    let arguments = ["disk", "--max-cost", "off", "--format", "json", "--"];
    let to = format!("of={}", file.display());
    let observer = Observer::spawn(&[&arguments[..], &dd, &[&to]].concat());
    let report = observer.finish(PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    let of_file =
        |row: &Row<'_>| row["operation"]["word"] == "write" && word(row["file"]) == file.to_str().unwrap();
    let written = rows(&report, "files").into_iter().find(of_file).unwrap();
    assert_eq!([exact(&written, "operations"), exact(&written, "moved_bytes")], [320, 20 << 20]);
    let mut causes = BTreeMap::new();
    for row in rows(&report, "waits").into_iter().filter(of_file) {
        let [count, ns]: &mut [u64; 2] = causes.entry(word(row["cause"]).to_owned()).or_default();
        *count += exact(&row, "waits");
        *ns += exact(&row, "total_ns");
    }
    let waited: u64 = causes.values().map(|[_, ns]| ns).sum();
    assert!(waited <= exact(&written, "total_ns"), "{causes:?} in {}", exact(&written, "total_ns"));
    causes
}

/// A thread that writes faster than the kernel lets it, because little may wait to be written to this device.
#[test]
fn writers_that_are_slowed_down_are_known_by_that_cause() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    assert!(!waits_of_a_writer(&device).contains_key("writeback throttling"), "there is room for all of it");
    let Some(slowed) = Slowed::to(&device, 1 << 20) else {
        return testbed::skip::kernel_has_no("limit of what may wait to be written to a device");
    };
    let causes = waits_of_a_writer(&device);
    drop(slowed);
    let [count, ns] = causes["writeback throttling"];
    let others: u64 = causes.values().map(|[_, ns]| ns).sum::<u64>() - ns;
    assert!(count > 0 && ns > others, "{causes:?}");
}

#[test]
fn a_device_that_fails_is_the_first_finding() {
    let Some(_live) = support::live() else { return };
    let broken = Broken::new();
    let (books, report) = books::of_run("disk", "broken.c", &[&broken.device]);
    assert_eq!(books["failed"], 7);
    let first = &account::list(&report, "findings")[0];
    let text = first["text"].as_str().unwrap();
    assert_eq!(first["rule"], "disk.io_error", "{text}");
    assert!(text.contains(&broken.device), "{text}");
    let evidence = account::list(first, "evidence");
    assert!(evidence.iter().any(|of| of["value"]["exact"] == books["failed"]), "{first:#}");
}

/// Reads that a device has to be asked for, on a thread that works in turns, in every tenth turn.
#[test]
fn cold_reads_in_a_loop_are_the_first_finding_with_their_period() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    for _ in 0..support::runs() {
        let mut target = Workload::spawn(&Build::c("cold.c").build(), &[device.mount()]);
        let observer = Observer::attach("disk", target.pid(), &[]);
        target.say("go");
        target.expect_line("DONE", PATIENCE);
        let report = observer.interrupt().report(0);
        target.say("quit");
        target.quit();
        account::assert_nothing_lost(&report);
        let first = &account::list(&report, "findings")[0];
        let text = first["text"].as_str().unwrap();
        assert_eq!(first["rule"], "disk.periodic_stall", "{text}");
        let file = device.mount().join("assets.pak");
        for words in ["every 500 ms", "thread ticker", "read of", file.to_str().unwrap(), "load_part"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let files = rows(&report, "files");
        let is_read =
            |row: &&Row<'_>| row["operation"]["word"] == "read" && Some(word(row["file"])) == file.to_str();
        let read = files.iter().find(is_read).unwrap();
        let bytes = 16 * (16 << 20);
        let columns = ["operations", "device_operations", "moved_bytes", "device_bytes"];
        assert_eq!(columns.map(|column| exact(read, column)), [16, 16, bytes, bytes]);
    }
}

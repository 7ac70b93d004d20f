//! What `disk` counts is what others count: the kernel for its devices, and strace for system calls.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use support::account;
use support::books;
use support::compile::Build;
use support::loop_device::{Frozen, Loop, wait_until_it_waits};
use support::observer::Observer;
use support::tables::{Row, exact, rows, word};
use support::workload::{PATIENCE, Workload};

/// Requests and bytes are those that the kernel counts for the device. What its own threads write meanwhile is in the table of neighbours.
#[test]
fn requests_to_a_device_are_those_that_the_kernel_counts() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    let program = Build::c("direct.c").build();
    let mut target = Workload::spawn(&program, &[device.mount()]);
    let observer = Observer::attach("disk", target.pid(), &["--neighbours", "--stacks", "none"]);
    let before = device.stat();
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let after = device.stat();
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let grown = |place: usize| after[place] - before[place];
    let of_device = |row: &Row<'_>| row["device"]["word"] == device.name();
    let own: BTreeMap<&str, [u64; 2]> = rows(&report, "devices")
        .iter()
        .filter(|row| of_device(row))
        .map(|row| {
            (row["request"]["word"].as_str().unwrap(), ["requests", "request_bytes"].map(|of| exact(row, of)))
        })
        .collect();
    let others: u64 = rows(&report, "neighbours")
        .iter()
        .filter(|row| of_device(row))
        .map(|row| exact(row, "written_bytes"))
        .sum();
    assert_eq!(own["read"], [37, 37 * 4096]);
    assert_eq!([grown(2), 512 * grown(0)], own["read"]);
    assert_eq!(own["write"], [28, 28 * 4096]);
    assert_eq!(512 * grown(1), own["write"][1] + others, "{own:?}");
    target.say("quit");
    target.quit();
}

/// A read that the kernel splits for the device is counted with all its pieces.
#[test]
fn a_read_that_is_larger_than_a_request_counts_whole() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    let program = Build::c("direct.c").build();
    let mut target = Workload::spawn(&program, &[device.mount()]);
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let observer = Observer::attach("disk", target.pid(), &["--stacks", "none"]);
    let before = device.stat();
    target.say("large");
    target.expect_line("DONE", PATIENCE);
    let after = device.stat();
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let devices = rows(&report, "devices");
    let reads = devices
        .iter()
        .find(|row| row["device"]["word"] == device.name() && row["request"]["word"] == "read")
        .unwrap();
    let [requests, bytes] = ["requests", "request_bytes"].map(|of| exact(reads, of));
    assert!(requests > 1, "the kernel splits it");
    assert_eq!([requests, bytes], [after[2] - before[2], 512 * (after[0] - before[0])]);
    assert_eq!(bytes, 8 << 20);
    target.say("quit");
    target.quit();
}

/// Calls by name, as `strace -c` counts them for a process between "go" and "DONE".
fn of_strace(pid: u32, meanwhile: impl FnOnce()) -> BTreeMap<String, u64> {
    let mut strace = Command::new("strace")
        .args(["-c", "-f", "-U", "name,calls", "-p", &pid.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("attached")), "strace did not attach");
    meanwhile();
    rustix::process::kill_process(rustix::process::Pid::from_child(&strace), rustix::process::Signal::INT)
        .unwrap();
    let line = |line: String| {
        let (name, calls) = line.trim().split_once(char::is_whitespace)?;
        Some((name.to_owned(), calls.trim().parse().ok()?))
    };
    let calls = lines.filter_map(line).collect();
    strace.wait().unwrap();
    calls
}

/// Waits until a process sleeps: in its next call, after the one that has said something. strace counts a call only when it lets go of it.
fn wait_until_asleep(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    let is_asleep = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Behind the name, which may contain anything.
        stat.rsplit_once(") ").unwrap().1.starts_with('S')
    };
    while !is_asleep() {
        assert!(Instant::now() < deadline, "{pid} never sleeps");
        std::thread::yield_now();
    }
}

fn spawn(folder: &Path) -> Workload {
    Workload::spawn(&Build::c("transfers.c").build(), &[folder])
}

/// The same work twice: once under strace, once under `disk`.
#[test]
fn calls_are_those_that_strace_counts() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut target = spawn(folder.path());
    let pid = target.pid();
    let traced = of_strace(pid, || {
        target.say("go");
        target.expect_line("DONE", PATIENCE);
        wait_until_asleep(pid);
    });
    target.say("quit");
    target.quit();
    let folder = tempfile::tempdir().unwrap();
    let mut target = spawn(folder.path());
    let observer = Observer::attach("disk", target.pid(), &["--stacks", "none"]);
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let rows = rows(&report, "operations");
    let counted = |operation: &str| -> u64 {
        rows.iter()
            .filter(|row| row["operation"]["word"] == operation)
            .map(|row| exact(row, "operations"))
            .sum()
    };
    // "DONE" is said in one write to a pipe, which is no file.
    let calls = [("read", "pread64", 0), ("write", "write", 1), ("fsync", "fsync", 0)];
    for (operation, call, said) in calls {
        assert_eq!(counted(operation), traced[call] - said, "{operation}: {traced:?}");
    }
    target.say("quit");
    target.quit();
}

/// Operations, their calls, and how many of these the program makes on what is no file. Reads and writes are left out: what the program
/// hears and says is among them.
const OF_FILES: [(&str, &[&str], u64); 11] = [
    ("open", &["open", "openat", "openat2", "creat"], 0),
    ("fsync", &["fsync"], 0),
    ("fdatasync", &["fdatasync"], 0),
    ("sync_file_range", &["sync_file_range"], 0),
    ("msync", &["msync"], 1),
    ("rename", &["rename", "renameat", "renameat2"], 0),
    ("unlink", &["unlink", "unlinkat", "rmdir"], 0),
    ("truncate", &["truncate", "ftruncate"], 0),
    ("fallocate", &["fallocate"], 0),
    ("readahead", &["readahead", "fadvise64"], 0),
    ("list", &["getdents", "getdents64"], 0),
];

/// The same of a program with threads and children, and with every operation.
#[test]
fn calls_of_threads_and_children_are_those_that_strace_counts() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("disk.c").flags(&["-pthread"]).build();
    let run = |pid: u32, target: &mut Workload| {
        target.say("go");
        target.expect_line("DONE", PATIENCE);
        wait_until_asleep(pid);
    };
    let folder = tempfile::tempdir().unwrap();
    let mut target = Workload::spawn(&program, &[folder.path()]);
    let pid = target.pid();
    let traced = of_strace(pid, || run(pid, &mut target));
    target.say("quit");
    target.quit();
    let folder = tempfile::tempdir().unwrap();
    let mut target = Workload::spawn(&program, &[folder.path()]);
    let pid = target.pid();
    let observer = Observer::attach("disk", pid, &["--stacks", "none", "--children"]);
    run(pid, &mut target);
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let rows = rows(&report, "operations");
    for (operation, calls, others) in OF_FILES {
        let of = rows.iter().filter(|row| row["operation"]["word"] == operation);
        let counted: u64 = of.map(|row| exact(row, "operations")).sum();
        let expected: u64 = calls.iter().filter_map(|call| traced.get(*call)).sum();
        assert_eq!(counted + others, expected, "{operation}: {traced:?}");
        assert!(counted > 0, "the workload has no {operation}");
    }
    target.say("quit");
    target.quit();
}

/// What a call that names a path waits for is in the row of that path: it has no descriptor from which the file would be known.
#[test]
fn waits_of_calls_that_name_paths_have_their_files() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    let mut target = Workload::spawn(&Build::c("frozen.c").build(), &[device.mount()]);
    let observer = Observer::attach("disk", target.pid(), &[]);
    let calls = [
        ("rename", "rename", "relative"),
        ("unlinkat", "unlink", "inner/by_descriptor"),
        ("unlink", "unlink", "absolute"),
    ];
    for (call, _, _) in calls {
        let frozen = Frozen::new(&device);
        target.say(call);
        wait_until_it_waits(target.pid());
        drop(frozen);
        target.expect_line(call, PATIENCE);
    }
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let waits = rows(&report, "waits");
    for (_, operation, file) in calls {
        let path = device.mount().join(file);
        let is_of = |row: &&Row<'_>| {
            row["operation"]["word"] == operation && Some(word(row["file"])) == path.to_str()
        };
        let row = waits.iter().find(is_of).unwrap_or_else(|| panic!("{operation} of {file}: {waits:#?}"));
        assert_eq!(exact(row, "waits"), 1);
    }
    target.say("quit");
    target.quit();
}

/// Each time that a thread goes to sleep in an operation counts once, in the place where that is, however often it changes the place.
#[test]
fn waits_are_as_many_as_the_kernel_counts() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    let mount = device.mount();
    let (books, report) = books::of_run("disk", "asleep.c", &[&mount]);
    let waits = rows(&report, "waits");
    let is_in = |row: &&Row<'_>, file: &str| Some(word(row["file"])) == mount.join(file).to_str();
    let of = |file: &str, operation: &str| -> Vec<(&str, u64)> {
        let own = waits.iter().filter(|row| is_in(row, file) && row["operation"]["word"] == operation);
        own.map(|row| (row["cause"]["word"].as_str().unwrap(), exact(row, "waits"))).collect()
    };
    let sum: u64 = waits.iter().map(|row| exact(row, "waits")).sum();
    // Of a few, the kernel does not show the end. They are counted.
    let unseen = account::quality(&report, "wait_not_noted");
    assert_eq!(books["sleeps"], sum + unseen, "{waits:#?}");
    let turns = books["turns"].as_u64().unwrap();
    let least = |found: Vec<(&str, u64)>, cause| {
        let count: u64 = found.iter().filter(|(of, _)| *of == cause).map(|(_, count)| count).sum();
        assert!(count >= turns * 9 / 10, "{cause}: {found:?} of {waits:#?}");
    };
    least(of("direct", "read"), "device");
    least(of("synced", "fsync"), "journal");
}

/// A filesystem without room is the first finding, with the file.
#[test]
fn a_full_filesystem_is_the_first_finding() {
    let Some(_live) = support::live() else { return };
    let device = Loop::new();
    let (books, report) = books::of_run("disk", "full.c", &[device.mount()]);
    let first = &account::list(&report, "findings")[0];
    let text = first["text"].as_str().unwrap();
    assert_eq!(first["rule"], "disk.full", "{text}");
    assert!(text.contains(device.mount().join("world.db").to_str().unwrap()), "{text}");
    let evidence = account::list(first, "evidence");
    assert!(evidence.iter().any(|of| of["value"]["exact"] == books["failed"]), "{first:#}");
}

/// What a call reads and writes in the kernel is in the values of each second, too: of both files.
#[test]
fn a_copy_from_file_to_file_has_values_over_time_for_both() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (books, report) = books::of_run("disk", "copies.c", &[folder.path()]);
    let rows = rows(&report, "operations");
    let of = |operation: &str| rows.iter().find(|row| row["operation"]["word"] == operation).unwrap();
    let values = |operation: &str, column: &str| -> Vec<f64> {
        let values = account::list(&of(operation)[column]["series"], "values");
        values.iter().map(|value| value.as_f64().unwrap()).collect()
    };
    for operation in ["read", "write"] {
        assert_eq!(exact(of(operation), "operations"), books["copies"].as_u64().unwrap());
        let longest = values(operation, "longest_over_time").into_iter().fold(0.0, f64::max);
        assert_eq!(longest, exact(of(operation), "max_ns") as f64, "{operation}");
    }
    assert_eq!(values("read", "over_time"), values("write", "over_time"));
}

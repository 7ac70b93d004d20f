//! The books of a program that makes system calls by the prime, judged by strace.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::compile::Build;
use support::workload::{self, PATIENCE, Workload};

/// What the program calls, by number on x86-64.
const NAMES: [(i64, &str); 26] = [
    (0, "read"),
    (1, "write"),
    (3, "close"),
    (7, "poll"),
    (15, "rt_sigreturn"),
    (24, "sched_yield"),
    (35, "nanosleep"),
    (44, "sendto"),
    (45, "recvfrom"),
    (53, "socketpair"),
    (57, "fork"),
    (58, "vfork"),
    (59, "execve"),
    (60, "exit"),
    (61, "wait4"),
    (102, "getuid"),
    (121, "getpgid"),
    (157, "prctl"),
    (110, "getppid"),
    (202, "futex"),
    (231, "exit_group"),
    (234, "tgkill"),
    (257, "openat"),
    (293, "pipe2"),
    (318, "getrandom"),
    (0x4000_0000 | 110, "x32 getppid"),
];
/// The same on i386.
const NAMES_32: [(i64, &str); 3] = [(6, "i386 close"), (20, "i386 getpid"), (64, "i386 getppid")];
/// Calls that strace has no line for: it counts returns, and only of numbers that it knows.
const NOT_COUNTED_BY_STRACE: [&str; 3] = ["600", "-1", "exit"];
/// What the main thread does between its books and its end: writes the books and `DONE`, reads `quit` byte by byte.
const AFTER_THE_BOOKS: [(&str, u64); 2] = [("write", 2), ("read", 5)];
/// Threads that wait in a read when the process ends.
const KILLED_IN_A_READ: u64 = 7;

/// Threads that wait in a read when an observer attaches.
const FIRST_READS: u64 = 9;

/// Calls and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Calls {
    calls: u64,
    errors: u64,
}

fn name(abi: &str, number: i64) -> String {
    let names = if abi == "i386" { NAMES_32.as_slice() } else { NAMES.as_slice() };
    let known = names.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// What the books have, by name, children included; every start over again counted as a call that failed, as strace sees it.
fn as_strace_counts(books: &Value) -> BTreeMap<String, Calls> {
    let mut all: BTreeMap<String, Calls> = BTreeMap::new();
    let threads = books["threads"].as_array().unwrap().iter().chain([&books["children"]]);
    for entry in threads.flat_map(|thread| thread["calls"].as_array().unwrap()) {
        let [number, errno] = ["nr", "errno"].map(|field| entry[field].as_i64().unwrap());
        let [count, restarts] = ["count", "restarts"].map(|field| entry[field].as_u64().unwrap());
        let calls = all.entry(name(entry["abi"].as_str().unwrap(), number)).or_default();
        calls.calls += count + restarts;
        calls.errors += restarts + if errno == 0 { 0 } else { count };
    }
    for (name, calls) in AFTER_THE_BOOKS {
        all.entry(name.to_owned()).or_default().calls += calls;
    }
    all.retain(|name, _| !NOT_COUNTED_BY_STRACE.contains(&name.as_str()));
    all
}

/// The tables that `strace -c` writes: one for each way of calling.
fn of_strace(text: &str) -> BTreeMap<String, Calls> {
    let mut all = BTreeMap::new();
    let mut abi = "";
    for line in text.lines() {
        match line.strip_prefix("System call usage summary for ") {
            Some("32 bit mode:") => abi = "i386 ",
            Some("x32 mode:") => abi = "x32 ",
            _ => {}
        }
        // % time, seconds, usecs/call, calls, errors unless there are none, name.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [share, seconds, _, calls, .., name] = words.as_slice() else { continue };
        if share.parse::<f64>().is_err() || seconds.parse::<f64>().is_err() || *name == "total" {
            continue;
        }
        let errors = if words.len() == 6 { words[4].parse().unwrap() } else { 0 };
        all.insert(format!("{abi}{name}"), Calls { calls: calls.parse().unwrap(), errors });
    }
    all
}

/// The books are right if strace counts the same. Four things are different in strace. A call that the kernel starts again is a call
/// that failed and another one, which is `restart_syscall` where the kernel keeps its time. Whatever `rt_sigreturn` leaves in the register
/// of results is its result. Some of the threads that the end of the process kills in their last read have one more that failed. And a first
/// read that returns before strace has stopped its thread is not seen.
#[test]
fn the_books_are_those_of_strace() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("syscalls.c").build();
    let mut target = Workload::spawn::<&str>(&program, &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counts");
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-p", &target.pid_argument(), "-o"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .expect("to run strace; install strace");
    // Held to the end: strace also says there when a thread makes calls of another kind.
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut attached = String::new();
    said.read_line(&mut attached).unwrap();
    assert!(attached.contains("attached"), "{attached}");
    let books = target.run();
    target.quit();
    workload::wait(&mut strace, PATIENCE).expect("strace ends with its target");
    drop(said);
    let mut counted = of_strace(&std::fs::read_to_string(&file).unwrap());
    let mut expected = as_strace_counts(&books);
    let again = counted.remove("restart_syscall").unwrap_or_default().calls;
    let kept_time = ["poll", "nanosleep"];
    let failed = |all: &BTreeMap<String, Calls>| kept_time.iter().map(|name| all[*name].errors).sum::<u64>();
    assert_eq!(failed(&counted), failed(&expected) + again);
    for all in [&mut counted, &mut expected] {
        for name in kept_time.iter().chain(["rt_sigreturn"].iter()) {
            all.get_mut(*name).unwrap().errors = 0;
        }
    }
    let (reads, expected_reads) = (counted["read"], expected["read"]);
    let killed = reads.errors - expected_reads.errors;
    let missed = (expected_reads.calls + killed).checked_sub(reads.calls);
    assert!(
        killed <= KILLED_IN_A_READ && missed.is_some_and(|missed| missed <= FIRST_READS),
        "{counted:?} of {expected:?}"
    );
    expected.remove("read");
    counted.remove("read");
    assert_eq!(counted, expected);
}

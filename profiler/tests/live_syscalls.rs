//! System calls, counted exactly: the books of a program that makes them by the prime, and what others say of the same program.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use profiler_common::histogram;
use serde_json::Value;
use support::compile::Build;
use support::observer::Observer;
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

/// What is known of a thread and a call: how often, with which errors and how many bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Account {
    count: u64,
    bytes: u64,
    errors: BTreeMap<u64, u64>,
}

impl Account {
    fn add(&mut self, count: u64, bytes: u64) {
        self.count += count;
        self.bytes += bytes;
    }
}

/// By thread and call, as the kernel side numbers them.
type Accounts = BTreeMap<(u64, u64), Account>;

/// What the books have. `line` is the one that they came in, which the main thread writes after it has closed its own.
fn of_books(books: &Value, line_bytes: u64) -> Accounts {
    let mut all = Accounts::new();
    for thread in books["threads"].as_array().unwrap() {
        for entry in thread["calls"].as_array().unwrap() {
            let compat = u64::from(entry["abi"] == "i386") << 32;
            let call = (entry["nr"].as_i64().unwrap() & 0xffff_ffff) as u64 | compat;
            let [errno, count, bytes] = ["errno", "count", "bytes"].map(|field| number(entry, field));
            let account = all.entry((number(thread, "tid"), call)).or_default();
            account.add(count, bytes);
            if errno != 0 {
                account.errors.insert(errno, count);
            }
        }
        if thread["name"] == "main" {
            // The books, and `DONE`.
            all.entry((number(thread, "tid"), 1)).or_default().add(2, line_bytes + 5);
        }
    }
    all
}

/// What the kernel side counted: whatever became of a call, it is one.
fn of_cells(counted: &Value) -> Accounts {
    let mut all = Accounts::new();
    for cell in counted["cells"].as_array().unwrap() {
        let in_histogram: u64 =
            cell["histogram"].as_array().unwrap().iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
        assert_eq!(in_histogram, number(cell, "count"), "{cell}");
        let count = ["count", "ended", "under_way", "refused"].map(|field| number(cell, field)).iter().sum();
        let account = all.entry((number(cell, "tid"), number(cell, "call"))).or_default();
        account.add(count, number(cell, "bytes"));
        for (errno, count) in cell["errors"].as_object().unwrap() {
            *account.errors.entry(errno.parse().unwrap()).or_default() += count.as_u64().unwrap();
        }
    }
    all
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {value}"))
}

/// All threads together.
fn by_call(accounts: Accounts) -> BTreeMap<u64, Account> {
    let mut all: BTreeMap<u64, Account> = BTreeMap::new();
    for ((_, call), account) in accounts {
        let sum = all.entry(call).or_default();
        sum.add(account.count, account.bytes);
        for (errno, count) in account.errors {
            *sum.errors.entry(errno).or_default() += count;
        }
    }
    all
}

/// Starts counting the calls of a process.
fn count_calls(pid: &str, arguments: &[&str]) -> Observer {
    let mut observer = Observer::spawn(&[&["__calls", "--pid", pid], arguments].concat());
    observer.wait_attached();
    observer
}

/// Ends counting. Every hit is accounted for, and none is lost.
#[track_caller]
fn counted(observer: Observer) -> Value {
    let outcome = observer.interrupt();
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let counted: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    for probe in ["sys_enter", "sys_exit"] {
        let ledger = &counted["ledger"][probe];
        assert!(number(ledger, "hits") > 0, "{ledger}");
        assert_eq!((number(ledger, "unaccounted"), number(ledger, "lost")), (0, 0), "{ledger}");
    }
    counted
}

/// Runs the workload under observation; its accounts by both.
#[track_caller]
fn observe(workload: &[&str], arguments: &[&str]) -> (Accounts, Accounts, Value, Value) {
    let program = Build::c("syscalls.c").build();
    let mut target = Workload::spawn(&program, workload);
    let observer = count_calls(&target.pid_argument(), arguments);
    target.say("go");
    let line = target.expect_line("{", PATIENCE);
    target.expect_line("DONE", PATIENCE);
    let counted = counted(observer);
    target.quit();
    let books = serde_json::from_str(&line).unwrap();
    (of_books(&books, line.len() as u64 + 1), of_cells(&counted), books, counted)
}

/// Every call of every thread, once, with its errors and bytes; among them calls that were under way, interrupted, refused.
#[test]
fn every_call_counts_once() {
    let Some(_live) = support::live() else { return };
    let (books, cells, whole_books, counted) = observe(&["--stop"], &[]);
    assert_eq!(cells, books);
    let ledger = &counted["ledger"];
    assert_eq!(number(&ledger["sys_exit"], "under_way_at_start"), FIRST_READS, "{ledger}");
    assert_eq!(number(&ledger["sys_exit"], "refused"), 31, "{ledger}");
    assert_eq!(number(&ledger["sys_exit"], "interrupted"), 8, "{ledger}");
    assert!(number(&ledger["sys_enter"], "continued") > 7, "the stop interrupts others too: {ledger}");
    let in_read = |thread: &&Value| thread["in_call"] == 0;
    let waiting = counted["threads"].as_array().unwrap().iter().filter(in_read).count();
    assert!((7..=8).contains(&waiting), "all threads but one, and perhaps the main one: {counted}");
    assert_eq!(number(&ledger["sys_enter"], "ended_with_its_thread"), 1, "the exit of one: {ledger}");
    assert_durations(&whole_books, &counted);
}

/// The kernel's duration of a sleep is within the program's own, and of the program's longest and shortest by no more than a bucket and
/// what the way into the kernel and back takes.
#[track_caller]
fn assert_durations(books: &Value, counted: &Value) {
    const WAY_NS: u64 = 100_000;
    let naps = books["threads"].as_array().unwrap().iter().find(|thread| thread["name"] == "naps").unwrap();
    let own: Vec<u64> = naps["ns"].as_array().unwrap().iter().map(|ns| ns.as_u64().unwrap()).collect();
    let is_theirs = |cell: &&Value| cell["tid"] == naps["tid"] && cell["call"] == naps["timed"];
    let cell = counted["cells"].as_array().unwrap().iter().find(is_theirs).unwrap();
    let buckets: Vec<(usize, u64)> = serde_json::from_value(cell["histogram"].clone()).unwrap();
    // The n-th shortest by the one is the n-th shortest by the other.
    let all = buckets.iter().flat_map(|(bucket, count)| std::iter::repeat_n(*bucket, *count as usize));
    let mut late = 0;
    for (bucket, own_ns) in all.zip(&own) {
        let first = histogram::first(histogram::GROUPING_POWER, bucket).unwrap();
        let last = histogram::last(histogram::GROUPING_POWER, bucket).unwrap();
        assert!(first <= *own_ns, "{own_ns} ns is less than {first}");
        late += u32::from(*own_ns > last + WAY_NS);
    }
    // A thread that is preempted on its way back to user mode sees a longer sleep than the kernel's call was.
    assert!(late <= own.len() as u32 / 10, "{late} of {} durations are not the program's own", own.len());
    assert_eq!(own.len() as u64, number(cell, "count"));
    assert!(number(cell, "total_ns") <= own.iter().sum::<u64>(), "{cell}");
    assert!(number(cell, "max_ns") <= *own.last().unwrap(), "{cell}");
}

/// Threads that share a slot are found by hashing, and so are those without a record.
#[test]
fn threads_without_a_slot_or_a_record_count_the_same() {
    let Some(_live) = support::live() else { return };
    for arguments in [["--slots", "1"], ["--threads", "3"]] {
        let (books, cells, ..) = observe(&[], &arguments);
        assert_eq!(cells, books, "{arguments:?}");
    }
}

/// Without cells of their own, threads add to a cell that they share: nothing is lost but which thread it was.
#[test]
fn threads_without_cells_share_them() {
    let Some(_live) = support::live() else { return };
    let (books, cells, ..) = observe(&[], &["--cells", "8", "--threads", "3"]);
    assert!(cells.keys().filter(|(tid, _)| *tid == 0).count() > 10, "most are shared: {cells:?}");
    assert_eq!(by_call(cells), by_call(books));
}

/// The threads that the end of the process kills in their calls.
#[test]
fn calls_that_never_return_end_with_their_threads() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("syscalls.c").build();
    let mut target = Workload::spawn::<&str>(&program, &[]);
    let observer = count_calls(&target.pid_argument(), &[]);
    target.run();
    target.quit();
    let counted = counted(observer);
    let ledger = &counted["ledger"]["sys_enter"];
    assert_eq!(number(ledger, "under_way"), 0, "{ledger}");
    // The exit of one, the last reads of seven, and the end of the process.
    assert_eq!(number(ledger, "ended_with_its_thread"), 1 + KILLED_IN_A_READ + 1, "{ledger}");
    assert!(counted["threads"].as_array().unwrap().iter().all(|thread| thread["ended"] == true), "{counted}");
}

/// `execve` counts once, where it was called; what follows is another address space, although the thread has the id of the first one.
#[test]
fn an_exec_of_another_thread_counts_once() {
    let Some(_live) = support::live() else { return };
    for arguments in [[].as_slice(), &["--slots", "1"]] {
        let program = Build::c("exec_thread.c").build();
        let mut target = Workload::spawn::<&str>(&program, &[]);
        let observer = count_calls(&target.pid_argument(), arguments);
        target.say("go");
        target.expect_line("AGAIN", PATIENCE);
        target.say("go");
        target.expect_line("DONE", PATIENCE);
        let counted = counted(observer);
        target.quit();
        let mut of: BTreeMap<(u64, u64), Account> = BTreeMap::new();
        for cell in counted["cells"].as_array().unwrap() {
            let account = of.entry((number(cell, "space"), number(cell, "call"))).or_default();
            account.add(number(cell, "count"), 0);
            for (errno, count) in cell["errors"].as_object().unwrap() {
                account.errors.insert(errno.parse().unwrap(), count.as_u64().unwrap());
            }
        }
        let not_found = BTreeMap::from([(2, 2)]);
        assert_eq!(of[&(0, 59)], Account { count: 3, bytes: 0, errors: not_found }, "{counted}");
        assert_eq!((of[&(0, 110)].count, of[&(1, 110)].count), (101, 211), "{counted}");
        assert!(!of.contains_key(&(1, 59)), "{counted}");
    }
}

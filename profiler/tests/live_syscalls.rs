//! System calls, counted exactly: as a program counts them itself that makes them by the prime.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;

use profiler_common::histogram;
use serde_json::Value;
use support::calls::{self, number};
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

/// Threads that wait in a read when an observer attaches.
const FIRST_READS: u64 = 9;
/// Threads that wait in a read when the process ends.
const KILLED_IN_A_READ: u64 = 7;

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
        account.add(count, number(cell, "results"));
        for (errno, count) in cell["errors"].as_object().unwrap() {
            *account.errors.entry(errno.parse().unwrap()).or_default() += count.as_u64().unwrap();
        }
    }
    all
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

/// Runs the workload under observation; its accounts by both.
#[track_caller]
fn observe(workload: &[&str], arguments: &[&str]) -> (Accounts, Accounts, Value, Value) {
    let program = Build::c("syscalls.c").build();
    let mut target = Workload::spawn(&program, workload);
    let observer = calls::count(&target.pid_argument(), arguments);
    target.say("go");
    let line = target.expect_line("{", PATIENCE);
    target.expect_line("DONE", PATIENCE);
    let counted = calls::counted(observer);
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
    // In an emulated machine the clock is not to be relied on.
    if support::by_length(false, true, true) {
        assert_durations(&whole_books, &counted);
    }
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
    let (books, cells, ..) = observe(&[], &["--slots", "1"]);
    assert_eq!(cells, books);
    // The one that ends gives its room back.
    let (books, cells, ..) = observe(&[], &["--threads", "3"]);
    assert_eq!(by_call(cells), by_call(books));
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
    let observer = calls::count(&target.pid_argument(), &[]);
    target.run();
    target.quit();
    let counted = calls::counted(observer);
    let ledger = &counted["ledger"]["sys_enter"];
    assert_eq!(number(ledger, "under_way"), 0, "{ledger}");
    // The exit of one, the last reads of seven, and the end of the process.
    assert_eq!(number(ledger, "ended_with_its_thread"), 1 + KILLED_IN_A_READ + 1, "{ledger}");
    assert!(counted["threads"].as_array().unwrap().iter().all(|thread| thread["ended"] == true), "{counted}");
    assert_eq!(counted["entered_threads"], 0, "all have left the filter");
}

/// `execve` counts once, where it was called; what follows is another address space, although the thread has the id of the first one.
#[test]
fn an_exec_of_another_thread_counts_once() {
    let Some(_live) = support::live() else { return };
    for arguments in [[].as_slice(), &["--slots", "1"]] {
        let program = Build::c("exec_thread.c").build();
        let mut target = Workload::spawn::<&str>(&program, &[]);
        let observer = calls::count(&target.pid_argument(), arguments);
        target.say("go");
        target.expect_line("AGAIN", PATIENCE);
        target.say("go");
        target.expect_line("DONE", PATIENCE);
        let counted = calls::counted(observer);
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

/// Also a program that ends before anything can be read about it. The program before it keeps its name.
#[test]
fn each_program_of_a_process_is_a_target() {
    let Some(_live) = support::live() else { return };
    for _ in 0..5 {
        let command = ["syscalls", "--format", "json", "--", "bash", "-c", "sleep 0.2; exec /bin/true"];
        let report = Observer::spawn(&command).finish(PATIENCE).report(0);
        let targets = report["meta"]["targets"].as_array().unwrap();
        let names: Vec<&str> = targets.iter().map(|target| target["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["bash", "true"], "{targets:#?}");
        assert_eq!(targets[0]["ended"], "replaced itself by exec", "{targets:#?}");
        assert_eq!(targets[0]["pid"], targets[1]["pid"], "{targets:#?}");
    }
}

/// Whatever is asked for: the verifier sees settings as constants.
#[test]
fn every_program_is_easy_to_verify() {
    let Some(_live) = support::live() else { return };
    const TOO_MANY_VERIFIED: u64 = 20_000;
    // Finding files reads about forty members of structures.
    const TOO_MANY_WITH_FILES: u64 = 60_000;
    let target = Workload::spawn::<&str>(&Build::c("idle.c").build(), &[]);
    let verified = |stacks: &str, more: &[&str]| {
        let asked = [more, &["--stacks", stacks]].concat();
        let outcome = calls::count(&target.pid_argument(), &asked).interrupt();
        let counted: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let verified = counted["verified_insns"].as_object().unwrap().clone();
        assert!(verified.len() >= 5, "{verified:?}");
        verified.into_iter().map(|(program, count)| (program, count.as_u64().unwrap())).collect::<Vec<_>>()
    };
    let mut heavy = Vec::new();
    for stacks in ["none", "slow", "all"] {
        let (with, without) = (verified(stacks, &["-vv"]), verified(stacks, &[]));
        for ((program, with), (_, without)) in with.iter().zip(&without) {
            support::remark(&format!("VERIFIED {program} {without} {stacks}"));
            support::remark(&format!("VERIFIED {program} {with} {stacks} with -vv"));
            assert!(without <= with, "{program} {without}, with -vv {with}");
            heavy.extend((*with >= TOO_MANY_VERIFIED).then(|| format!("{program} {with} ({stacks})")));
        }
        for (program, count) in verified(stacks, &["-vv", "--slow", "1"]) {
            support::remark(&format!("VERIFIED {program} {count} {stacks} with -vv and files"));
            heavy.extend(
                (count >= TOO_MANY_WITH_FILES).then(|| format!("{program} {count} ({stacks}, files)")),
            );
        }
        // What logs is not looked at otherwise.
        let all = |of: &[(String, u64)]| of.iter().map(|(_, instructions)| instructions).sum::<u64>();
        assert!(all(&without) + 100 < all(&with), "{without:?} {with:?}");
    }
    assert!(heavy.is_empty(), "{heavy:?}");
    target.quit();
}

/// Children have address spaces of their own. The first thing that is seen of each is a return from the call that made it, which its
/// parent has, too.
#[test]
fn forked_children_count_apart() {
    let Some(_live) = support::live() else { return };
    let (books, cells, whole_books, counted) = observe(&[], &["--children"]);
    let of_children = |cell: &&Value| number(cell, "space") != 0;
    let mut children: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
    for cell in counted["cells"].as_array().unwrap().iter().filter(of_children) {
        let [count, ended] = children.entry(number(cell, "call")).or_default();
        *count += number(cell, "count");
        *ended += number(cell, "ended");
    }
    let born = whole_books["threads"].as_array().unwrap().iter().find(|t| t["name"] == "children").unwrap();
    let born: u64 = born["calls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|calls| calls["nr"] == 57 || calls["nr"] == 58)
        .map(|calls| number(calls, "count"))
        .sum();
    // getppid, execve that fails, exit_group.
    assert_eq!(children, BTreeMap::from([(110, [17 * 13, 0]), (59, [3, 0]), (231, [0, born])]), "{counted}");
    assert_eq!(number(&counted["ledger"]["sys_exit"], "child_began"), born);
    let parents: Accounts = cells.into_iter().filter(|(key, _)| books.contains_key(key)).collect();
    assert_eq!(parents, books);
}

/// Every slow call is listed with its stack, and put down to it.
#[test]
fn slow_calls_are_listed_with_their_stacks() {
    let Some(_live) = support::live() else { return };
    const SLOW_NS: u64 = 5_000_000;
    const WAY_NS: u64 = 1_000_000;
    let (_, _, books, counted) = observe(&[], &["--stacks", "slow", "--slow", &SLOW_NS.to_string()]);
    let naps = books["threads"].as_array().unwrap().iter().find(|thread| thread["name"] == "naps").unwrap();
    let slow = counted["slow"].as_array().unwrap();
    assert!(slow.iter().all(|call| number(call, "duration_ns") >= SLOW_NS && number(call, "stack") > 0));
    let listed =
        slow.iter().filter(|call| call["tid"] == naps["tid"] && call["call"] == naps["timed"]).count();
    let longer_than =
        |ns: u64| naps["ns"].as_array().unwrap().iter().filter(|own| own.as_u64() >= Some(ns)).count();
    assert!((longer_than(SLOW_NS + WAY_NS)..=longer_than(SLOW_NS)).contains(&listed), "{listed}: {naps}");
    let callers = counted["callers"].as_array().unwrap();
    assert_eq!(callers.iter().map(|caller| number(caller, "count")).sum::<u64>(), slow.len() as u64);
    let total = |calls: &[Value], field| calls.iter().map(|call| number(call, field)).sum::<u64>();
    assert_eq!(total(callers, "total_ns"), total(slow, "duration_ns"));
}

/// What users read is what the program did: by call, with errors, and what is still in progress.
#[test]
fn the_report_has_every_call_of_the_books() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("syscalls.c").build();
    let mut target = Workload::spawn::<&str>(&program, &["--stop"]);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&["syscalls", "--format", "json", "--pid", &pid, "--stacks", "all"]);
    observer.wait_attached();
    target.say("go");
    let line = target.expect_line("{", PATIENCE);
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.quit();
    support::account::assert_nothing_lost(&report);
    let books: Value = serde_json::from_str(&line).unwrap();
    let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
    for ((_, call), account) in of_books(&books, line.len() as u64 + 1) {
        *expected.entry(call).or_default() += account.count;
    }
    let section = report["sections"].as_array().unwrap().iter().find(|s| s["name"] == "calls").unwrap();
    let column = |name: &str| {
        let columns = section["columns"].as_array().unwrap();
        columns.iter().position(|column| column["name"] == name).unwrap()
    };
    let (name_at, calls_at) = (column("call"), column("calls"));
    let rows = section["rows"].as_array().unwrap();
    let calls = |name: &str| {
        let row = rows.iter().find(|row| row["cells"][name_at]["word"] == name);
        row.unwrap_or_else(|| panic!("no row of {name}"))["cells"][calls_at]["exact"].as_u64().unwrap()
    };
    for (number, name) in
        [(110, "getppid"), (35, "nanosleep"), (257, "openat"), (318, "getrandom"), (57, "fork")]
    {
        assert_eq!(calls(name), expected[&number], "{name}");
    }
    assert_eq!(calls("i386:getppid"), expected[&(1 << 32 | 64)]);
}

/// Callers are counted for all threads together.
#[test]
fn options_that_contradict_each_other_are_refused() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn::<&str>(&Build::c("idle.c").build(), &[]);
    let pid = target.pid_argument();
    let observer = Observer::spawn(&[
        "syscalls",
        "--pid",
        &pid,
        "--thread",
        "worker[1]",
        "--by",
        "caller",
        "--for",
        "1s",
    ]);
    let outcome = observer.finish(PATIENCE);
    target.quit();
    outcome.assert_error(2, &["--by caller", "--thread"]);
}

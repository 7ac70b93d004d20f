//! `disk` counts each operation on each file: as often, with as many bytes and errors, as the program itself has on its books.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::ptr;

use serde_json::Value;
use support::account;
use support::calls::number;
use support::compile::Build;
use support::kernel::Feature;
use support::observer::Observer;
use support::remark;
use support::tables::{Row, exact, rows, word};
use support::workload::{PATIENCE, Workload};
use support::zone::Zone;
use testbed::skip::kernel_has_no;

/// Count, bytes and errors, by file and operation.
type Books = BTreeMap<(String, String), (u64, u64, u64)>;

/// What a report has in its table of files.
fn counted(report: &Value, directory: &Path) -> Books {
    let own = format!("{}/", directory.display());
    let mut books = Books::new();
    for row in rows(report, "files") {
        let file = word(row["file"]);
        let file = file.strip_prefix(&own).unwrap_or(file).to_owned();
        let sums = books.entry((file, word(row["operation"]).to_owned())).or_insert((0, 0, 0));
        sums.0 += exact(&row, "operations");
        sums.1 += exact(&row, "moved_bytes");
        sums.2 += exact(&row, "errors");
    }
    books
}

/// Observes a workload that works in a folder, from "go" to "DONE". Returns the report and what it said.
fn observe(program: &Path, folder: &Path, arguments: &[&str]) -> (Value, Books) {
    observe_target(Workload::spawn(program, &[folder]), arguments)
}

fn observe_target(mut target: Workload, arguments: &[&str]) -> (Value, Books) {
    let pid = target.pid_argument();
    let common = ["disk", "--max-cost", "off", "--format", "json", "--pid", &pid];
    let mut observer = Observer::spawn(&[&common, arguments].concat());
    observer.wait_attached();
    target.say("go");
    let mut books = Books::new();
    loop {
        let line = target.expect_line("", PATIENCE);
        if line == "DONE" {
            break;
        }
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let key = (said["file"].as_str().unwrap().to_owned(), said["operation"].as_str().unwrap().to_owned());
        books.insert(key, (number(&said, "count"), number(&said, "bytes"), number(&said, "errors")));
    }
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    account::assert_nothing_lost(&report);
    (report, books)
}

#[test]
fn every_operation_is_counted_for_its_file() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("disk.c").flags(&["-pthread"]).build();
    let (report, books) = observe(&program, folder.path(), &["--children"]);
    assert_same(&counted(&report, folder.path()), &books);
}

/// A container: a mount namespace whose root is an overlay over an image. Its mapped files are known, too.
#[test]
fn files_of_a_container_have_the_paths_that_they_have_there() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("disk.c").flags(&["-pthread", "-static"]).build();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-e", "-c"]);
    command.arg(
        "mount -t tmpfs none \"$1\"; cd \"$1\"; mkdir image own work root; mkdir image/world image/outside; cp \"$0\" image/program; \
         mount -t overlay none -o lowerdir=image,upperdir=own,workdir=work root; cd root; pivot_root . outside; \
         exec ./program /world",
    );
    let target = Workload::spawn_command({
        command.arg(&program).arg(folder.path());
        command
    });
    let (report, books) = observe_target(target, &["--children"]);
    assert_same(&counted(&report, Path::new("/world")), &books);
}

/// The files below the folder of the workload are those of its books, with the same sums.
#[track_caller]
fn assert_same(counted: &Books, books: &Books) {
    let of_folder: Books = counted
        .iter()
        .filter(|((file, _), _)| !file.starts_with('/'))
        .map(|(key, sums)| (key.clone(), *sums))
        .collect();
    let missing: Vec<_> = books.iter().filter(|(key, sums)| of_folder.get(key) != Some(sums)).collect();
    let beyond: Vec<_> = of_folder.iter().filter(|(key, sums)| books.get(key) != Some(sums)).collect();
    assert!(missing.is_empty() && beyond.is_empty(), "on the books: {missing:#?}\ncounted: {beyond:#?}");
}

/// The outcomes of a probe in the ledger, by name, and its hits.
fn ledger(report: &Value, probe: &str) -> BTreeMap<String, u64> {
    let entries = account::list(&report["coverage"], "ledger");
    let entry = entries.iter().find(|entry| entry["probe"] == probe).unwrap();
    let outcome = |of: &Value| (of["name"].as_str().unwrap().to_owned(), of["count"].as_u64().unwrap());
    let mut all: BTreeMap<String, u64> = account::list(entry, "outcomes").iter().map(outcome).collect();
    all.insert("hits".to_owned(), entry["hits"].as_u64().unwrap());
    all
}

/// Takes what a workload says of no file out of its books.
fn others(books: &mut Books) -> BTreeMap<String, u64> {
    let mut others = BTreeMap::new();
    books.retain(|(file, what), (count, _, _)| {
        if file.is_empty() {
            others.insert(what.clone(), *count);
        }
        !file.is_empty()
    });
    others
}

#[test]
fn faults_of_mapped_files_are_counted_as_the_kernel_counts_them() {
    let Some(_live) = support::live() else { return };
    faults_are_counted_in(tempfile::tempdir().unwrap().path());
}

/// A filesystem whose files are on no device, until this is dropped. Their first faults are major all the same, unlike those of tmpfs.
struct Memory(tempfile::TempDir, CString);

impl Memory {
    fn mount() -> Memory {
        let folder = tempfile::tempdir().unwrap();
        let path = CString::new(folder.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: strings that end with a zero; no options.
        let outcome =
            unsafe { libc::mount(c"none".as_ptr(), path.as_ptr(), c"ramfs".as_ptr(), 0, ptr::null()) };
        assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
        Memory(folder, path)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: a string that ends with a zero.
        unsafe { libc::umount2(self.1.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn faults_of_files_that_are_on_no_device_are_counted_too() {
    let Some(_live) = support::live() else { return };
    let mounted = Memory::mount();
    faults_are_counted_in(mounted.0.path());
}

#[track_caller]
fn faults_are_counted_in(folder: &Path) {
    let program = Build::c("faults.c").flags(&["-pthread"]).build();
    let (report, mut books) = observe(&program, folder, &["--slow", "1us"]);
    let kernel = others(&mut books);
    let of = |file: &str| books.get(&(file.to_owned(), "fault".to_owned())).map(|(count, ..)| *count);
    let (mapped, sparse) = (of("mapped"), of("sparse"));
    if mapped.or(sparse).is_none() {
        return kernel_has_no("major faults of files on this filesystem");
    }
    let faults = mapped.unwrap_or_default() + sparse.unwrap_or_default();
    assert_eq!(kernel["major"], faults, "other faults of the workload");
    let mut counted = counted(&report, folder);
    counted.retain(|(file, _), _| !file.starts_with('/'));
    assert_eq!(counted, books);
    assert_eq!(ledger(&report, "page_fault")["counted"], faults);

    let files = rows(&report, "files");
    let name = if mapped.is_some() { "/mapped" } else { "/sparse" };
    let is_of = |row: &&Row<'_>| row["operation"]["word"] == "fault" && word(row["file"]).ends_with(name);
    let row = files.iter().find(is_of).unwrap();
    if !support::kernel::has(Feature::FaultStart) {
        for cell in ["total_ns", "device_bytes", "device_operations"].map(|column| row[column]) {
            assert!(cell["unknown"].as_str().unwrap().contains("no tracepoint mm_filemap_fault"), "{cell}");
        }
        return;
    }
    let Some(mapped) = mapped else { return };
    let total_ns = exact(row, "total_ns");
    assert_eq!(exact(row, "device_bytes"), kernel["fetched"]);
    assert_eq!(exact(row, "device_operations"), mapped);
    // Touches take little besides the faults, mostly what the observer does after each.
    let (waited_ns, alone_ns, took_ns) = (kernel["waited"], kernel["alone"], kernel["ns"]);
    let least_ns = waited_ns.max(alone_ns / 2);
    remark(&format!("FAULTS {total_ns} ns, of touches {took_ns}, alone {alone_ns}, asleep {waited_ns}"));
    assert!(
        least_ns > 0 && (least_ns..=took_ns).contains(&total_ns),
        "{total_ns} of {least_ns} to {took_ns} ns"
    );
    assert!(word(row["caller"]).contains("touch"), "{}", row["caller"]);
    let is_listed = rows(&report, "slow").iter().any(|row| row["operation"]["word"] == "fault");
    assert!(is_listed, "no fault among slow operations");
}

/// Whether the thread itself makes them or a worker of the kernel, and whether the file has a descriptor or is registered with the ring.
#[test]
fn operations_through_a_ring_are_counted_for_their_files() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (report, mut books) = observe(&Build::c("disk_ring.c").build(), folder.path(), &["--stacks", "none"]);
    if let Some(number) = others(&mut books).get("errno") {
        kernel_has_no(&format!("io_uring for this process: error {number}"));
        return;
    }
    let found = counted(&report, folder.path());
    for (key, expected) in &books {
        assert_eq!(found.get(key), Some(expected), "{key:?}: {found:#?}");
    }
    let of_ring = ledger(&report, "io_uring");
    let sum: u64 = books.values().map(|(count, ..)| count).sum();
    assert_eq!((of_ring["hits"], of_ring["counted"]), (sum, sum), "{of_ring:?}");
}

#[test]
fn requests_of_libaio_are_counted_for_their_files() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("aio.c").flags(&["-pthread"]).build();
    let (report, mut books) = observe(&program, folder.path(), &[]);
    let mut ends = others(&mut books);
    if ends.remove("errno") != Some(0) {
        return kernel_has_no("libaio");
    }
    let mut counted = counted(&report, folder.path());
    counted.retain(|(file, _), _| !file.starts_with('/'));
    assert_eq!(counted, books);
    let ledger = ledger(&report, "io_submit");
    for (name, count) in &ends {
        assert_eq!(ledger.get(name), Some(count), "{name}: {ledger:?}");
    }
    let notes = &account::list(&report, "sections")[0]["notes"];
    assert!(notes.to_string().contains("2 requests of libaio not counted"), "{notes}");
}

/// The kernel's own books of a process: `rchar` and `wchar` of `/proc/PID/io`.
#[test]
fn bytes_are_those_that_the_kernel_has_on_its_books() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("transfers.c").build();
    let mut target = Workload::spawn(&program, &[folder.path()]);
    let pid = target.pid_argument();
    let io = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        ["rchar: ", "wchar: "].map(|name| -> u64 {
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
        })
    };
    let mut observer = Observer::spawn(&["disk", "--max-cost", "off", "--format", "json", "--pid", &pid]);
    observer.wait_attached();
    let before = io();
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let after = io();
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let mut sums = [0, 0];
    for row in rows(&report, "operations") {
        if let Some(place) = ["read", "write"].iter().position(|of| row["operation"]["word"] == *of) {
            sums[place] += exact(&row, "moved_bytes");
        }
    }
    // What is said to the test goes through pipes, which are no files: "go" and a line end, "DONE" and a line end.
    assert_eq!(sums, [after[0] - before[0] - 3, after[1] - before[1] - 5]);
    target.say("quit");
    target.quit();
}

/// Observes the example server for some seconds.
fn observe_zone(arguments: &[&str], seconds: u32) -> Value {
    let zone = Zone::start(arguments);
    let observer = Observer::attach("disk", zone.pid(), &["--for", &format!("{seconds}s")]);
    let report = observer.finish(PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    zone.end();
    report
}

/// A fault of the example server: the flags that plant it, for how many seconds it is observed, the rules that find it, and what the sentence names.
type Fault = (&'static [&'static str], u32, &'static [&'static str], &'static [&'static str]);

const FAULTS: [Fault; 3] = [
    (
        &["--autosave-on-tick", "--autosave", "700ms"],
        9,
        &["disk.periodic_stall", "disk.wait_in_loop"],
        &["zone-tick", "fsync of ", "world.db.tmp", "zone::save::"],
    ),
    (&["--small-appends"], 6, &["disk.small_synced_writes"], &["events.log"]),
    (&["--reread-config"], 6, &["disk.reread"], &["zone.toml", "zone::"]),
];

#[test]
fn each_fault_is_the_first_finding() {
    let Some(_live) = support::live() else { return };
    for (flags, seconds, rules, words) in std::iter::repeat_n(FAULTS, support::runs()).flatten() {
        let report = observe_zone(flags, seconds);
        let first = &account::list(&report, "findings")[0];
        let text = first["text"].as_str().unwrap();
        assert!(rules.contains(&first["rule"].as_str().unwrap()), "{flags:?}: {text}");
        for of in words {
            assert!(text.contains(of), "{flags:?}: {of}: {text}");
        }
    }
}

#[test]
fn a_healthy_server_has_no_problem() {
    let Some(_live) = support::live() else { return };
    for _ in 0..support::runs() {
        let report = observe_zone(&["--autosave", "1s"], 6);
        let problems: Vec<&Value> = account::list(&report, "findings")
            .iter()
            .filter(|finding| finding["severity"] == "problem")
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

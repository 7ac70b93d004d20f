//! The workloads without an observer, and the comparison without a live process: what the live tests stand on.
//!
//! Needs no root. Each workload checks its own books by counting its live blocks a second time, and ends with an error
//! if they disagree.

mod support;

use serde_json::{Value, json};
use support::account::{self, Account};
use support::compile::{Build, prefixed_jemalloc, static_library};
use support::process;
use support::workload::{PATIENCE, Workload};
use testbed::skip;

/// Runs a workload and asserts that its books are in themselves right. Returns them.
#[track_caller]
fn run(build: &Build, arguments: &[&str]) -> Value {
    let mut workload = Workload::spawn(&build.build(), arguments);
    let books = workload.run();
    workload.quit();
    for (name, account) in account::from_books(&books) {
        assert_eq!(account.allocs - account.frees, account.live, "{name}");
        assert!(account.allocs > 0, "{name} was never called");
    }
    books
}

#[track_caller]
fn run_books(build: &Build, allocator: &str, sites: usize) {
    let books = run(build, &["--wait", "--ops", "100003", "--seed", "4", "--threads", "8"]);
    let in_use = books["allocator"].as_str().expect("a path");
    assert!(in_use.contains(allocator), "the workload uses {in_use}, not {allocator}");
    let accounts = account::from_books(&books);
    assert_eq!(accounts.len(), sites, "{:?}", accounts.keys());
    assert!(accounts.values().all(|account| account.live > 0 && account.frees > 0), "{accounts:#?}");
    assert_eq!(books["ops"], 100_003);
    // The blocks from before the run: most are released in it, some through realloc.
    let before = account::before(&books)["site_before"];
    assert_eq!(before.allocs, 8 * 199);
    let untracked =
        ["untracked_frees", "untracked_reallocs"].map(|name| books[name].as_u64().expect("a count"));
    assert_eq!(untracked.iter().sum::<u64>(), before.frees);
}

#[test]
fn books_of_every_allocator() {
    let c = || Build::c("books.c");
    run_books(&c(), "libc.so", 9);
    run_books(&c().flags(&["-static", "-DLINKED_STATIC"]), "glibc, static", 9);
    run_books(&Build::musl("books.c").flags(&["-DLINKED_STATIC"]), "musl", 8);
    run_books(&c().flags(&["-DNO_PVALLOC"]).link(&["-ljemalloc"]), "libjemalloc.so", 8);
    run_books(&c().link(&["-ltcmalloc_minimal"]), "libtcmalloc_minimal.so", 9);
    run_books(&c().link(&["-ltcmalloc"]), "libtcmalloc.so", 9);
    run_books(&c().link(&["-lmimalloc"]), "libmimalloc.so", 9);
}

#[test]
fn books_of_allocators_inside_the_executable() {
    let library = static_library("libjemalloc_pic.a").to_string_lossy().into_owned();
    let jemalloc = Build::c("books.c").named("books-jemalloc").flags(&["-DNO_PVALLOC"]);
    run_books(&jemalloc.link(&[&library, "-lm"]), "books-jemalloc", 8);
    for (prefix, name) in [("je_", "books-je"), ("_rjem_", "books-rjem")] {
        let library = prefixed_jemalloc(prefix);
        let build = Build::c("books.c").named(name).flags(&[&format!("-DPREFIX={prefix}")]);
        run_books(&build.link(&[&library.to_string_lossy(), "-lm"]), name, 7);
    }
}

#[test]
fn books_of_new_and_delete() {
    let cpp = || Build::cpp("books.cpp");
    run_books(&cpp(), "libstdc++.so", 8);
    run_books(&cpp().flags(&["-static", "-DLINKED_STATIC"]), "libstdc++, static", 8);
    run_books(&cpp().link(&["-Wl,--no-as-needed", "-ljemalloc"]), "libjemalloc.so", 8);
    run_books(&cpp().link(&["-Wl,--no-as-needed", "-ltcmalloc_minimal"]), "libtcmalloc_minimal.so", 8);
    let mimalloc = cpp().flags(&["-DNEW_ABORTS"]).link(&["-Wl,--no-as-needed", "-lmimalloc"]);
    run_books(&mimalloc, "libmimalloc.so", 8);
}

#[test]
fn books_of_rust() {
    run_books(&Build::rust("books.rs"), "rust", 4);
}

#[test]
fn books_of_a_pool() {
    run_books(&Build::c("pools.c"), "pool_get", 2);
}

#[test]
fn books_of_a_parent() {
    run(&Build::c("books.c"), &["--wait", "--ops", "20011", "--fork", "3"]);
}

#[test]
fn one_thread_draws_the_same_from_the_same_seed() {
    let books =
        |seed| run(&Build::c("books.c"), &["--wait", "--ops", "5003", "--threads", "1", "--seed", seed]);
    assert_eq!(books("8"), books("8"));
    assert_ne!(books("8"), books("9"));
}

#[test]
fn workloads_for_faults() {
    let c = |source| Build::c(source);
    let plugin = c("dl_plugin.c").named("dl_plugin.so").flags(&["-shared", "-fPIC"]).build();
    run(&c("threads.c"), &["--threads", "211"]);
    run(&c("dl.c"), &["--library", plugin.to_str().unwrap(), "--cycles", "53"]);
    run(&c("longjmp.c"), &["--rounds", "53"]);
    run(&Build::cpp("throw.cpp"), &["--rounds", "53"]);
    run(&c("forks.c"), &["--children", "53"]);
    run(&c("seccomp.c"), &["--ops", "5003"]);
    run(&c("blocks.c"), &["--blocks", "50021"]);
}

#[test]
fn a_program_that_replaces_itself() {
    let mut workload = Workload::spawn::<&str>(&Build::c("exec.c").build(), &[]);
    workload.say("allocate");
    assert_eq!(account::from_books(&workload.books())["site_old_program"].live, 101);
    workload.say("go");
    assert_eq!(account::from_books(&workload.books())["site_new_program"].live, 101);
    workload.quit();
}

#[test]
fn a_tick_server_answers_marks() {
    let mut workload = Workload::spawn(&Build::c("tick.c").build(), &["--hz", "1000"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    workload.say("mark");
    let mark: Value = serde_json::from_str(&workload.expect_line("{", PATIENCE)).unwrap();
    let number = |name: &str| mark[name].as_u64().unwrap();
    assert!(number("ticks") + number("missed") >= 150, "{mark}");
    assert!(
        number("work_p50_ns") <= number("work_p99_ns") && number("work_p99_ns") <= number("work_worst_ns")
    );
    assert!(number("work_worst_ns") <= number("turn_worst_ns"));
    workload.quit();
}

#[test]
fn a_loop_measures_its_intervals() {
    let mut workload =
        Workload::spawn(&Build::c("loop.c").build(), &["--milliseconds", "50", "--threads", "2"]);
    for _ in 0..2 {
        workload.say("go");
        let line: Value = serde_json::from_str(&workload.expect_line("{", PATIENCE)).unwrap();
        assert!(line["pairs"].as_u64().unwrap() > 1000, "{line}");
        assert!(line["took_ns"].as_u64().unwrap() >= 50_000_000, "{line}");
    }
    workload.quit();
}

#[test]
fn targets_for_errors() {
    Workload::spawn(&Build::c("idle.c").build(), &["--leak-every", "3"]).quit();
    Workload::spawn::<&str>(&Build::plain_c("idle.c").named("idle32").flags(&["-m32", "-O1"]).build(), &[])
        .quit();
    let bare = Build::plain_c("bare.c").flags(&["-O1", "-nostdlib", "-static", "-ffreestanding"]);
    Workload::spawn::<&str>(&bare.build(), &[]).quit();
    match Build::go("hello.go") {
        Some(build) => Workload::spawn::<&str>(&build.build(), &[]).quit(),
        None => skip::skip("go is not installed"),
    }
}

#[test]
fn code_that_equals_its_file_is_unchanged() {
    let mut workload = Workload::spawn::<&str>(&Build::c("idle.c").build(), &[]);
    assert_eq!(process::changed_code(workload.pid()), Vec::<String>::new());
    assert!(workload.lives());
    workload.quit();
}

/// One byte of one page, as a breakpoint changes it.
#[test]
fn code_that_differs_from_its_file_is_found() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, [0x55; 8192]).unwrap();
    // SAFETY: nobody else knows the file, so nobody shortens it while it is mapped.
    let mut page = unsafe { memmap2::MmapOptions::new().map_copy(file.as_file()) }.unwrap();
    page[4100] = 0xcc;
    let _code = page.make_exec().unwrap();
    let changed = process::changed_code(std::process::id());
    assert_eq!(changed, [format!("{}+0x1004", file.path().display())]);
}

/// A report with one site in two stacks, as the format has it.
fn report() -> Value {
    let column = |name: &str| json!({ "name": name, "role": if name == "stack_id" { "key" } else { "sum" } });
    let names = ["verdict", "allocs", "alloc_bytes", "frees", "live_blocks", "live_bytes", "stack_id"];
    let row = |stack: u64, numbers: [u64; 5]| {
        let mut cells = vec![json!({"word": "YOUNG"})];
        cells.extend(numbers.map(|n| json!({ "exact": n })));
        cells.push(json!({ "word": stack.to_string() }));
        json!({"cells": cells, "stacks": [{"role": "user", "stack": stack}]})
    };
    let frame = |name: &str| json!({"functions": [{ "name": name }]});
    let frames = ["malloc", "site_a", "site_a.constprop.0", "main"].map(frame);
    let stack = |pid: u64, site: usize| json!({"pid": pid, "frames": [0, site, 3]});
    json!({
        "sections": [{
            "name": "stacks",
            "columns": names.map(column),
            "rows": [row(0, [5, 500, 2, 3, 300]), row(1, [1, 100, 0, 1, 100]), row(2, [9, 9, 9, 0, 0])],
        }],
        "stacks": [stack(77, 1), stack(77, 2), stack(78, 1)],
        "frames": frames,
        "coverage": {
            "complete": true,
            "incomplete_because": [],
            "ledger": [{"probe": "free", "hits": 3, "unaccounted": 0, "outcomes": [
                {"name": "recorded", "class": "recorded", "count": 3},
                {"name": "lost_map_full", "class": "lost", "count": 0},
            ]}],
            "quality": {"abandoned": 4},
        },
    })
}

fn books() -> Value {
    json!({"sites": [
        {"function": "site_a", "allocs": 6, "alloc_bytes": 600, "frees": 2, "live": 4, "live_bytes": 400}
    ]})
}

#[test]
fn rows_of_a_site_add_up() {
    account::assert_books(&report(), 77, &books());
    let other = Account { allocs: 9, alloc_bytes: 9, frees: 9, live: 0, live_bytes: 0 };
    assert_eq!(account::from_report(&report(), 78)["site_a"], other);
    assert_eq!(account::quality(&report(), "abandoned"), 4);
    assert_eq!(account::quality(&report(), "missed_free"), 0);
    assert_eq!(account::outcome(&report(), "free", "recorded"), 3);
}

/// A comparison that cannot fail proves nothing: each of these is one number off.
#[test]
fn every_difference_is_found() {
    let off_by_one = [
        "/sections/0/rows/0/cells/1/exact",
        "/sections/0/rows/0/cells/2/exact",
        "/sections/0/rows/1/cells/3/exact",
        "/sections/0/rows/1/cells/4/exact",
        "/sections/0/rows/1/cells/5/exact",
        "/coverage/ledger/0/hits",
        "/coverage/ledger/0/unaccounted",
        "/coverage/ledger/0/outcomes/0/count",
    ];
    for pointer in off_by_one {
        let mut wrong = report();
        let number = wrong.pointer_mut(pointer).unwrap();
        *number = json!(number.as_u64().unwrap() + 1);
        assert_found(&wrong, pointer);
    }
    let mut wrong = report();
    wrong["coverage"]["complete"] = json!(false);
    assert_found(&wrong, "an incomplete report");
    wrong = report();
    wrong["frames"][2]["functions"][0]["name"] = json!("site_b");
    assert_found(&wrong, "a site that is not on the books");
    wrong = report();
    wrong["sections"][0]["rows"][0]["cells"][1] =
        json!({"estimate": {"value": 5.0, "low": 5.0, "high": 5.0}});
    assert_found(&wrong, "an estimate");
    wrong = report();
    wrong["coverage"]["ledger"][0]["hits"] = json!(4);
    wrong["coverage"]["ledger"][0]["outcomes"][1]["count"] = json!(1);
    assert_found(&wrong, "a lost hit");
    wrong = report();
    wrong["coverage"]["ledger"] = json!([]);
    assert_found(&wrong, "no ledger");
}

#[track_caller]
fn assert_found(wrong: &Value, what: &str) {
    let compared = std::panic::catch_unwind(|| account::assert_books(wrong, 77, &books()));
    assert!(compared.is_err(), "not found: {what}");
}

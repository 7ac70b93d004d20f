//! memleak is exact: per call site, its counts equal the records of the workload, for every allocator, and its
//! ledger has a place for every hit.
//!
//! 1 000 003 operations (a prime: no count comes out right by accident), eight threads, a fixed seed; 5 003 on a
//! slow machine.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::account;
use support::compile::{Build, prefixed_jemalloc, static_library};
use support::observer::Observer;
use support::workload::{RUN_PATIENCE, Workload};

fn run() -> [&'static str; 7] {
    ["--wait", "--threads", "8", "--ops", at_most("1000003"), "--seed", "20261"]
}

/// This many operations, or fewer on a slow machine.
fn at_most(usual: &str) -> &str {
    support::by_length("5003", usual, usual)
}

/// Observes one run, and asserts that every site is exact and nothing was lost. Returns the report and the books.
#[track_caller]
fn assert_exact(workload: &Path, arguments: &[&str]) -> (Value, Value) {
    let mut workload = Workload::spawn(workload, &run());
    let observer = Observer::attach("memleak", workload.pid(), arguments);
    let books = workload.run();
    let report = observer.interrupt().report(0);
    account::assert_books(&report, workload.pid(), &books);
    workload.quit();
    (report, books)
}

/// As [`assert_exact`], for a C program, whose process makes no call beside those on its books: the ledger must have
/// seen each of them, the releases of NULL and of older blocks too.
#[track_caller]
fn assert_exact_to_the_call(build: &Build, allocator: &str) {
    let (report, books) = assert_exact(&build.build(), &[]);
    let in_use = books["allocator"].as_str().unwrap_or_default();
    assert!(in_use.contains(allocator), "the workload uses {in_use}, not {allocator}");
    account::assert_every_call(&report, &[books]);
}

#[test]
fn glibc() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&Build::c("books.c"), "libc.so");
}

#[test]
fn glibc_static() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&Build::c("books.c").flags(&["-static", "-DLINKED_STATIC"]), "glibc, static");
}

#[test]
fn glibc_static_position_independent() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(
        &Build::c("books.c").flags(&["-static-pie", "-DLINKED_STATIC"]),
        "glibc, static",
    );
}

#[test]
fn glibc_at_fixed_addresses() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&Build::c("books.c").flags(&["-no-pie"]), "libc.so");
}

#[test]
fn musl() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&Build::musl("books.c").flags(&["-DLINKED_STATIC"]), "musl");
}

#[test]
fn jemalloc() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&Build::c("books.c").flags(&["-DNO_PVALLOC"]).link(&["-ljemalloc"]), "jemalloc");
}

#[test]
fn jemalloc_inside_the_executable() {
    let Some(_live) = support::live() else { return };
    let library = static_library("libjemalloc_pic.a");
    let build = Build::c("books.c").named("books-jemalloc").flags(&["-DNO_PVALLOC"]);
    assert_exact_to_the_call(&build.link(&[&library.to_string_lossy(), "-lm"]), "books-jemalloc");
}

#[test]
fn jemalloc_with_its_prefix() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&prefixed("je_", "books-je"), "books-je");
}

#[test]
fn jemalloc_as_rust_programs_link_it() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&prefixed("_rjem_", "books-rjem"), "books-rjem");
}

fn prefixed(prefix: &str, name: &str) -> Build {
    let library = prefixed_jemalloc(prefix);
    let build = Build::c("books.c").named(name).flags(&[&format!("-DPREFIX={prefix}")]);
    build.link(&[&library.to_string_lossy(), "-lm"])
}

#[test]
fn tcmalloc() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&Build::c("books.c").link(&["-ltcmalloc"]), "libtcmalloc.so");
}

#[test]
fn tcmalloc_minimal() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&Build::c("books.c").link(&["-ltcmalloc_minimal"]), "libtcmalloc_minimal");
}

#[test]
fn mimalloc() {
    let Some(_live) = support::live() else { return };
    assert_exact_to_the_call(&Build::c("books.c").link(&["-lmimalloc"]), "mimalloc");
}

#[test]
fn cpp_libstdcxx() {
    let Some(_live) = support::live() else { return };
    assert_exact(&Build::cpp("books.cpp").build(), &[]);
}

#[test]
fn cpp_static() {
    let Some(_live) = support::live() else { return };
    assert_exact(&Build::cpp("books.cpp").flags(&["-static", "-DLINKED_STATIC"]).build(), &[]);
}

/// The failing `operator new` of this workload throws out of an allocator that has its own: a return probe on it
/// would end the process. See `live_faults`, `an_exception_out_of_operator_new`.
#[test]
fn cpp_jemalloc() {
    let Some(_live) = support::live() else { return };
    assert_exact_with_new(&cpp_with("-ljemalloc"));
}

#[test]
fn cpp_tcmalloc() {
    let Some(_live) = support::live() else { return };
    assert_exact_with_new(&cpp_with("-ltcmalloc_minimal"));
}

#[test]
fn cpp_mimalloc() {
    let Some(_live) = support::live() else { return };
    let build = Build::cpp("books.cpp").flags(&["-DNEW_ABORTS"]);
    assert_exact_with_new(&build.link(&["-Wl,--no-as-needed", "-lmimalloc"]).build());
}

/// As [`assert_exact`], for allocators whose `operator new` needs a kernel with sessions to be followed.
#[track_caller]
fn assert_exact_with_new(workload: &Path) {
    let mut workload = Workload::spawn(workload, &run());
    let observer = Observer::attach("memleak", workload.pid(), &[]);
    let books = workload.run();
    account::assert_books_unless_new_is_left_out(&observer.interrupt().report(0), workload.pid(), &books);
    workload.quit();
}

fn cpp_with(library: &str) -> PathBuf {
    Build::cpp("books.cpp").link(&["-Wl,--no-as-needed", library]).build()
}

#[test]
fn rust() {
    let Some(_live) = support::live() else { return };
    assert_exact(&Build::rust("books.rs").build(), &[]);
}

/// Blocks of the pool and of malloc, side by side; the slabs that the pool takes from malloc are nested and not counted.
#[test]
fn a_custom_pool() {
    let Some(_live) = support::live() else { return };
    let functions = ["--alloc-fn", "pool_get:size=arg1,ptr=ret", "--free-fn", "pool_put:ptr=arg0"];
    let (report, books) = assert_exact(&Build::c("pools.c").build(), &functions);
    account::assert_every_call(&report, &[books]);
}

/// Where the kernel has no sessions, entry and return are two links.
#[test]
fn without_sessions() {
    let Some(_live) = support::live() else { return };
    assert_exact(&Build::c("books.c").build(), &["--method", "multi"]);
}

/// Where the kernel has no multi links, every site is a perf event.
#[test]
fn without_multi_links() {
    let Some(_live) = support::live() else { return };
    assert_exact(&Build::c("books.c").build(), &["--method", "perf"]);
}

/// The verifier takes most of the time to attach: nothing may be loaded that is not used, or twice.
#[test]
fn only_what_is_used_is_loaded() {
    let Some(_live) = support::live() else { return };
    let idle = Build::c("idle.c").build();
    for method in ["session", "multi", "perf"] {
        let mut target = Workload::spawn(&idle, &["--leak-every", "3"]);
        let outcome = Observer::attach("memleak", target.pid(), &["-vv", "--method", method]).interrupt();
        let loaded = |line: &str| {
            let (program, _) = line.split_once("loading ")?.1.split_once(" took ")?;
            // Those of the calibration are taken away again.
            (!program.starts_with("floor_")).then(|| program.to_owned())
        };
        let mut programs: Vec<String> = outcome.stderr.lines().filter_map(loaded).collect();
        programs.sort();
        let session = outcome.stderr.contains("by uprobe session");
        let used: &[&str] = if session {
            &["ground_exec", "ground_exit", "memleak_free", "memleak_session"]
        } else {
            &["ground_exec", "ground_exit", "memleak_entry", "memleak_free", "memleak_return"]
        };
        assert_eq!(programs, used, "--method {method}: {}", outcome.stderr);
        target.kill();
    }
}

#[test]
fn four_processes_by_name() {
    let Some(_live) = support::live() else { return };
    let name = format!("four{}", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(&name);
    std::fs::copy(Build::c("books.c").build(), &program).unwrap();
    let seeds = ["11", "12", "13", "14"];
    let start = |seed: &&str| {
        Workload::spawn(&program, &["--wait", "--threads", "2", "--ops", at_most("250007"), "--seed", *seed])
    };
    let mut workloads: Vec<Workload> = seeds.iter().map(start).collect();
    let mut observer =
        Observer::spawn(&["memleak", "--max-cost", "off", "--format", "json", "--name", &format!("{name}*")]);
    observer.wait_attached();
    for workload in &mut workloads {
        workload.say("go");
    }
    let books: Vec<Value> = workloads.iter_mut().map(Workload::books).collect();
    let report = observer.interrupt().report(0);
    for (workload, books) in workloads.iter().zip(&books) {
        account::assert_books(&report, workload.pid(), books);
    }
    account::assert_every_call(&report, &books);
    for workload in workloads {
        workload.quit();
    }
}

/// Children inherit the code of their parent, breakpoints included, and the addresses of its blocks. They are not
/// observed, and what they release stays live in the parent.
#[test]
fn forked_children_do_not_count() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("books.c").build();
    let run = ["--wait", "--threads", "4", "--ops", at_most("100003"), "--seed", "5", "--fork", "4"];
    let mut workload = Workload::spawn(&program, &run);
    let observer = Observer::attach("memleak", workload.pid(), &[]);
    let books = workload.run();
    let report = observer.interrupt().report(0);
    account::assert_books(&report, workload.pid(), &books);
    account::assert_every_call(&report, &[books]);
    workload.quit();
}

/// Under observation from its first allocation: the blocks from before `go` are on the report too, and no release is
/// of a block that was not seen.
#[test]
fn a_command_from_its_first_allocation() {
    let Some(_live) = support::live() else { return };
    let workload = Build::c("books.c").build();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let (file, workload) = (file.to_str().unwrap(), workload.to_str().unwrap());
    // Its stdin is empty: it ends by itself.
    let arguments = [
        "memleak",
        "--max-cost",
        "off",
        "-o",
        file,
        "--",
        workload,
        "--threads",
        "8",
        "--ops",
        at_most("200003"),
        "--seed",
        "3",
    ];
    let mut command = std::process::Command::new(support::observer::program());
    // Else glibc calls free once more for every block in the cache of a thread that ends (malloc/malloc.c,
    // tcache_thread_shutdown), and how many threads end before the process does is chance.
    command.args(arguments).env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
    let outcome = Observer::spawn_command(command).finish(RUN_PATIENCE);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    // Its output goes to standard error: standard output is the report's.
    let said = &outcome.stderr;
    let line = said.lines().find(|line| line.starts_with("{\"allocator\"")).unwrap();
    let books: Value = serde_json::from_str(line).unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let pid = said.lines().find_map(|line| line.strip_prefix("pid ")).unwrap().parse().unwrap();
    let mut expected = account::from_books(&books);
    expected.extend(account::before(&books));
    account::assert_accounts(&report, pid, &expected);
    account::assert_nothing_lost(&report);
    // A thread that ends releases its (empty) cache, which never went through malloc, and twice nothing; the end of
    // the process stops the eight anywhere on that way.
    let null = books["null_frees"].as_u64().unwrap();
    assert!((0..=8).contains(&account::outcome(&report, "free", "untracked")));
    assert!((null..=null + 2 * 8).contains(&account::outcome(&report, "free", "null")));
}

/// Two profilers on one target, each exact: neither takes the other's probes out.
#[test]
fn two_observers_at_once() {
    let Some(_live) = support::live() else { return };
    let mut workload = Workload::spawn(&Build::c("books.c").build(), &run());
    let (first, second) =
        (Observer::attach("memleak", workload.pid(), &[]), Observer::attach("memleak", workload.pid(), &[]));
    let passing = Observer::attach("memleak", workload.pid(), &[]);
    account::assert_all_accounted(&passing.interrupt().report(0));
    let books = workload.run();
    for observer in [first, second] {
        let report = observer.interrupt().report(0);
        account::assert_books(&report, workload.pid(), &books);
    }
    workload.quit();
}

/// 5 000 stacks stay apart: one row each.
#[test]
fn stacks_are_told_apart() {
    let Some(_live) = support::live() else { return };
    let blocks = Build::c("blocks.c").build();
    let mut workload = Workload::spawn(&blocks, &["--stacks", "5000", "--blocks", "100003"]);
    let observer = Observer::attach("memleak", workload.pid(), &[]);
    let books = workload.run();
    let report = observer.interrupt().report(0);
    account::assert_books(&report, workload.pid(), &books);
    assert_eq!(account::row_count(&report), 5000);
    workload.quit();
}

/// `--sample-bytes` samples: the books must lie in the interval that the report gives, and the report must say that it
/// estimates. One run per seed; the interval is meant to miss one time in twenty.
#[test]
fn sampling_is_unbiased() {
    let Some(_live) = support::live() else { return };
    let rounds: u32 = if support::soak() { 100 } else { 10 };
    let (mut hits, mut tried, mut estimated, mut truth) = (0_u32, 0_u32, 0.0, 0.0);
    for round in 0..rounds {
        let seed = (round + 1).to_string();
        let run = ["--wait", "--threads", "4", "--ops", "60013", "--seed", &seed];
        let mut workload = Workload::spawn(&Build::c("books.c").build(), &run);
        let observer = Observer::attach("memleak", workload.pid(), &["--sample-bytes", "64KiB"]);
        let books = workload.run();
        let report = observer.interrupt().report(0);
        account::assert_nothing_lost(&report);
        for (name, account) in account::from_books(&books) {
            let Some(estimate) = account::estimated_bytes(&report, workload.pid(), &name) else { continue };
            tried += 1;
            hits += u32::from(estimate.contains(account.alloc_bytes));
            estimated += estimate.value;
            truth += account.alloc_bytes as f64;
        }
        workload.quit();
    }
    assert!(tried >= rounds * 5, "{tried} estimates in {rounds} rounds");
    let (coverage, ratio) = (f64::from(hits) / f64::from(tried), estimated / truth);
    assert!(coverage >= 0.85, "the 95 % intervals hold in {coverage:.3} of {tried} cases");
    assert!((0.95..=1.05).contains(&ratio), "estimates are {ratio:.4} of the truth");
}

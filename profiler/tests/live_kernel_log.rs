//! What programs in the kernel log, which `-vv` shows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

const POOL: [&str; 4] = ["--alloc-fn", "pool_get:size=arg1,ptr=ret", "--free-fn", "pool_put:ptr=arg0"];
const LOGGED: &str = "in the kernel: ";

/// How often something was logged that ends in these words, and what `stderr` says of repetitions counted.
fn times(stderr: &str, words: &str) -> u64 {
    let logged = stderr.lines().filter_map(|line| line.split_once(LOGGED)?.1.split_once(words));
    logged
        .map(|(_, rest)| match rest.rsplit_once(" (").and_then(|(_, rest)| rest.strip_suffix(" times)")) {
            Some(times) => times.parse::<u64>().unwrap(),
            None => 1,
        })
        .sum()
}

/// With `-vv`; otherwise there is nothing of it.
#[test]
fn an_exec() {
    let Some(_live) = support::live() else { return };
    for (verbose, is_logged) in [("-vv", true), ("-v", false)] {
        let mut target = Workload::spawn::<&str>(&Build::c("exec_thread.c").build(), &[]);
        let pid = target.pid_argument();
        let mut observer = Observer::spawn(&[verbose, "syscalls", "--pid", &pid]);
        observer.wait_attached();
        target.say("go");
        target.expect_line("AGAIN", PATIENCE);
        let outcome = observer.interrupt();
        target.quit();
        let logged = times(&outcome.stderr, &format!("process {pid} replaced its program"));
        assert_eq!(logged, u64::from(is_logged), "{verbose}: {}", outcome.stderr);
        assert!(is_logged || !outcome.stderr.contains(LOGGED), "{}", outcome.stderr);
    }
}

/// As often as the ledger has them.
#[test]
fn calls_that_are_abandoned() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("longjmp.c").build(), &["--rounds", "53"]);
    let observer = Observer::attach("memleak", target.pid(), &[POOL.as_slice(), &["-vv"]].concat());
    target.run();
    let outcome = observer.interrupt();
    target.quit();
    assert_eq!(times(&outcome.stderr, "was left without returning"), 53, "{}", outcome.stderr);
    assert_eq!(account::quality(&outcome.report(0), "abandoned"), 53);
}

/// What tables have no room for. The ring of the log is small: when it is full, too, the rest is not said.
#[test]
fn blocks_and_stacks_without_room() {
    let Some(_live) = support::live() else { return };
    for (few, words, exit, counter) in [
        (["--max-blocks", "1000"], "was not recorded: ", 6, "lost_map_full"),
        (["--max-stacks", "2"], "got no number: all are taken", 6, "stack_table_full"),
    ] {
        let mut target = Workload::spawn(&Build::c("books.c").build(), &["--wait", "--ops", "10007"]);
        let observer = Observer::attach("memleak", target.pid(), &[few.as_slice(), &["-vv"]].concat());
        target.run();
        let outcome = observer.interrupt();
        target.quit();
        let logged = times(&outcome.stderr, words);
        let report = outcome.report(exit);
        let counted = match counter {
            "lost_map_full" => account::outcome(&report, "alloc_return", counter),
            _ => account::quality(&report, counter),
        };
        assert!(0 < logged && logged <= counted, "{few:?}: {logged} of {counted}");
    }
}

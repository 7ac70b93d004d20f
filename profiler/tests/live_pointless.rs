//! Findings of pointless system calls: each on a program with the fault, and none on its healthy twin.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

/// The kinds of the workload, and the rule that each breaks.
const KINDS: [(&str, &str); 8] = [
    ("spin", "syscalls.poll_spin"),
    ("tiny", "syscalls.tiny_transfers"),
    ("sends", "syscalls.unbatched_sends"),
    ("eagain", "syscalls.eagain_storm"),
    ("clocks", "syscalls.clock_calls"),
    ("futexes", "syscalls.futex_storm"),
    ("missing", "syscalls.missing_files"),
    ("syncs", "syscalls.sync_in_loop"),
];

/// The rules of the problems that are found, and the exit code of a run with `--gate`.
fn problems(program: &Path, kind: &str, how: &str) -> (Vec<String>, Option<i32>) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = folder.path().join("world.db");
    let mut target = Workload::spawn(program, &[kind, how, file.to_str().unwrap()]);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&["syscalls", "--gate", "--format", "json", "--pid", &pid]);
    observer.wait_attached();
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let outcome = observer.interrupt();
    target.quit();
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    account::assert_nothing_lost(&report);
    let findings = account::list(&report, "findings").iter();
    let problems =
        findings.filter(|finding| finding["severity"] == "problem" && finding["rule"] != "gate.failed");
    let rules = problems.map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect();
    (rules, outcome.status.code())
}

#[test]
fn what_is_planted_is_found_and_fails_the_gate() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("pointless.c").build();
    for (kind, rule) in KINDS {
        assert_eq!(problems(&program, kind, "planted"), (vec![rule.to_owned()], Some(1)), "{kind}");
    }
}

#[test]
fn a_healthy_twin_has_no_finding_and_passes_the_gate() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("pointless.c").build();
    for (kind, _) in KINDS {
        assert_eq!(problems(&program, kind, "healthy"), (Vec::new(), Some(0)), "{kind}");
    }
}

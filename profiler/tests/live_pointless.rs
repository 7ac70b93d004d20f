//! Findings of pointless system calls: each on a program with the fault, and none on its healthy twin.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::path::Path;

use rustix::process::Signal;
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

/// Kinds that look as if they were pointless.
const HEALTHY: [&str; 5] = ["ready", "woken", "blocked", "cpu-clock", "handed-over"];

/// The rules of the problems that are found, and the exit code of a run with `--gate`.
fn problems(program: &Path, kinds: &[&str], how: &str) -> (Vec<String>, Option<i32>) {
    // Not in /tmp: a sync is slow only where there is a disk.
    let kept = testbed::place::kept_files();
    std::fs::create_dir_all(&kept).unwrap();
    let folder = tempfile::tempdir_in(kept).unwrap();
    let spawn = |kind: &&str| {
        let file = folder.path().join(kind);
        Workload::spawn(program, &[kind, how, file.to_str().unwrap()])
    };
    let mut targets: Vec<Workload> = kinds.iter().map(spawn).collect();
    let pids: Vec<String> = targets.iter().map(Workload::pid_argument).collect();
    let mut arguments = vec!["syscalls", "--gate", "--max-cost", "off", "--format", "json"];
    arguments.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
    let mut observer = Observer::spawn(&arguments);
    observer.wait_attached();
    targets.iter_mut().for_each(|target| target.say("go"));
    for target in &mut targets {
        target.expect_line("DONE", PATIENCE);
    }
    let outcome = observer.interrupt();
    targets.into_iter().for_each(Workload::quit);
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    account::assert_nothing_lost(&report);
    let findings = account::list(&report, "findings").iter();
    let problems =
        findings.filter(|finding| finding["severity"] == "problem" && finding["rule"] != "gate.failed");
    let rules = problems.map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect();
    (rules, outcome.status.code())
}

#[test]
fn planted_faults_are_found_and_fail_the_gate() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("pointless.c").build();
    for (kind, rule) in KINDS {
        assert_eq!(problems(&program, &[kind], "planted"), (vec![rule.to_owned()], Some(1)), "{kind}");
    }
}

#[test]
fn healthy_twins_have_no_finding_and_pass_the_gate() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("pointless.c").build();
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).chain(HEALTHY).collect();
    // A spinning one would slow the others: it is observed alone.
    let (spins, rests): (Vec<&str>, Vec<&str>) = kinds.into_iter().partition(|kind| *kind == "ready");
    for kinds in [spins, rests] {
        assert_eq!(problems(&program, &kinds, "healthy"), (Vec::new(), Some(0)), "{kinds:?}");
    }
}

/// The gate does not pass a server that crashes under observation. It passes one that was asked to end.
#[test]
fn a_crash_leaves_the_gate_undecided() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("pointless.c").build();
    for (signal, code, severity) in [(Signal::SEGV, 3, "limit"), (Signal::TERM, 0, "info")] {
        let mut target = Workload::spawn(&program, &["spin", "healthy", "/dev/null"]);
        let pid = target.pid_argument();
        let mut observer =
            Observer::spawn(&["syscalls", "--gate", "--for", "1h", "--format", "json", "--pid", &pid]);
        observer.wait_attached();
        target.say("go");
        target.expect_line("DONE", PATIENCE);
        target.signal(signal);
        let report = observer.finish(PATIENCE).report(code);
        target.end();
        let findings = account::list(&report, "findings");
        let place = findings.iter().position(|finding| finding["rule"] == "syscalls.ended");
        let place = place.unwrap_or_else(|| panic!("{signal:?}: {} {findings:?}", report["meta"]["targets"]));
        assert_eq!(findings[place]["severity"], severity, "{signal:?}");
        assert_eq!(place == 0, code == 3, "{signal:?}: {findings:?}");
    }
}

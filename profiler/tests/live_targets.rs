//! Which processes are observed: by lists of pids, by name, by the name of a script; and which processes of a
//! name are left out.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::compile::Build;
use support::observer::{Observer, program};
use support::workload::{PATIENCE, Workload, wait};

/// The report of a short run on these targets.
fn report(target: &[&str]) -> Value {
    let short = ["memleak", "--format", "json", "--for", "200ms"];
    Observer::spawn(&[&short[..], target].concat()).finish(PATIENCE).report(0)
}

/// The pids that a report is about, ascending.
fn pids(report: &Value) -> Vec<u64> {
    let targets = report["meta"]["targets"].as_array().expect("targets");
    let mut pids: Vec<u64> = targets.iter().map(|target| target["pid"].as_u64().expect("a pid")).collect();
    pids.sort_unstable();
    pids
}

/// A copy of the idle workload under any name.
fn idle(folder: &Path, name: &str) -> PathBuf {
    let copy = folder.join(name);
    fs::copy(Build::c("idle.c").build(), &copy).expect("to copy a program");
    copy
}

#[test]
fn several_pids_in_any_form() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("idle.c").build();
    let targets = [Workload::spawn::<&str>(&program, &[]), Workload::spawn::<&str>(&program, &[])];
    let [a, b] = targets.each_ref().map(Workload::pid_argument);
    let mut expected: Vec<u64> = targets.iter().map(|target| target.pid().into()).collect();
    expected.sort_unstable();
    let (list, as_pidof) = (format!("{a},{b}"), format!("{b} {a}\n"));
    for target in [&["--pid", &a, "--pid", &b][..], &["--pid", &a, &b], &["--pid", &list], &["-p", &as_pidof]]
    {
        assert_eq!(pids(&report(target)), expected, "{target:?}");
    }
    targets.into_iter().for_each(Workload::quit);
}

#[test]
fn a_name_with_brackets_is_its_own_name() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let target = Workload::spawn::<&str>(&idle(folder.path(), "world [eu]"), &[]);
    for pattern in ["world [eu]", "world ?eu?", "world [*"] {
        assert_eq!(pids(&report(&["--name", pattern])), [u64::from(target.pid())], "{pattern}");
    }
    target.quit();
}

#[test]
fn a_script_is_found_by_its_name() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("world-server-of-this-test.py");
    fs::write(&script, "import sys\nprint('READY', flush=True)\nsys.stdin.readline()\n").unwrap();
    let mut python = Command::new("python3");
    python.arg(&script);
    let target = Workload::spawn_command(python);
    assert_eq!(pids(&report(&["--name", "world-server-of-*.py"])), [u64::from(target.pid())]);
    target.quit();
}

/// Processes of a name that cannot be observed are left out with a note. Processes that are given one by one must all be
/// observable.
#[test]
fn a_process_that_cannot_be_observed_does_not_stop_the_others() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let good = Workload::spawn::<&str>(&idle(folder.path(), "mixed-64"), &[]);
    let wide = ["-m32", "-O1", "-D_FILE_OFFSET_BITS=64"];
    let narrow = Build::plain_c("idle.c").named("mixed-32").flags(&wide).build();
    let bare = ["-O1", "-nostdlib", "-static", "-ffreestanding"];
    let bare = Build::plain_c("bare.c").named("mixed-bare").flags(&bare).build();
    let others = [Workload::spawn::<&str>(&narrow, &[]), Workload::spawn::<&str>(&bare, &[])];
    let found = report(&["--name", "mixed-*"]);
    assert_eq!(pids(&found), [u64::from(good.pid())]);
    let notes = found["meta"]["targets"][0]["notes"].to_string();
    for (other, why) in others.iter().zip(["32-bit", "none of the files it maps defines malloc"]) {
        let words = format!("process {} is of the same name", other.pid());
        assert!(notes.contains(&words) && notes.contains(why), "{notes}");
    }
    let [narrow, bare] = others;
    let both = format!("{} {}", good.pid(), narrow.pid());
    Observer::spawn(&["memleak", "--pid", &both]).finish(PATIENCE).assert_error(4, &["32"]);
    Observer::spawn(&["memleak", "--name", "mixed-bare"]).finish(PATIENCE).assert_error(4, &["alloc"]);
    [good, narrow, bare].into_iter().for_each(Workload::quit);
}

/// As with `| head -1`, with the interim reports of an unlimited observation: it ends when its reader does.
#[test]
fn an_observation_that_nobody_reads_ends() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let target = Workload::spawn::<&str>(&idle(folder.path(), "unread"), &[]);
    let line = format!("{} memleak -q --pid {} --every 100ms | true", program().display(), target.pid());
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{line}; exit ${{PIPESTATUS[0]}}")]);
    let mut child = shell.spawn().unwrap();
    let status = wait(&mut child, PATIENCE);
    let _ = child.kill();
    assert_eq!(status.expect("it goes on for nobody").code(), Some(0));
    target.quit();
}

//! `examples/ci/leak-gate.sh`, as a job of CI runs it: a server that leaks fails it, an honest one passes, and nothing
//! keeps running afterwards.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::StatVfsMountFlags;
use rustix::process::Signal;
use serde_json::Value;
use support::compile::Build;
use support::observer::{program, public_copy};
use support::pong;
use support::workload::{PATIENCE, RUN_PATIENCE, send, wait};
use testbed::{place, skip};

/// A user without rights who is not `nobody`: `daemon` on Debian.
const PLAIN_USER: u32 = 1;

/// As in `live_verdicts.rs`: all that is honest lives for half of the age that is asked about.
const PACE: [&str; 6] = ["--bots", "40", "--session-mean", "2s", "--pause-mean", "500ms"];

fn script() -> Command {
    let script = place::checkout().join("examples/ci/leak-gate.sh");
    let mut command = Command::new(script);
    command.env("PROFILER", program()).env("NO_COLOR", "1").env("RUN_AS", "root");
    command.env("OLDER", "4s").env("FOR", "18s").stdin(Stdio::null());
    command
}

fn start(out: &Path, leaks: &[&str]) -> Child {
    let mut command = script();
    // A load that outlives the server unless it is ended.
    command
        .env("OUT", out)
        .env("READY", "true")
        .env("LOAD", format!("echo $$ > {}/load; exec sleep 1000", out.display()));
    let output = fs::File::create(out.join("words")).expect("to write a file");
    command.stdout(output.try_clone().expect("a descriptor")).stderr(output);
    command.arg(pong::path()).args(PACE).args(leaks).spawn().expect("to run the script")
}

fn end(mut script: Child, out: &Path) -> (Option<i32>, Value) {
    let status = wait(&mut script, RUN_PATIENCE).expect("the script ends");
    let words = fs::read_to_string(out.join("words")).unwrap_or_default();
    let report = fs::read(out.join("leak.json")).unwrap_or_else(|_| panic!("no report: {status}\n{words}"));
    let load = fs::read_to_string(out.join("load")).expect("the load was started");
    let load = fs::read(format!("/proc/{}/cmdline", load.trim())).unwrap_or_default();
    assert!(!load.starts_with(b"sleep"), "the load goes on");
    (status.code(), serde_json::from_slice(&report).expect("the report is JSON"))
}

#[test]
fn a_leak_fails_the_job_and_an_honest_server_passes() {
    let Some(_live) = support::live() else { return };
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let [leaks, honest] = folders.each_ref().map(|folder| folder.path());
    let (first, second) = (start(leaks, &["--leak", "chat"]), start(honest, &[]));
    let (code, report) = end(first, leaks);
    assert_eq!((code, &report["verdict"]["word"]), (Some(1), &"leak".into()), "{:#}", report["findings"]);
    assert!(report["verdict"]["problem_sites"].as_u64() >= Some(1));
    assert_eq!(
        report["meta"]["targets"][0]["ended"].as_str().map(|ended| ended.contains("SIGTERM")),
        Some(true)
    );
    let (code, report) = end(second, honest);
    assert_eq!((code, &report["verdict"]["word"]), (Some(0), &"clean".into()), "{:#}", report["findings"]);

    // The leak is accepted, and the other entry matches no leak.
    let known = leaks.join("known.txt");
    fs::write(&known, "*ChatHistory::push*  # trimmed from 2.4 on\nroom::Gone::load\n")
        .expect("to write a file");
    let mut again = Command::new(program());
    again
        .arg("report")
        .arg(leaks.join("leak.json"))
        .args(["--gate", "--format", "jsonl", "--known"])
        .arg(&known);
    let again = again.output().expect("to run profiler");
    let lines = String::from_utf8_lossy(&again.stdout);
    let rules: Vec<Value> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["kind"] == "finding")
        .map(|line| line["rule"].clone())
        .collect();
    assert_eq!(again.status.code(), Some(0), "{rules:?}");
    for rule in ["memleak.leak", "gate.passed", "gate.excused", "gate.stale"] {
        assert!(rules.contains(&rule.into()), "{rule} is not in {rules:?}");
    }
}

/// A server that fails is not a server that does not leak.
#[test]
fn a_server_that_fails_fails_the_job() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let run =
        script().env("OUT", folder.path()).args(["sh", "-c", "exit 3"]).output().expect("to run the script");
    assert_eq!(run.status.code(), Some(1), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(String::from_utf8_lossy(&run.stdout).starts_with("The command ended with exit code 3"));
}

/// The pid that a file holds, once it is there.
fn pid_in(file: &Path) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if let Ok(pid) = text.trim().parse() {
            return pid;
        }
        assert!(Instant::now() < deadline, "no pid in {}: {text:?}", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As most jobs of CI run it: by a user with `sudo`, who may not signal what it runs, and whose files nobody else
/// can reach.
#[test]
fn a_plain_user_with_sudo_gets_the_load_and_the_end() {
    let Some(_live) = support::live() else { return };
    let (tools, sudo) = public_copy(&Build::plain_c("sudo.c").build());
    let mounted = rustix::fs::statvfs(tools.path()).expect("to look at a directory").f_flag;
    if mounted.contains(StatVfsMountFlags::NOSUID) {
        return skip::skip("no program gets rights in /tmp (nosuid)");
    }
    fs::set_permissions(&sudo, Permissions::from_mode(0o4755)).expect("to make a sudo");
    fs::copy(program(), tools.path().join("profiler")).expect("to copy profiler");
    let script = place::checkout().join("examples/ci/leak-gate.sh");
    fs::copy(script, tools.path().join("leak-gate.sh")).expect("to copy the script");
    let own = tempfile::tempdir_in("/tmp").expect("a directory");
    let file = |name: &str| own.path().join(name);
    fs::write(file("server"), "#!/bin/sh\nid -u > who; echo $$ > pid; exec sleep 1000\n").expect("a server");
    fs::set_permissions(file("server"), Permissions::from_mode(0o700)).expect("a program");
    for path in [own.path(), &file("server")] {
        chown(path, Some(PLAIN_USER), Some(PLAIN_USER)).expect("to give a file away");
    }
    let start = |length: &str| {
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap_or_default());
        let mut job = Command::new(tools.path().join("leak-gate.sh"));
        job.arg("./server").current_dir(own.path()).uid(PLAIN_USER).gid(PLAIN_USER).env("PATH", path);
        job.env("OLDER", "1s").env("FOR", length).env("READY", "[ -s pid ]");
        job.env("LOAD", "echo $$ > load; exec sleep 1000").stdin(Stdio::null());
        for unset in ["PROFILER", "RUN_AS", "OUT", "KNOWN", "ABOVE", "SUDO_USER"] {
            job.env_remove(unset);
        }
        support::about_to_run();
        let pids = ["pid", "load"].map(file);
        pids.iter().for_each(|file| drop(fs::remove_file(file)));
        (job.spawn().expect("to run the script"), pids)
    };
    let ended =
        |pid: u32| !fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(b"sleep");

    let (mut job, pids) = start("3s");
    let pids = pids.each_ref().map(|file| pid_in(file));
    let status = wait(&mut job, PATIENCE).expect("the script ends");
    // It leaks nothing; whether so short a time is enough to say so is not asked here.
    assert!([Some(0), Some(3)].contains(&status.code()), "{status}");
    assert_eq!(fs::read_to_string(file("who")).expect("the server ran").trim(), PLAIN_USER.to_string());
    assert!(pids.iter().all(|pid| ended(*pid)), "{pids:?}");
    assert!(file("leak.json").exists());

    let (mut job, pids) = start("1h");
    let pids = pids.each_ref().map(|file| pid_in(file));
    send(job.id(), Signal::TERM);
    let status = wait(&mut job, PATIENCE).expect("the script ends when it is asked to");
    assert_eq!(status.code(), Some(130));
    assert!(pids.iter().all(|pid| ended(*pid)), "{pids:?}");
}

//! `examples/ci/leak-gate.sh`, as a job of CI runs it: a server that leaks fails it, an honest one passes, and nothing
//! goes on behind it.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::observer::program;
use support::pong;
use support::workload::{RUN_PATIENCE, wait};

/// As in `live_verdicts.rs`: all that is honest lives for half of the age that is asked about.
const PACE: [&str; 6] = ["--bots", "40", "--session-mean", "2s", "--pause-mean", "500ms"];

fn script() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ci/leak-gate.sh");
    let mut command = Command::new(script);
    command.env("PROFILER", program()).env("NO_COLOR", "1").env("RUN_AS", "root");
    command.env("OLDER", "4s").env("FOR", "18s").stdin(Stdio::null());
    command
}

fn start(out: &Path, leaks: &[&str]) -> Child {
    let mut command = script();
    // A load that outlives what it is for, unless it is ended.
    command
        .env("OUT", out)
        .env("READY", "true")
        .env("LOAD", format!("echo $$ > {}/load; exec sleep 1000", out.display()));
    let output = std::fs::File::create(out.join("words")).expect("to write a file");
    command.stdout(output.try_clone().expect("a descriptor")).stderr(output);
    command.arg(pong::path()).args(PACE).args(leaks).spawn().expect("to run the script")
}

fn end(mut script: Child, out: &Path) -> (Option<i32>, Value) {
    let status = wait(&mut script, RUN_PATIENCE).expect("the script ends");
    let words = std::fs::read_to_string(out.join("words")).unwrap_or_default();
    let report =
        std::fs::read(out.join("leak.json")).unwrap_or_else(|_| panic!("no report: {status}\n{words}"));
    let load = std::fs::read_to_string(out.join("load")).expect("the load was started");
    let load = std::fs::read(format!("/proc/{}/cmdline", load.trim())).unwrap_or_default();
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

    // The leak is accepted, and another entry is none any more.
    let known = leaks.join("known.txt");
    std::fs::write(&known, "*ChatHistory::push*  # trimmed from 2.4 on\nroom::Gone::load\n")
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

/// A server that fails is no server that does not leak.
#[test]
fn a_server_that_fails_fails_the_job() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let run =
        script().env("OUT", folder.path()).args(["sh", "-c", "exit 3"]).output().expect("to run the script");
    assert_eq!(run.status.code(), Some(1), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(String::from_utf8_lossy(&run.stdout).starts_with("The command ended with exit code 3"));
}

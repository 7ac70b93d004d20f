//! `-- COMMAND`: how a launched command ends, and what does not outlive the observation.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::observer::{NOBODY, Observer, Outcome, program};
use support::workload::{PATIENCE, Workload, send};

/// A shell that prints its pid and that of a child that it waits for.
const WITH_A_CHILD: &str = "sleep 1000 & echo pids $$ $! >&2; wait";
/// The same; it and its child ignore SIGTERM.
const DEAF: &str = "trap '' TERM; sleep 1000 & echo pids $$ $! >&2; wait; wait";

/// Starts `profiler memleak --format json OPTIONS -- sh -c SCRIPT`.
fn launch(options: &[&str], script: &str) -> Observer {
    let command = ["--", "sh", "-c", script];
    Observer::spawn(&[&["memleak", "--format", "json"][..], options, &command].concat())
}

/// The pids that the command prints.
fn pids(observer: &mut Observer) -> Vec<u32> {
    let line = observer.expect_line("pids ");
    line.split(' ').skip(1).map(|pid| pid.parse().expect("a pid")).collect()
}

/// Whether a process runs: a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[track_caller]
fn assert_end(pids: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    for pid in pids {
        while runs(*pid) {
            assert!(Instant::now() < deadline, "process {pid} of {pids:?} outlives profiler");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn ended(report: &Value) -> &str {
    let targets = report["meta"]["targets"].as_array().expect("targets");
    targets.last().expect("a target")["ended"].as_str().unwrap_or("runs")
}

fn rules(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().map(|finding| finding["rule"].as_str().expect("a rule")).collect()
}

/// The helpers that profiler has started and that keep its command. The list of children is not exact while one of them
/// ends (proc_pid_children(5)), so it is read until there is one.
fn keepers(profiler: u32) -> Vec<u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let keepers = now_keeping(profiler);
        if !keepers.is_empty() || Instant::now() > deadline {
            return keepers;
        }
    }
}

/// Those that the list of children has at this moment.
fn now_keeping(profiler: u32) -> Vec<u32> {
    let list = format!("/proc/{profiler}/task/{profiler}/children");
    let children = fs::read_to_string(list).expect("children");
    let keeps = |pid: &u32| {
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command_line.windows(6).any(|w| w == b"__keep")
    };
    children.split_whitespace().map(|pid| pid.parse().expect("a pid")).filter(keeps).collect()
}

#[test]
fn the_end_of_the_time_ends_the_command_and_what_it_started() {
    let Some(_live) = support::live() else { return };
    let mut observer = launch(&["--for", "1s"], WITH_A_CHILD);
    let pids = pids(&mut observer);
    let report = observer.finish(PATIENCE).report(0);
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert_eq!(ended(&report), "ended by profiler (SIGTERM)");
    assert_eq!(report["meta"]["ended"], "elapsed");
    assert!(!rules(&report).iter().any(|rule| rule.starts_with("command.")), "{:?}", rules(&report));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_its_grace() {
    let Some(_live) = support::live() else { return };
    let mut observer = launch(&["--for", "1s", "--grace", "300ms"], DEAF);
    let pids = pids(&mut observer);
    let outcome = observer.finish(PATIENCE);
    let report = outcome.report(0);
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert!(ended(&report).starts_with("ended by profiler (SIGKILL)"), "{}", ended(&report));
    assert!(rules(&report).contains(&"command.killed"), "{:?}", rules(&report));
}

#[test]
fn an_interrupt_ends_the_command_and_gives_the_report() {
    let Some(_live) = support::live() else { return };
    let mut observer = launch(&[], WITH_A_CHILD);
    let pids = pids(&mut observer);
    let report = observer.interrupt().report(0);
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert_eq!(
        (ended(&report), &report["meta"]["ended"]),
        ("ended by profiler (SIGTERM)", &"interrupted".into())
    );
}

/// The first interrupt ended the observation, the next one the patience with the command. The report is written.
#[test]
fn a_second_interrupt_cuts_the_grace_short() {
    let Some(_live) = support::live() else { return };
    let mut observer = launch(&["--grace", "1h"], DEAF);
    let pids = pids(&mut observer);
    observer.signal(Signal::INT);
    observer.expect_line("the command is asked to end");
    let outcome = observer.interrupt();
    let report = outcome.report(0);
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert!(ended(&report).starts_with("ended by profiler (SIGKILL)"), "{}", ended(&report));
    assert_eq!(report["meta"]["ended"], "interrupted");
    let killed =
        report["findings"].as_array().expect("findings").iter().find(|f| f["rule"] == "command.killed");
    assert!(!killed.expect("a finding")["text"].to_string().contains("1h"), "it had less: {killed:?}");
}

/// Without a command there is nothing to wait for: the second signal ends profiler at once, even if it is busy.
#[test]
fn a_second_signal_ends_profiler_where_there_is_no_command() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn("sh".as_ref(), &["-c", "echo READY; exec sleep 1000"]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    // Both are there before it looks.
    observer.signal(Signal::STOP);
    observer.signal(Signal::INT);
    observer.signal(Signal::TERM);
    observer.signal(Signal::CONT);
    let outcome = observer.finish(PATIENCE);
    assert!(outcome.stderr.contains("the report is given up"), "{}", outcome.stderr);
    let killer = outcome.status.signal();
    assert!([libc::SIGINT, libc::SIGTERM].map(Some).contains(&killer), "{:?}", outcome.status);
}

/// The probes are gone by then: we did not end it, and neither did the guard.
#[test]
fn a_sigtrap_in_the_grace_is_a_failure_of_the_command() {
    let Some(_live) = support::live() else { return };
    let script = "trap 'kill -TRAP $$' TERM; sleep 1000 & echo pids $$ $! >&2; wait";
    let mut observer = launch(&["--for", "1s"], script);
    let pids = pids(&mut observer);
    let report = observer.finish(PATIENCE).report(0);
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert!(ended(&report).contains("SIGTRAP"), "{}", ended(&report));
    assert!(rules(&report).contains(&"command.failed"), "{:?}", rules(&report));
    assert!(!rules(&report).contains(&"memleak.killed"), "{:?}", rules(&report));
}

/// Interim reports for programs: every line is JSON, between two reports as well.
#[test]
fn interim_reports_are_lines_of_json() {
    let Some(_live) = support::live() else { return };
    let arguments =
        ["memleak", "--format", "jsonl", "--every", "300ms", "--for", "1s", "--", "sleep", "1000"];
    let text = Observer::spawn(&arguments).finish(PATIENCE).report_text(0);
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    let reports = text.lines().map(line).filter(|line| line["kind"] == "report").count();
    assert!(reports >= 2, "{text}");
}

/// What was asked to end, and what its parent left behind.
#[test]
fn processes_that_a_command_leaves_behind_are_ended_too() {
    let Some(_live) = support::live() else { return };
    let mut observer = launch(&[], "sleep 1000 & echo pids $! >&2");
    let pids = pids(&mut observer);
    let report = observer.finish(PATIENCE).report(0);
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert_eq!(
        (ended(&report), &report["meta"]["ended"]),
        ("ended with exit code 0", &"targets_gone".into())
    );
}

#[test]
fn nothing_outlives_a_killed_profiler() {
    let Some(_live) = support::live() else { return };
    for script in [WITH_A_CHILD, DEAF] {
        let mut observer = launch(&["--grace", "200ms"], script);
        let pids = pids(&mut observer);
        let keepers = keepers(observer.pid());
        assert_eq!(keepers.len(), 1);
        observer.kill();
        assert_end(&[pids, keepers].concat());
    }
}

/// The kernel ends the command where not even the keeper is left; a change of the user takes that back, so it has to
/// be asked for behind it.
#[test]
fn the_command_does_not_outlive_profiler_and_keeper() {
    let Some(_live) = support::live() else { return };
    for user in [&[][..], &["--user", "nobody"]] {
        let mut observer = launch(user, "echo pids $$ >&2; exec sleep 1000");
        let pids = pids(&mut observer);
        for keeper in keepers(observer.pid()) {
            send(keeper, Signal::KILL);
        }
        observer.kill();
        assert_end(&pids);
    }
}

#[test]
fn a_command_that_is_left_running_keeps_running() {
    let Some(_live) = support::live() else { return };
    let script = "echo pids $$ >&2; exec sleep 1000";
    let mut observer = launch(&["--leave-running", "--for", "1s"], script);
    let left = pids(&mut observer)[0];
    let outcome = observer.finish(PATIENCE);
    assert!(runs(left), "it has ended: {}", outcome.stderr);
    assert_eq!(ended(&outcome.report(0)), "runs");
    assert!(outcome.stderr.contains(&format!("kill {left}")), "{}", outcome.stderr);
    send(left, Signal::KILL);

    let mut observer = launch(&["--leave-running"], script);
    let left = pids(&mut observer)[0];
    assert!(now_keeping(observer.pid()).is_empty());
    observer.kill();
    assert!(runs(left), "it does not outlive profiler");
    send(left, Signal::KILL);
    assert_end(&[left]);
}

#[test]
fn a_command_runs_as_the_requested_user() {
    let Some(_live) = support::live() else { return };
    let script = "echo ids $(id -u):$(id -g):$(id -G):$HOME:$USER:$LOGNAME >&2";
    let mut observer = launch(&["--user", "nobody"], script);
    let seen = observer.expect_line("ids ");
    observer.finish(PATIENCE).report(0);
    let ask = |of: &str| {
        let answer = Command::new("sh").args(["-c", of]).output().expect("to run sh");
        String::from_utf8(answer.stdout).expect("UTF-8").trim().to_owned()
    };
    let (uid, gid, groups) = (ask("id -u nobody"), ask("id -g nobody"), ask("id -G nobody"));
    let home = ask("getent passwd nobody | cut -d: -f6");
    assert_eq!(seen, format!("ids {uid}:{gid}:{groups}:{home}:nobody:nobody"));
}

/// A program names the linker that lists its libraries, and its owner may have named any executable.
#[test]
fn the_dynamic_linker_of_a_program_runs_as_the_user() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir_in("/tmp").expect("a directory");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("to let others in");
    let [server, linker, ran] = ["server", "ld", "ran"].map(|name| folder.path().join(name));
    fs::write(&linker, format!("#!/bin/sh\nid -u >> {}\n", ran.display())).expect("to write a script");
    let mut program = fs::read("/bin/true").expect("to read a program");
    let honest = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let (at, length) = honest
        .iter()
        .find_map(|honest| {
            Some((program.windows(honest.len()).position(|w| w == honest.as_bytes())?, honest.len()))
        })
        .expect("a program with a linker");
    // As long as the other: a path may have many slashes.
    let folder_bytes = folder.path().as_os_str().as_encoded_bytes();
    let path = [folder_bytes, &vec![b'/'; length - folder_bytes.len() - 2], b"ld"].concat();
    program[at..at + length].copy_from_slice(&path);
    fs::write(&server, program).expect("to write a program");
    for file in [&server, &linker] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("to make it a program");
    }
    let server = server.to_str().expect("UTF-8");
    // No kernel takes a script for a linker: the command does not start.
    Observer::spawn(&["memleak", "--user", "nobody", "--", server]).finish(PATIENCE);
    let ran = fs::read_to_string(ran).expect("the linker was asked");
    assert!(ran.lines().all(|uid| uid == NOBODY.to_string()), "it ran as {ran}");
}

#[test]
fn an_unknown_user_and_an_unreachable_command_are_reported_at_once() {
    let Some(_live) = support::live() else { return };
    let run = |user: &str, command: &str| {
        Observer::spawn(&["memleak", "--user", user, "--", command]).finish(PATIENCE)
    };
    run("no-such-user", "true").assert_error(2, &["no-such-user", "no such user"]);
    let folder = tempfile::tempdir().expect("a directory");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("to keep others out");
    let hidden = folder.path().join("server");
    fs::copy("/bin/true", &hidden).expect("to copy a program");
    let hidden = hidden.to_str().expect("UTF-8");
    run("nobody", hidden).assert_error(2, &[hidden, "reach"]);
    run("root", hidden).report_text(0);
}

/// The end of the command is a finding, and fails a gate; the code of profiler is not that of the command.
#[test]
fn a_command_that_fails_fails_a_gate() {
    let Some(_live) = support::live() else { return };
    for (script, text) in [
        ("exit 3", "The command ended with exit code 3 after "),
        ("kill -SEGV $$", "The command was killed by signal 11 (SIGSEGV) after "),
    ] {
        let report = launch(&["--gate"], script).finish(PATIENCE).report(1);
        let first = &report["findings"][0];
        assert_eq!(first["rule"], "command.failed");
        assert!(first["text"].as_str().unwrap().starts_with(text), "{first}");
    }
    let report = launch(&["--gate"], "exit 0").finish(PATIENCE).report(3);
    assert!(rules(&report).contains(&"gate.undecided"), "{:?}", rules(&report));
}

impl Outcome {
    /// The report for people, from a run that ended with `code`.
    fn report_text(&self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        self.text()
    }
}

/// Where profiler ends by an error behind the start of the command, which has not begun then.
#[test]
fn a_command_never_runs_if_its_observation_cannot_begin() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let witness = folder.path().join("it-ran");
    let mut command = Command::new(program());
    command
        .args(["memleak", "--alloc-fn", "no_such_function:size=arg0,ptr=ret", "--", "touch"])
        .arg(&witness);
    Observer::spawn_command(command).finish(PATIENCE).assert_error(4, &["no_such_function"]);
    assert!(!witness.exists());
}

/// What does not start is an error, and no report of nothing.
#[test]
fn a_command_that_cannot_start_is_an_error_without_a_report() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("to write a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("to make it a program");
        path.to_str().expect("UTF-8").to_owned()
    };
    let missing = folder.path().join("missing").to_str().expect("UTF-8").to_owned();
    let mut damaged = fs::read("/bin/true").expect("to read a program");
    damaged.truncate(100);
    for (program, words) in [
        (missing, "there is no such executable file"),
        (file("plain", b"echo hello\n"), "first line says what runs it"),
        (file("lost", b"#!/no/such/shell\n"), "it needs /no/such/shell, which is not there"),
        (file("inner", format!("#!{}\n", file("mute", b"#!/no/such\n")).as_bytes()), "is not there"),
    ] {
        let outcome = Observer::spawn(&["memleak", "--for", "1s", "--", &program]).finish(PATIENCE);
        outcome.assert_error(2, &[&program, words]);
    }
    let outcome = Observer::spawn(&["memleak", "--", &file("damaged", &damaged)]).finish(PATIENCE);
    assert!([Some(2), Some(4)].contains(&outcome.status.code()), "{}", outcome.stderr);
    outcome.assert_message(&["damaged"]);
}

/// By its pidfd, and not when it is next looked at: every quarter of a second from the start on.
#[test]
fn the_end_of_a_command_is_noticed_at_once() {
    let Some(_live) = support::live() else { return };
    let late = |_| {
        let report = launch(&[], "exec sleep 0.6").finish(PATIENCE).report(0);
        assert_eq!(report["meta"]["ended"], "targets_gone");
        report["meta"]["length_ns"].as_f64().expect("a length") / 1e9 - 0.6
    };
    // Whatever else runs on the machine: one of them is not kept waiting.
    let least = (0..3).map(late).fold(f64::INFINITY, f64::min);
    assert!((0.0..0.12).contains(&least), "{least} s late");
}

/// We take room for our files; the command has the limit that the user gave.
#[test]
fn a_low_limit_of_open_files_applies_to_the_command_only() {
    let Some(_live) = support::live() else { return };
    let script = "ulimit -Sn 20; exec \"$0\" memleak --format json -- sh -c 'echo limit $(ulimit -n) >&2'";
    let output = Command::new("sh").args(["-c", script]).arg(program()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.lines().any(|line| line == "limit 20"), "{stderr}");
}

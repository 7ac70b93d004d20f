//! Processes that join in numbers: a room server with a process per match, by `--children`, `--name` and `--cgroup`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use support::account;
use support::cgroup::Group;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

/// Writes of a match, from `matches.c`.
const WRITES: u64 = 7;

/// The room server under a name of its own, and where it is.
fn server(name: &str) -> (tempfile::TempDir, PathBuf) {
    let built = Build::c("matches.c").build();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(name);
    std::fs::copy(built, &program).unwrap();
    (folder, program)
}

/// Stands for the children of a target that have ended, where a report has them in one row.
const CHILDREN: u64 = 0;

/// The sum of a column over the rows of a call, by process.
fn calls(report: &Value, call: &str) -> BTreeMap<u64, u64> {
    let section = account::list(report, "sections").iter().find(|s| s["name"] == "calls").unwrap();
    let at = |name: &str| {
        account::list(section, "columns").iter().position(|column| column["name"] == name).unwrap()
    };
    let mut calls = BTreeMap::new();
    for row in account::list(section, "rows").iter().filter(|row| row["cells"][at("call")]["word"] == call) {
        let whose = &row["cells"][at("pid")];
        let is_gathered = whose["word"].as_str().is_some_and(|word| word.starts_with("children of "));
        let pid = if is_gathered { CHILDREN } else { whose["exact"].as_u64().unwrap() };
        *calls.entry(pid).or_default() += row["cells"][at("calls")]["exact"].as_u64().unwrap();
    }
    calls
}

/// The processes that were observed, by pid: one that has replaced itself by exec is there twice.
fn seen(report: &Value) -> Vec<u64> {
    account::list(&report["meta"], "targets").iter().map(|target| target["pid"].as_u64().unwrap()).collect()
}

/// What is seen of the matches that a server plays.
fn played(how: &str, matches: u64, tool: &[&str]) -> Value {
    let (_folder, program) = server("server");
    let mut target = Workload::spawn(&program, &[how, &matches.to_string(), "0", "0"]);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&[tool, &["--children", "--format", "json", "--pid", &pid]].concat());
    observer.wait_attached();
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    account::assert_nothing_lost(&report);
    report
}

/// More processes than an earlier table had room for. All of them count from their first call on, in one row.
#[test]
fn calls_of_every_match_of_a_room_server_count() {
    let Some(_live) = support::live() else { return };
    let [forks, execs, spawns] = support::by_length([103, 61, 37], [1103, 601, 307], [6007, 3001, 307]);
    for (how, matches) in [("fork", forks), ("exec", execs), ("spawn", spawns)] {
        let report = played(how, matches, &["syscalls", "--stacks", "none"]);
        let writes = calls(&report, "write");
        let server = report["meta"]["targets"][0]["pid"].as_u64().unwrap();
        assert_eq!(writes[&CHILDREN], matches * WRITES, "{how}");
        assert!(writes.keys().all(|pid| [CHILDREN, server].contains(pid)), "{how}: {writes:?}");
    }
}

/// A process whose record was lost, because the ring was full, is observed all the same.
#[test]
fn a_child_is_observed_although_its_record_was_lost() {
    let Some(_live) = support::live() else { return };
    let room = Build::c("room.c").build();
    let (_folder, program) = server("server");
    let mut flood = Workload::spawn(&program, &["fork", "1801", "0", "0"]);
    let mut room = Workload::spawn::<&str>(&room, &[]);
    let pids = [flood.pid_argument(), room.pid_argument()];
    let mut observer = Observer::spawn(&[
        "syscalls",
        "--children",
        "--slow",
        "1ns",
        "--format",
        "json",
        "--pid",
        &pids[0],
        "--pid",
        &pids[1],
    ]);
    observer.wait_attached();
    observer.signal(Signal::STOP);
    flood.say("go");
    flood.expect_line("DONE", PATIENCE);
    room.say("go");
    room.expect_line("CHILD", PATIENCE);
    observer.signal(Signal::CONT);
    observer.expect_line(&format!("process {} is observed too", child_of(room.pid())));
    let report = observer.interrupt().json();
    room.say("work");
    room.expect_line("DONE", PATIENCE);
    for mut workload in [flood, room] {
        workload.say("quit");
        workload.quit();
    }
    let lost = report["coverage"]["quality"]["slow_call_not_listed"].as_u64();
    assert!(lost.is_some_and(|lost| lost > 0), "the ring was full: {}", report["coverage"]["quality"]);
}

/// Stops it as Ctrl-Z does not: it may not catch this.
fn halt(observer: &Observer) {
    observer.signal(Signal::STOP);
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(format!("/proc/{}/status", observer.pid())).unwrap().contains("State:\tT")
    {
        assert!(Instant::now() < deadline, "profiler never stops");
        std::thread::yield_now();
    }
}

/// Frames are sent once. Those of a process whose record was lost come before the next look finds it.
#[test]
fn the_first_stacks_of_a_child_are_known_although_its_record_was_lost() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("busy_child.c").build();
    let mut target = Workload::spawn::<&str>(&program, &[]);
    let common = ["syscalls", "--children", "--stacks", "all", "--slow", "1ns", "--max-cost", "off"];
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&[&common[..], &["--format", "json", "--pid", &pid]].concat());
    observer.wait_attached();
    halt(&observer);
    target.say("go");
    target.expect_line("CHILD", PATIENCE);
    let child = child_of(target.pid());
    observer.signal(Signal::CONT);
    observer.expect_line(&format!("process {child} is observed too"));
    let report = observer.interrupt().json();
    target.say("quit");
    target.quit();
    let lost = report["coverage"]["quality"]["slow_call_not_listed"].as_u64();
    assert!(lost.is_some_and(|lost| lost > 0), "the ring was full: {}", report["coverage"]["quality"]);
    let names = account::function_names(&report, child);
    assert!(names.iter().any(|name| name == "site_busy"), "{names:?}, {}", report["coverage"]["quality"]);
}

/// A match that ends is not the end of matches, if the time is not over.
#[test]
fn an_observation_waits_for_matches_while_there_is_none() {
    let Some(_live) = support::live() else { return };
    let (_folder, program) = server("one-match-a-time");
    let start = || Workload::spawn(&program, &["fork", "1", "0", "0"]);
    let mut first = start();
    let common = ["syscalls", "--format", "json", "--for", "1h", "--every", "200ms", "--name"];
    let mut observer = Observer::spawn(&[&common[..], &["one-match-a-time"]].concat());
    observer.wait_attached();
    first.kill();
    let mut second = start();
    observer.expect_line(&format!("process {} is observed too", second.pid()));
    let outcome = observer.interrupt();
    second.kill();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    let reports = serde_json::Deserializer::from_slice(&outcome.stdout).into_iter::<Value>();
    let last = reports.last().unwrap().unwrap();
    assert_eq!(last["meta"]["ended"], "interrupted", "{}", last["meta"]);
    assert_eq!(account::list(&last["meta"], "targets").len(), 2, "{}", last["meta"]["targets"]);
}

/// The only child of a process.
fn child_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap()
}

/// What a target becomes by exec is announced a few times, not for ever.
#[test]
fn a_target_that_replaces_itself_again_and_again_is_announced_five_times() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("again");
    let text = "echo AT $1\nread go\nif [ $1 != 0 ]; then exec sh $0 $(($1 - 1)); fi\n";
    std::fs::write(&script, text).unwrap();
    let mut target = Workload::spawn(
        "sh".as_ref(),
        &["-c", "echo READY; read go; exec sh $0 7", script.to_str().unwrap()],
    );
    let mut observer = Observer::start("syscalls", target.pid(), &[]);
    observer.wait_attached();
    let announced = format!("process {} is now ", target.pid());
    for programs in (0..=7).rev() {
        target.say("go");
        target.expect_line(&format!("AT {programs}"), PATIENCE);
        if programs > 2 {
            observer.expect_line(&announced);
        }
    }
    let outcome = observer.interrupt();
    target.say("quit");
    target.quit();
    let programs = account::list(&outcome.report(0)["meta"], "targets").len();
    assert_eq!(programs, 9, "all of them are in the report");
    let announced: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with(&announced)).collect();
    assert_eq!(announced.len(), 5, "{}", outcome.stderr);
    assert!(announced[4].ends_with("(further ones are shown with -v)"), "{}", outcome.stderr);
}

/// Its pid may be that of a stranger later, who is not observed.
#[test]
fn a_target_that_has_ended_is_forgotten() {
    let Some(_live) = support::live() else { return };
    let [parent, idle] = ["reuse.c", "room.c"].map(|source| Build::c(source).build());
    let mut parent = Workload::spawn::<&str>(&parent, &[]);
    let mut idle = Workload::spawn::<&str>(&idle, &[]);
    let child = child_of(parent.pid());
    let mut observer = Observer::spawn(&[
        "syscalls",
        "--children",
        "--format",
        "json",
        "--pid",
        &child.to_string(),
        "--pid",
        &idle.pid_argument(),
    ]);
    observer.wait_attached();
    parent.say("go");
    parent.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    parent.say("quit");
    parent.quit();
    idle.kill();
    assert_eq!(calls(&report, "write").get(&child.into()), None, "a stranger writes under this pid");
    assert_eq!(account::list(&report["meta"], "targets").len(), 2, "nor is its child observed");
}

/// All that a server of the name forks have its name, and are observed while they run: each once, although they are its children, too.
#[test]
fn short_lived_processes_of_the_name_are_observed_once() {
    let Some(_live) = support::live() else { return };
    for more in [&[][..], &["--children"]] {
        let (_folder, program) = server("a-match-server");
        let mut target = Workload::spawn(&program, &["fork", "41", "10", "1500"]);
        let common = ["syscalls", "--format", "json", "--name", "a-match-server"];
        let mut observer = Observer::spawn(&[&common[..], more].concat());
        observer.wait_attached();
        target.say("go");
        target.expect_line("DONE", PATIENCE);
        let report = observer.interrupt().report(0);
        target.say("quit");
        target.quit();
        account::assert_keys(&report);
        let pids = seen(&report);
        let once: BTreeSet<u64> = pids.iter().copied().collect();
        assert_eq!((once.len(), pids.len()), (42, 42), "the server and its matches, each once: {more:?}");
    }
}

/// A process that begins in the cgroup that was asked for is observed.
#[test]
fn a_process_that_starts_in_the_cgroup_is_observed() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("matches.c").build();
    let mut server = Workload::spawn(&program, &["exec", "13", "20", "1500"]);
    let group = Group::of(&[&server]);
    let directory = group.directory();
    let common = ["syscalls", "--format", "json", "--cgroup"];
    let mut observer = Observer::spawn(&[&common[..], &[directory.to_str().unwrap()]].concat());
    observer.wait_attached();
    server.say("go");
    server.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    server.say("quit");
    server.quit();
    group.end();
    let pids: BTreeSet<u64> = seen(&report).into_iter().collect();
    assert_eq!(pids.len(), 14, "the server and its matches: {}", report["meta"]["targets"]);
}

/// One that is older than the observation did not begin during it.
#[test]
fn an_old_process_that_moves_into_the_cgroup_is_observed_as_it_is() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("room.c").build();
    let mut workloads = [(); 2].map(|()| Workload::spawn::<&str>(&program, &[]));
    let [first, late] = &mut workloads;
    let group = Group::of(&[first]);
    let directory = group.directory();
    let mut observer =
        Observer::spawn(&["memleak", "--format", "json", "--cgroup", directory.to_str().unwrap()]);
    observer.wait_attached();
    group.take_in(late);
    let line = observer.expect_line(&format!("process {} is observed too", late.pid()));
    assert!(line.ends_with("it is in the cgroup by now"), "{line}");
    let report = observer.interrupt().report(0);
    for workload in &mut workloads {
        workload.kill();
    }
    group.end();
    let notes = report["meta"]["targets"][1]["notes"].to_string();
    assert!(notes.contains("joined the observation late"), "{notes}");
}

/// One that copies its code as it starts would take the probes along, and die of them.
#[test]
fn a_newcomer_that_copies_its_code_is_refused() {
    let Some(_live) = support::live() else { return };
    // Its allocator is in the file of the program.
    let built = Build::musl("matches.c").build();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("a-late-copier");
    std::fs::copy(built, &program).unwrap();
    let mut first = Workload::spawn(&program, &["fork", "1", "0", "0"]);
    let mut observer = Observer::spawn(&["memleak", "--format", "json", "--name", "a-late-copier"]);
    observer.wait_attached();
    let mut command = std::process::Command::new(&program);
    command.args(["fork", "1", "0", "0"]).env("LD_PRELOAD", "liblppreload.so");
    let mut second = Workload::spawn_command(command);
    observer.expect_line(&format!("process {} is not observed", second.pid()));
    let report = observer.interrupt().report(0);
    first.kill();
    second.kill();
    let said = report["findings"].to_string();
    assert!(said.contains("began during the observation and is not observed: "), "{said}");
}

/// The stacks of a program that a process has just become are known, also if they wait in the ring with its exec.
#[test]
fn the_first_stacks_of_a_program_are_known() {
    let Some(_live) = support::live() else { return };
    let (_folder, program) = server("server");
    let mut target = Workload::spawn(&program, &["exec", "1", "0", "2000"]);
    let common = ["syscalls", "--children", "--stacks", "all", "--format", "json"];
    let mut observer = Observer::spawn(&[&common[..], &["--pid", &target.pid_argument()]].concat());
    observer.wait_attached();
    observer.signal(Signal::STOP);
    target.say("go");
    let asleep = |pid: u32| {
        let of = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        of("cmdline").contains("match\0") && of("syscall").starts_with("230 ")
    };
    let children = format!("/proc/{0}/task/{0}/children", target.pid());
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&children).unwrap().trim().parse().is_ok_and(asleep) {
        assert!(Instant::now() < deadline, "the match never sleeps");
        std::thread::yield_now();
    }
    observer.signal(Signal::CONT);
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    let played = account::list(&report["meta"], "targets").last().unwrap()["pid"].as_u64().unwrap();
    let names = account::function_names(&report, u32::try_from(played).unwrap());
    assert!(names.iter().any(|name| name == "main"), "{names:?}");
}

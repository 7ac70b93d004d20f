//! Code that a process makes at run time: its names come from `/tmp/perf-PID.map`, and where they are missing, the report
//! says what to switch on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};
use testbed::place;

/// Blocks that the workloads keep per `go`.
const CALLS: u64 = 211;

fn script(name: &str) -> PathBuf {
    place::package().join("tests/workloads").join(name)
}

/// A directory that is the root of a workload: what lies in its `/tmp` is gone with the test.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        // Static: there is no library in that root.
        fs::copy(Build::c("made_code.c").flags(&["-static"]).build(), folder.path().join("made")).unwrap();
        Root(folder)
    }

    /// Starts the workload, by `unshare` and the like if `before` says so.
    fn start(&self, before: &[&str], arguments: &[&str]) -> Workload {
        let words: Vec<&str> = before.iter().copied().chain(["chroot"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.0.path()).arg("/made").args(arguments);
        Workload::spawn_command(command)
    }

    fn map(&self, pid: u32) -> PathBuf {
        self.0.path().join(format!("tmp/perf-{pid}.map"))
    }
}

/// Lets the workload allocate; the beginning of the line that names its code.
fn go(target: &mut Workload) -> String {
    target.say("go");
    target.books()["line"].as_str().unwrap().to_owned()
}

/// The functions of the stack of the first row that `site_made` is in.
fn names(report: &Value) -> Vec<String> {
    let rows = account::list(account::stacks_section(report), "rows").iter();
    let mut stacks = rows.map(|row| account::stack_functions(report, row));
    stacks.find(|names| names.iter().any(|name| name == "site_made")).expect("a stack of the workload")
}

/// The reasons for frames without a name, and what is advised.
fn missing(report: &Value) -> (Vec<String>, String) {
    let walks = &report["coverage"]["walks"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let reasons = account::list(walks, "unnamed").iter().map(|unnamed| text(&unnamed["reason"])).collect();
    (reasons, account::list(walks, "advice").iter().map(text).collect::<Vec<_>>().join("\n"))
}

/// All walks by method; none of them is cut.
fn complete(report: &Value) -> Vec<(&str, u64)> {
    let walks = &report["coverage"]["walks"];
    assert_eq!(walks["cut"], Value::Array(Vec::new()), "{walks:#}");
    let complete = account::list(walks, "complete").iter();
    complete.map(|by| (by["method"].as_str().unwrap(), by["walks"].as_u64().unwrap())).collect()
}

#[test]
fn names_that_are_written_while_it_is_observed() {
    let Some(_live) = support::live() else { return };
    let root = Root::new();
    let mut target = root.start(&[], &[]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    let line = go(&mut target);
    fs::write(root.map(target.pid()), format!("{line} game::Chat::keep\nhalf a li")).unwrap();
    let report = observer.interrupt().report(0);
    target.quit();
    account::assert_nothing_lost(&report);
    assert_eq!(names(&report)[..3], ["game::Chat::keep", "site_made", "main"]);
    assert_eq!(complete(&report), [("frame_pointers", CALLS)]);
    let (reasons, advice) = missing(&report);
    assert!(!reasons.iter().any(|reason| reason.contains("run time")), "{reasons:?}");
    assert_eq!(advice, "");
    assert_eq!(account::row_names(&report)[0], "game::Chat::keep");
}

/// Memory with a file's number is not a file to look for symbols in.
#[test]
fn code_that_is_mapped_twice() {
    let Some(_live) = support::live() else { return };
    let root = Root::new();
    let mut target = root.start(&[], &["--memfd"]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    let line = go(&mut target);
    fs::write(root.map(target.pid()), format!("{line} Game.Chat::Keep\n")).unwrap();
    let report = observer.interrupt().report(0);
    target.quit();
    assert_eq!(names(&report)[..3], ["Game.Chat::Keep", "site_made", "main"]);
    assert_eq!(complete(&report), [("frame_pointers", CALLS)]);
}

#[test]
fn names_outlive_the_target() {
    let Some(_live) = support::live() else { return };
    let root = Root::new();
    let mut target = root.start(&[], &[]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    let line = go(&mut target);
    fs::write(root.map(target.pid()), format!("{line} game::Chat::keep\n")).unwrap();
    target.kill();
    let report = observer.finish(PATIENCE).report(0);
    assert_eq!(names(&report)[..3], ["game::Chat::keep", "site_made", "main"]);
}

/// The process does not know its pid of the host, and writes the one that it knows.
#[test]
fn in_a_pid_namespace() {
    let Some(_live) = support::live() else { return };
    let root = Root::new();
    let mut target = root.start(&["unshare", "--pid", "--fork", "--kill-child"], &[]);
    let pid = only_child(target.pid());
    let observer = Observer::attach("memleak", pid, &[]);
    let line = go(&mut target);
    fs::write(root.map(pid), format!("{line} of another process\n")).unwrap();
    fs::write(root.map(1), format!("{line} game::Chat::keep\n")).unwrap();
    let report = observer.interrupt().report(0);
    target.quit();
    assert_eq!(names(&report)[..3], ["game::Chat::keep", "site_made", "main"]);
}

fn only_child(pid: u32) -> u32 {
    let begun = Instant::now();
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        if let Some(child) = children.split_ascii_whitespace().next() {
            return child.parse().unwrap();
        }
        assert!(begun.elapsed() < PATIENCE, "process {pid} has no child");
    }
}

#[test]
fn names_from_a_file_that_others_could_have_written_are_not_used() {
    let Some(_live) = support::live() else { return };
    let root = Root::new();
    let mut target = root.start(&[], &[]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    let line = go(&mut target);
    let map = root.map(target.pid());
    fs::write(&map, format!("{line} game::Chat::keep\n")).unwrap();
    chown(&map, Some(65534), None).unwrap();
    let report = observer.interrupt().report(0);
    target.quit();
    assert_eq!(names(&report)[..2], ["site_made", "main"]);
    let (reasons, advice) = missing(&report);
    assert!(reasons.iter().any(|reason| reason.contains("refused: it belongs to user 65534")), "{reasons:?}");
    assert!(advice.contains("/tmp/perf-PID.map"), "{advice}");
}

/// Starts a program that knows the protocol of the workloads, and observes one `go`. `first` runs before the report.
fn observe(command: Command, first: impl FnOnce(u32)) -> Value {
    let mut target = Workload::spawn_command(command);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("go");
    target.books();
    first(target.pid());
    let report = observer.interrupt().report(0);
    // It names itself after its pid, which is another's some day.
    let _ = fs::remove_file(format!("/tmp/perf-{}.map", target.pid()));
    target.kill();
    account::assert_nothing_lost(&report);
    report
}

/// Allocations by rows whose stack is as wanted: the names of its functions, innermost first.
fn allocs_by(report: &Value, wanted: impl Fn(&[String]) -> bool) -> u64 {
    let section = account::stacks_section(report);
    let at = account::list(section, "columns").iter().position(|column| column["name"] == "allocs").unwrap();
    let rows = account::list(section, "rows").iter();
    let rows = rows.filter(|row| wanted(&account::stack_functions(report, row)));
    rows.map(|row| account::list(row, "cells")[at]["exact"].as_u64().unwrap()).sum()
}

/// Whether `keepChat` was called by `onMessage`, whatever else the runtime puts into their names.
fn keeps_chat(names: &[String]) -> bool {
    names.windows(2).any(|two| two[0].contains("keepChat") && two[1].contains("onMessage"))
}

/// Whether the interpreter of Java runs something.
fn interprets(names: &[String]) -> bool {
    names.iter().any(|name| name == "Interpreter")
}

fn function_of_first_row(report: &Value) -> String {
    account::row_names(report).swap_remove(0)
}

fn node(flags: &[&str]) -> Value {
    let mut command = Command::new("node");
    // Each function stays one of its own.
    command.args(["--no-opt", "--always-sparkplug"]).args(flags).arg(script("keep.js"));
    // With its names it writes a log, wherever it is.
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(folder.path());
    observe(command, |_| {})
}

#[test]
fn node_with_names() {
    let Some(_live) = support::live() else { return };
    let report = node(&["--perf-basic-prof", "--interpreted-frames-native-stack"]);
    assert!(allocs_by(&report, keeps_chat) >= CALLS);
    let (_, advice) = missing(&report);
    assert_eq!(advice, "", "it has done all that is advised");
    // The first row is the one with the most bytes: the buffers.
    assert!(function_of_first_row(&report).contains("keepChat"), "{}", function_of_first_row(&report));
}

#[test]
fn node_without_names() {
    let Some(_live) = support::live() else { return };
    let report = node(&[]);
    assert_eq!(allocs_by(&report, keeps_chat), 0);
    let (reasons, advice) = missing(&report);
    assert!(reasons.iter().any(|reason| reason.contains("there is no /tmp/perf-")), "{reasons:?}");
    assert!(advice.contains("start node with --perf-basic-prof"), "{advice}");
}

/// Has Java write the names of what it has compiled.
fn write_names_of_java(pid: u32) {
    let written = Command::new("jcmd").arg(pid.to_string()).arg("Compiler.perfmap").output().unwrap();
    assert!(written.status.success(), "{written:?}");
}

fn java(options: &[&str], first: impl FnOnce(u32)) -> Value {
    let classes = tempfile::tempdir().unwrap();
    let compiled = Command::new("javac").arg("-d").arg(classes.path()).arg(script("Keep.java")).status();
    assert!(compiled.expect("javac: install default-jdk-headless").success());
    let mut command = Command::new("java");
    command.args(options).arg("-cp").arg(classes.path()).arg("Keep");
    observe(command, first)
}

#[test]
fn java_with_and_without_names() {
    let Some(_live) = support::live() else { return };
    let report = java(&["-XX:+PreserveFramePointer"], write_names_of_java);
    // What is interpreted has the name of the interpreter, and all is at the beginning.
    assert!(allocs_by(&report, interprets) >= CALLS);
    let report = java(&["-XX:+PreserveFramePointer"], |_| {});
    assert_eq!(allocs_by(&report, interprets), 0);
    let (_, advice) = missing(&report);
    assert!(advice.contains("Compiler.perfmap"), "{advice}");
}

/// Options by which Java compiles all methods before they first run, each for itself.
const COMPILED: &[&str] = &["-Xcomp", "-XX:TieredStopAtLevel=1", "-XX:-Inline"];

/// Without a frame pointer a walk would leave out who called compiled code, and seem complete.
#[test]
fn compiled_java_has_callers_only_with_frame_pointers() {
    let Some(_live) = support::live() else { return };
    let whole = [&["-XX:+PreserveFramePointer"], COMPILED].concat();
    let report = java(&whole, write_names_of_java);
    assert!(allocs_by(&report, keeps_chat) >= CALLS);
    assert!(function_of_first_row(&report).contains("keepChat"), "{}", function_of_first_row(&report));

    let report = java(COMPILED, write_names_of_java);
    assert_eq!(allocs_by(&report, keeps_chat), 0);
    let cut = account::list(&report["coverage"]["walks"], "cut").iter();
    let why = "compiled code that keeps no frame pointer";
    let walks: u64 = cut.filter(|cut| cut["reason"] == why).map(|cut| cut["walks"].as_u64().unwrap()).sum();
    assert!(walks >= CALLS, "{:#}", report["coverage"]["walks"]);
    let name = function_of_first_row(&report);
    assert!(name.ends_with("  its Java callers cannot be seen"), "{name}");
    let (_, advice) = missing(&report);
    assert!(advice.contains("start java with -XX:+PreserveFramePointer"), "{advice}");
}

#[test]
fn luajit_keeps_no_frame_pointer() {
    let Some(_live) = support::live() else { return };
    let mut command = Command::new("luajit");
    command.arg(script("keep.lua"));
    let report = observe(command, |_| {});
    let cut = &account::list(&report["coverage"]["walks"], "cut")[0];
    assert_eq!(cut["reason"], "code without unwind information", "{cut:#}");
    assert_eq!(cut["ended_in"][0]["module"], Value::Null, "{cut:#}");
    // The loop is compiled after some turns of the interpreter.
    assert!(cut["walks"].as_u64().unwrap() > 9000, "{cut:#}");
    let (_, advice) = missing(&report);
    assert!(advice.contains("LuaJIT keeps no frame pointer"), "{advice}");
    let name = function_of_first_row(&report);
    assert!(name.starts_with("LuaJIT code+0x"), "{name}");
}

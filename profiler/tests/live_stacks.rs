//! Call stacks of programs as they are shipped: nothing keeps a frame pointer, and the allocator is called by a C++
//! library that keeps none either. And what a report says of how its walks ended.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

/// Rounds of the workload per line on its stdin.
const ROUNDS: u64 = 1009;

fn shipped() -> PathBuf {
    Build::cpp("shipped.cpp").flags(&["-fomit-frame-pointer"]).link(&["-ldl"]).build()
}

/// Asserts that every stack is whole, and that allocations by `function` have these callers, innermost first.
#[track_caller]
fn assert_callers(report: &Value, function: &str, callers: &[&str], allocs: u64) {
    account::assert_nothing_lost(report);
    assert_eq!(report["coverage"]["walks"]["cut"], serde_json::json!([]), "{}", report["coverage"]);
    let section = account::stacks_section(report);
    let allocs_at = account::list(section, "columns").iter().position(|column| column["name"] == "allocs");
    let mut counted = 0;
    for row in account::list(section, "rows") {
        let names = account::stack_functions(report, row);
        let Some(at) = names.iter().position(|name| name == function) else { continue };
        let found: Vec<&str> = names[at + 1..].iter().map(String::as_str).take(callers.len()).collect();
        assert_eq!(found, callers, "{names:?}");
        counted += account::list(row, "cells")[allocs_at.unwrap()]["exact"].as_u64().unwrap();
    }
    assert!(counted >= allocs, "{counted} allocations by {function}");
}

#[test]
fn without_frame_pointers() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn::<&str>(&shipped(), &[]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("go");
    target.books();
    let report = observer.interrupt().report(0);
    target.quit();
    let callers = ["on_message(int)", "tick(int)", "main"];
    assert_callers(&report, "keep_chat(int)", &callers, 2 * ROUNDS);
    assert_callers(&report, "keep_session(int)", &callers, ROUNDS);
}

/// Two processes of one program lie at different addresses, as two runs do.
#[test]
fn a_stack_has_the_same_id_and_key_in_every_process() {
    let Some(_live) = support::live() else { return };
    let mut targets = [(); 2].map(|()| Workload::spawn::<&str>(&shipped(), &[]));
    let observer = Observer::attach("memleak", targets[0].pid(), &["--pid", &targets[1].pid_argument()]);
    for target in &mut targets {
        target.say("go");
        target.books();
    }
    let report = observer.interrupt().report(0);
    account::assert_nothing_lost(&report);
    let stacks = account::list(&report, "stacks");
    let of = |target: &Workload| {
        let own = stacks.iter().filter(|stack| stack["pid"] == target.pid());
        own.map(|stack| (stack["id"].as_str().unwrap(), stack["key"].as_str().unwrap()))
            .collect::<BTreeSet<_>>()
    };
    let [one, other] = targets.each_ref().map(of);
    assert!(one.len() >= 2, "{one:?}");
    assert_eq!(one, other);
    let addresses = |target: &Workload| {
        let own = stacks.iter().filter(|stack| stack["pid"] == target.pid());
        let frames = own.flat_map(|stack| account::list(stack, "frames"));
        let address = |frame: &Value| &report["frames"][frame.as_u64().unwrap() as usize]["address"];
        frames.map(|frame| address(frame).to_string()).collect::<BTreeSet<_>>()
    };
    let [one, other] = targets.each_ref().map(addresses);
    assert_ne!(one, other, "both processes have the same addresses");
    targets.into_iter().for_each(Workload::quit);
}

/// Walks as the report counts them: by what they are, and how many.
fn walks<'r>(list: &'r [Value], name: &str) -> Vec<(&'r str, u64)> {
    list.iter().map(|entry| (entry[name].as_str().unwrap(), entry["walks"].as_u64().unwrap())).collect()
}

#[test]
fn every_walk_is_counted_with_how_it_ended() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("endings.c").build();
    let mut target = Workload::spawn::<&str>(&program, &[]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.quit();
    account::assert_nothing_lost(&report);
    let counted = &report["coverage"]["walks"];
    assert_eq!(counted["walks"], account::outcome(&report, "alloc_return", "recorded"), "{counted:#}");
    let complete = walks(account::list(counted, "complete"), "method");
    assert_eq!(complete, [("unwind_tables", 1009), ("frame_pointers", 503)], "{counted:#}");
    let cut = account::list(counted, "cut");
    let expected = [("code without unwind information", 211), ("deeper than 127 frames", 101)];
    assert_eq!(walks(cut, "reason"), expected, "{counted:#}");
    assert_eq!(cut[0]["ended_in"][0]["module"].as_str(), program.to_str());
    assert_eq!(cut[0]["ended_in"][0]["walks"], 211);
    assert_eq!(account::list(&cut[1], "ended_in").len(), 0);
    // Every frame has a name but those of the C library and of `_start`, which lead to each `main`.
    let named = counted["named_frames"].as_u64().unwrap();
    assert!(named >= (1009 + 503) * 2 + 211 + 101 * 127, "{counted:#}");
    assert!(named <= counted["frames"].as_u64().unwrap());
}

/// What is loaded later is walked too. Its first stacks make profiler read the mappings again, which takes it a moment.
#[test]
fn a_library_loaded_later() {
    let Some(_live) = support::live() else { return };
    let plugin = Build::cpp("plugin.cpp").flags(&["-fomit-frame-pointer", "-shared", "-fPIC"]).build();
    let mut target = Workload::spawn(&shipped(), &[plugin.to_str().unwrap()]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("load");
    for _ in 0..20 {
        target.books();
        sleep(Duration::from_millis(50));
        target.say("go");
    }
    target.books();
    let report = observer.interrupt().report(0);
    target.quit();
    account::assert_nothing_lost(&report);
    let leads_to_main = account::list(account::stacks_section(&report), "rows").iter().any(|row| {
        let names = account::stack_functions(&report, row);
        names.windows(3).any(|three| three == ["plugin_keeps", "plugin_tick", "main"])
    });
    assert!(leads_to_main, "no stack leads through the library to main");
}

/// The tables of a command are made before it starts, and published with its first stacks: there is room for a large one.
#[test]
fn a_large_command_from_its_start() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    // A script that does nothing. What JavaScript allocates is walked by frame pointers: neither the code that V8 makes
    // nor its builtins have unwind information.
    let script = "setInterval(() => {}, 1000)";
    let arguments = ["--for", "3s", "-o", file.to_str().unwrap(), "--", "node", "-e", script];
    let mut command = std::process::Command::new(support::observer::program());
    command.arg("memleak").args(arguments);
    let outcome = Observer::spawn_command(command).finish(PATIENCE);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    let report: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    account::assert_nothing_lost(&report);
    let counted = &report["coverage"]["walks"];
    let complete = walks(account::list(counted, "complete"), "method");
    let by_tables = complete.iter().find(|(method, _)| *method == "unwind_tables").map_or(0, |(_, n)| *n);
    assert!(by_tables * 100 >= counted["walks"].as_u64().unwrap() * 97, "{counted:#}");
}

/// A command waits at its first call until its mappings are published: all later ones are walked by tables, however early they come.
#[test]
fn a_command_that_allocates_at_once() {
    const CALLS: u64 = 211;
    let Some(_live) = support::live() else { return };
    let program = Build::c("at_once.c").flags(&["-O1", "-fomit-frame-pointer"]).build();
    let arguments = ["memleak", "--format", "json", "--", program.to_str().unwrap()];
    let report = Observer::spawn(&arguments).finish(PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    let section = account::stacks_section(&report);
    let allocs_at = account::list(section, "columns").iter().position(|column| column["name"] == "allocs");
    let (mut whole, mut all) = (0, 0);
    for row in account::list(section, "rows") {
        let names = account::stack_functions(&report, row);
        let Some(at) = names.iter().position(|name| name == "keep_early") else { continue };
        let allocs = account::list(row, "cells")[allocs_at.unwrap()]["exact"].as_u64().unwrap();
        all += allocs;
        if names[at..].starts_with(&["keep_early", "begin", "main"].map(str::to_owned)) {
            whole += allocs;
        }
    }
    assert_eq!(all, CALLS);
    assert!(whole >= CALLS - 1, "{whole} of {all}: {}", report["coverage"]["walks"]);
}

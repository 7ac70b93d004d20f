//! Each program is judged by the time in which it was observed: up to its own end, and from its own beginning.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, RUN_PATIENCE, Workload};

/// The age asked about, in seconds.
const OLDER_S: f64 = 0.5;

/// Starts `leaks` with these arguments under observation, as a command, for five seconds.
fn launch(program: &Path, arguments: &str) -> Observer {
    let memleak =
        ["memleak", "--max-cost", "off", "--format", "json", "--older", "500ms", "--for", "5s", "--"];
    let program = program.to_str().expect("a path in UTF-8");
    let command: Vec<&str> = std::iter::once(program).chain(arguments.split(' ')).collect();
    Observer::spawn(&[&memleak[..], &command].concat())
}

fn finish(observer: Observer) -> Value {
    let report = observer.finish(RUN_PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    report
}

fn text(report: &Value, rule: &str) -> String {
    let findings = account::list(report, "findings");
    let of_rule = findings.iter().filter(|finding| finding["rule"] == rule);
    of_rule.filter_map(|finding| finding["text"].as_str()).collect::<Vec<_>>().join("\n")
}

fn cell<'a>(section: &'a Value, row: &'a Value, name: &str) -> &'a Value {
    let at = account::list(section, "columns").iter().position(|column| column["name"] == name);
    &account::list(row, "cells")[at.unwrap_or_else(|| panic!("no column `{name}`"))]
}

/// The time that the growth of the leaking site is an average over, in seconds: that in which blocks could be born that are
/// old now.
fn growth_over_s(report: &Value) -> f64 {
    let section = &report["sections"][0];
    let leaks = |row: &&Value| cell(section, row, "verdict")["word"] == "LEAK";
    let rows: Vec<&Value> = account::list(section, "rows").iter().filter(leaks).collect();
    assert_eq!(rows.len(), 1, "{}", report["findings"]);
    let growth = cell(section, rows[0], "growth_bytes_per_hour")["estimate"]["value"].as_f64();
    let old = cell(section, rows[0], "old_bytes")["exact"].as_u64().expect("a number of bytes");
    old as f64 / growth.expect("a growth") * 3600.0
}

/// One target leaks and is killed, one is killed at once, and one goes on without a leak.
#[test]
fn a_proved_leak_stands_when_its_process_is_gone() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("leaks.c").build();
    let [mut leaks, mut brief, calm] = [&["bursts", "1", "10"][..], &["bursts", "1", "10"], &["calm", "10"]]
        .map(|arguments| Workload::spawn(&program, arguments));
    let pids = [&leaks, &brief, &calm].map(Workload::pid_argument).join(",");
    let length = ["--older", "500ms", "--for", "5s", "--every", "1s", "--gate"];
    let memleak = ["memleak", "--max-cost", "off", "--format", "json", "--pid", &pids];
    let mut observer = Observer::spawn(&[&memleak[..], &length].concat());
    observer.wait_attached();
    brief.kill();
    // Not to wait for something: so long it leaks.
    sleep(Duration::from_millis(2500));
    leaks.kill();
    let outcome = observer.finish(RUN_PATIENCE);
    assert_eq!(outcome.status.code(), Some(1), "the gate lets a leak pass: {}", outcome.stderr);
    let reports: Vec<Value> =
        serde_json::Deserializer::from_slice(&outcome.stdout).into_iter().map(Result::unwrap).collect();
    let answers: Vec<&str> = reports.iter().filter_map(|report| report["verdict"]["word"].as_str()).collect();
    let first = answers.iter().position(|answer| *answer == "leak").expect("an answer that names the leak");
    assert!(first < 3 && answers.len() > 4, "the leak is proved before its process is gone: {answers:?}");
    assert!(answers.iter().skip(first).all(|answer| *answer == "leak"), "taken back: {answers:?}");

    let report = reports.last().expect("a report");
    account::assert_nothing_lost(report);
    let leak = text(report, "memleak.leak");
    let of_it = format!("LEAK: on_tick in leaks (pid {}) grows by ~", leaks.pid());
    assert!(leak.starts_with(&of_it), "{}", report["findings"]);
    assert!(leak.contains("freed none of what got older than ") && leak.contains(", in 2."), "{leak}");
    let over = growth_over_s(report);
    assert!((1.9..2.5).contains(&over), "its growth is that of {over} s");
    let ended = text(report, "memleak.ended");
    let its = format!("leaks (pid {}) ", leaks.pid());
    assert!(ended.lines().any(|line| line.starts_with(&its) && line.contains(" after 2.")), "{ended}");

    let section = account::stacks_section(report);
    let of_brief = |row: &&Value| cell(section, row, "pid")["exact"] == brief.pid();
    for row in account::list(section, "rows").iter().filter(of_brief) {
        assert_eq!(cell(section, row, "old_blocks")["exact"], 0, "it did not live for so long: {row}");
        assert_eq!(cell(section, row, "verdict")["word"], "YOUNG", "{row}");
    }
    drop(calm);
}

/// Before and after an exec are two programs: each with its own time, even where one function leaks in both.
#[test]
fn an_exec_divides_the_time() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("leaks.c").build();
    let observers = [
        // Three seconds of nothing, then a leak.
        "bursts 0 300 10 bursts 1 10",
        // Three seconds of a leak, then nothing.
        "bursts 1 10 300 calm 10",
        // A leak for less than a second.
        "bursts 1000 5 20 calm 10",
        // The same leak before and after.
        "bursts 1 10 220 bursts 1 10",
    ]
    .map(|arguments| launch(&program, arguments));
    let [after, before, soon, both] = observers.map(finish);

    let over = growth_over_s(&after);
    assert!((0.8..5.0 - 3.0 - OLDER_S + 0.05).contains(&over), "its growth is that of {over} s");
    let over = growth_over_s(&before);
    assert!((3.0 - OLDER_S - 0.05..4.2 - OLDER_S).contains(&over), "its growth is that of {over} s");
    let ended = text(&before, "memleak.ended");
    assert!(ended.contains(" replaced itself by exec after 3"), "{}", before["findings"]);

    // Whether so little already looks like a leak is chance; it is not called one.
    let word = soon["verdict"]["word"].as_str().unwrap();
    let said = text(&soon, &format!("memleak.{word}"));
    if word == "undecided" {
        assert!(said.starts_with("Undecided: on_tick holds "), "{said}");
        assert!(said.contains(", and whether it leaks is not known: "), "{said}");
        assert!(said.contains("ms: ask about a shorter age (--older)."), "{said}");
    } else {
        let begin = "Too early to say: on_tick looks like a leak, but was observed for ";
        assert!(said.starts_with(begin), "{}", soon["findings"]);
    }

    assert_eq!(both["verdict"]["word"], "leak", "{}", both["findings"]);
    let growth = both["verdict"]["growth_bytes_per_hour"].as_f64().expect("a growth");
    // 64 bytes a hundred times a second at most, and at any time in one of the two.
    assert!(growth < 6400.0 * 3600.0 * 1.05, "programs that never grew at once are added up: {growth}");
    let leaks = both["findings"][0]["rows"].as_array().map(Vec::len);
    assert_eq!(leaks, Some(2), "{}", both["findings"]);
}

/// The report on a command that frees everything before it returns from `main`, and the exit code of the gate.
fn gated(arguments: [&str; 2]) -> (Option<i32>, Value) {
    let program = Build::c("frees_all.c").build();
    let memleak = ["memleak", "--max-cost", "off", "--format", "json", "--older", "1s", "--gate", "--"];
    let program = program.to_str().expect("a path in UTF-8");
    let outcome = Observer::spawn(&[&memleak[..], &[program], &arguments].concat()).finish(RUN_PATIENCE);
    let report = serde_json::from_slice(&outcome.stdout).expect("a report");
    account::assert_nothing_lost(&report);
    (outcome.status.code(), report)
}

/// What is left at the end proves nothing about a program that frees everything as it ends.
#[test]
fn a_leak_that_is_freed_at_the_end_is_still_a_leak() {
    let Some(_live) = support::live() else { return };
    let (code, report) = gated(["leak", "5500"]);
    assert_eq!((code, &report["verdict"]["word"]), (Some(1), &"leak".into()), "{:#}", report["findings"]);
    let leak = text(&report, "memleak.leak");
    assert!(leak.contains("keep_one"), "{leak}");
    let freed = text(&report, "memleak.freed_at_end");
    assert!(
        freed.starts_with("frees_all (pid ") && freed.contains(" as it ended: judged as it was "),
        "{freed}"
    );
    // The ledger is that of the end.
    let section = account::stacks_section(&report);
    let live = |row| cell(section, row, "live_blocks")["exact"].as_u64().expect("a count");
    let live: u64 = account::list(section, "rows").iter().map(live).sum();
    assert!(live > 300, "{live}");
    assert!(account::outcome(&report, "free", "recorded") > live);
}

#[test]
fn a_table_that_is_freed_at_the_end_is_not_a_leak() {
    let Some(_live) = support::live() else { return };
    let (code, report) = gated(["table", "5500"]);
    assert_eq!((code, &report["verdict"]["word"]), (Some(0), &"clean".into()), "{:#}", report["findings"]);
    assert!(text(&report, "memleak.freed_at_end").contains(" freed 19"), "{:#}", report["findings"]);
}

/// Its memory is read while it has the blocks, and the blocks are counted when they are gone.
#[test]
fn blocks_that_are_freed_at_the_end_explain_memory_that_grew() {
    let Some(_live) = support::live() else { return };
    let (code, report) = gated(["large", "3300"]);
    assert_eq!(text(&report, "memleak.unexplained_growth"), "", "{:#}", report["sections"]);
    assert_eq!(code, Some(0), "{:#}", report["findings"]);
}

/// A reader that stops reading, such as a pager that waits for a key, delays neither the end of the observation nor the files.
#[test]
fn an_observation_ends_in_time_although_nobody_reads() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("pointless.c").build();
    let mut target = Workload::spawn(&program, &["spin", "planted", "/dev/null"]);
    target.say("go");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let mut command = Command::new(support::observer::program());
    // Its output is far more than a pipe has room for.
    command.args(["syscalls", "--every", "100ms", "--for", "3s", "--format", "json", "--stacks", "all"]);
    command.args(["--max-cost", "off", "--pid", &target.pid_argument(), "-o"]).arg(&file);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let profiler = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < deadline, "the file is never written");
        sleep(Duration::from_millis(20));
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let length_ms = report["meta"]["length_ms"].as_u64().unwrap();
    assert!((3_000..3_500).contains(&length_ms), "{length_ms} ms");
    let outcome = profiler.wait_with_output().unwrap();
    target.quit();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success() && said.contains("left out"), "{said}");
    let pages = serde_json::Deserializer::from_slice(&outcome.stdout).into_iter::<Value>();
    assert_eq!(pages.last().unwrap().unwrap()["meta"], report["meta"]);
}

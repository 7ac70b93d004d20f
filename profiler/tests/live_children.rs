//! Processes that join: those that a target forks (`--children`), and those that start later with the requested name.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use profiler::observe::{
    Event, observe,
    settings::{Settings, Targets},
};
use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

/// A report of a server that forks a room, which allocates once it is observed.
fn observed(tool: &[&str]) -> Value {
    let program = Build::c("room.c").build();
    let mut target = Workload::spawn::<&str>(&program, &[]);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&[tool, &["--children", "--format", "json", "--pid", &pid]].concat());
    observer.wait_attached();
    target.say("go");
    target.expect_line("CHILD", PATIENCE);
    observer.expect_line("process ");
    target.say("work");
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    account::assert_nothing_lost(&report);
    let targets = account::list(&report["meta"], "targets");
    assert_eq!(targets.len(), 2, "the server and its room: {targets:?}");
    report
}

/// Every allocation of the room counts, none of the server's.
#[test]
fn allocations_of_a_forked_process_count() {
    let Some(_live) = support::live() else { return };
    let report = observed(&["memleak", "--max-cost", "off", "--older", "10ms"]);
    assert_eq!(account::outcome(&report, "alloc_return", "recorded"), 1009);
    assert_eq!(account::outcome(&report, "free", "recorded"), 503);
    let room = &report["meta"]["targets"][1];
    assert!(room["notes"][0].as_str().unwrap().contains("began during the observation"), "{room}");
}

/// Its calls count from the first one on, under its own pid.
#[test]
fn calls_of_a_forked_process_count() {
    let Some(_live) = support::live() else { return };
    let report = observed(&["syscalls"]);
    let room = report["meta"]["targets"][1]["pid"].as_u64().unwrap();
    let section = account::list(&report, "sections").iter().find(|s| s["name"] == "calls").unwrap();
    let at = |name: &str| {
        account::list(section, "columns").iter().position(|column| column["name"] == name).unwrap()
    };
    let calls = |call: &str| {
        let is_its = |row: &&Value| {
            row["cells"][at("pid")]["exact"] == room && row["cells"][at("call")]["word"] == call
        };
        let rows = account::list(section, "rows");
        rows.iter().find(is_its).map_or(0, |row| row["cells"][at("calls")]["exact"].as_u64().unwrap())
    };
    // CHILD and DONE; "work" byte by byte.
    assert_eq!((calls("write"), calls("read")), (2, 5));
}

/// A process of the name that begins later is observed, too.
#[test]
fn a_process_of_the_name_that_starts_later_is_observed() {
    let Some(_live) = support::live() else { return };
    let built = Build::c("room.c").build();
    let folder = tempfile::tempdir().unwrap();
    let name = "a-room-of-late";
    let program = folder.path().join(name);
    std::fs::copy(built, &program).unwrap();
    let mut first = Workload::spawn::<&str>(&program, &[]);
    let mut observer = Observer::spawn(&["syscalls", "--format", "json", "--name", name]);
    observer.wait_attached();
    let mut second = Workload::spawn::<&str>(&program, &[]);
    observer.expect_line(&format!("process {} is observed too", second.pid()));
    for workload in [&mut first, &mut second] {
        workload.say("go");
        workload.expect_line("CHILD", PATIENCE);
    }
    let report = observer.interrupt().report(0);
    for mut workload in [first, second] {
        workload.say("work");
        workload.expect_line("DONE", PATIENCE);
        workload.say("quit");
        workload.quit();
    }
    account::assert_nothing_lost(&report);
    let section = account::list(&report, "sections").iter().find(|s| s["name"] == "calls").unwrap();
    let at = |name: &str| {
        account::list(section, "columns").iter().position(|column| column["name"] == name).unwrap()
    };
    let forks = account::list(section, "rows").iter().filter(|row| {
        let call = &row["cells"][at("call")]["word"];
        call == "clone" || call == "fork"
    });
    assert_eq!(forks.count(), 2, "one row for each process: {section}");
}

/// A process that begins while all probes are taken away gets none.
#[test]
fn a_process_that_starts_after_the_end_gets_no_probes() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("room.c").build();
    let mut target = Workload::spawn::<&str>(&program, &[]);
    let settings = Settings { children: true, ..Settings::new(Targets::Pids(vec![target.pid()])) };
    let memleak = profiler::tool::commands().find(|command| command.get_name() == "memleak").unwrap();
    let options = memleak.get_matches_from(["profiler", "--older", "10ms"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let is_over = Cell::new(false);
    let mut notices = Vec::new();
    let report = runtime.block_on(observe(
        &settings,
        &[("memleak", &options)],
        async || poll_fn(|_| if is_over.get() { Poll::Ready(()) } else { Poll::Pending }).await,
        |event| match event {
            // Next, profiler checks whether the time is over, before it reads the ring.
            Event::Progress(_) if !is_over.get() => {
                target.say("go");
                target.expect_line("CHILD", PATIENCE);
                is_over.set(true);
            }
            Event::Notice(line) => notices.push(line.to_owned()),
            _ => {}
        },
    ));
    let report = report.unwrap();
    target.say("work");
    target.expect_line("DONE", PATIENCE);
    target.say("quit");
    target.quit();
    assert!(!notices.iter().any(|line| line.contains("is observed too")), "{notices:?}");
    assert_eq!(report.meta.targets.len(), 1, "{:?}", report.meta.targets);
    let said: Vec<&str> = report.findings.iter().map(|finding| &*finding.text).collect();
    assert!(said.iter().any(|text| text.contains("1 process began as the observation ended")), "{said:?}");
}

/// Ended children are reported as not seen only if they were not observed.
#[test]
fn ended_children_were_observed_with_the_option_children() {
    let Some(_live) = support::live() else { return };
    let work = "for child in 1 2 3 4; do (i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done); done; true";
    for (more, code, unseen) in [(&["--children"][..], 0, false), (&[][..], 3, true)] {
        let common = ["syscalls", "--format", "json", "--gate"];
        let arguments = [&common[..], more, &["--", "sh", "-c", work]].concat();
        let report = Observer::spawn(&arguments).finish(PATIENCE).report(code);
        let of_children =
            account::list(&report, "findings").iter().find(|finding| finding["rule"] == "syscalls.children");
        let text = of_children.map(|finding| finding["text"].as_str().unwrap());
        assert_eq!(
            text.is_some_and(|text| text.contains("Observe them, too: --children")),
            unseen,
            "{text:?}"
        );
        assert_eq!(text.is_some(), unseen, "{text:?}");
        account::assert_nothing_lost(&report);
    }
}

/// Which process a row is about is shown only if there are rows of several: its column would take the place of others.
#[test]
fn the_process_of_a_row_is_shown_if_there_are_several() {
    let Some(_live) = support::live() else { return };
    let shows_process = |work: &str| {
        let common = ["syscalls", "--format", "json", "--children", "--", "sh", "-c", work];
        let report = Observer::spawn(&common).finish(PATIENCE).report(0);
        let section = account::list(&report, "sections").iter().find(|s| s["name"] == "calls").unwrap();
        let column = account::list(section, "columns").iter().find(|column| column["name"] == "pid").unwrap();
        column["shown"].as_bool().unwrap()
    };
    assert!(!shows_process("read line < /dev/null; true"));
    assert!(shows_process("(read line < /dev/null); true"));
}

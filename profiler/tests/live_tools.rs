//! Several tools in one observation: they share the observation's maps, and each counts for itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use profiler::observe::{
    Event, observe,
    settings::{Settings, Targets},
};
use profiler::report::Report;
use serde_json::Value;
use support::account;
use support::compile::Build;
use support::process::bpf_objects_of;
use support::workload::{PATIENCE, Workload};

/// Maps that all tools of an observation use.
const SHARED: [&str; 7] =
    ["UNWIND_ROWS", "UNWIND_BLOCKS", "UNWIND_SPACES", "STACK_NUMBERS", "SPACES", "TARGETS", "RING"];

/// How many maps of each name this process holds.
fn own_maps() -> HashMap<String, u32> {
    let held: BTreeSet<u32> = bpf_objects_of(std::process::id())
        .into_iter()
        .filter(|(kind, _)| kind == "map_id")
        .map(|(_, id)| id)
        .collect();
    let mut names = HashMap::new();
    for map in aya::maps::loaded_maps().map(|map| map.unwrap()).filter(|map| held.contains(&map.id())) {
        *names.entry(map.name_as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    names
}

/// Two tools that differ in all that tools can: how they attach, and what they refuse.
const TOOLS: [&str; 2] = ["memleak", "syscalls"];

/// Both with their default options.
fn both_tools() -> Vec<(String, clap::ArgMatches)> {
    let commands = profiler::tool::commands().filter(|command| TOOLS.contains(&command.get_name()));
    commands.map(|command| (command.get_name().to_owned(), command.get_matches_from(["profiler"]))).collect()
}

/// Observes a workload with both tools; the report, the books of the workload, and the maps that were held.
fn with_both() -> (Report, Value, HashMap<String, u32>, u32) {
    let program = Build::c("books.c").build();
    let mut target =
        Workload::spawn(&program, &["--wait", "--threads", "4", "--ops", "10007", "--seed", "5"]);
    let mut settings = Settings::new(Targets::Pids(vec![target.pid()]));
    settings.max_cost = None;
    let options = both_tools();
    let tools: Vec<(&str, &clap::ArgMatches)> =
        options.iter().map(|(name, matches)| (name.as_str(), matches)).collect();
    let (mut books, mut maps) = (Value::Null, HashMap::new());
    let pid = target.pid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // It is looked at whenever something else happens.
    let is_over = Cell::new(false);
    let report = runtime.block_on(observe(
        &settings,
        &tools,
        async || poll_fn(|_| if is_over.get() { Poll::Ready(()) } else { Poll::Pending }).await,
        |event| {
            // What a trap costs is measured by programs with maps of their own, which are gone after a moment.
            if let Event::Progress(progress) = event
                && books.is_null()
            {
                maps = own_maps();
                let one_set = SHARED.iter().all(|name| maps.get(*name) == Some(&1));
                let settled = one_set && maps.get("COUNTERS") == Some(&3);
                if !settled && progress.elapsed < Duration::from_secs(20) {
                    return;
                }
                books = target.run();
                is_over.set(true);
            }
        },
    ));
    target.quit();
    (report.unwrap(), books, maps, pid)
}

#[test]
fn two_tools_share_one_observation() {
    let Some(_live) = support::live() else { return };
    let (report, books, maps, pid) = with_both();
    assert_eq!(report.meta.tool, "memleak+syscalls");
    report.check().unwrap();
    for shared in SHARED {
        assert_eq!(maps.get(shared), Some(&1), "{shared}: {maps:?}");
    }
    assert_eq!(maps.get("COUNTERS"), Some(&3), "one ledger for each tool, and an unused one: {maps:?}");
    let json: Value = serde_json::to_value(&report).unwrap();
    account::assert_nothing_lost(&json);
    let probes: Vec<&str> = report.coverage.ledger.iter().map(|ledger| ledger.probe.as_str()).collect();
    assert_eq!(probes, ["alloc_entry", "alloc_return", "free", "sys_enter", "sys_exit"]);
    assert!(report.coverage.ledger.iter().all(|ledger| ledger.hits > 0 && ledger.unaccounted == 0));
    account::assert_books(&json, pid, &books);
    let ids: BTreeSet<&str> = report.stacks.iter().map(|stack| stack.id.as_str()).collect();
    assert_eq!(ids.len(), report.stacks.len(), "a stack has one number in both");
}

/// Observes all processes of a name with both tools, one of which refuses those that join: it tries its probes on a process of this
/// program first, and this program is a test. The report, and the pid of the one that was refused.
fn with_one_refused(program: &Path, name: &str) -> (Report, u32) {
    let mut first = Workload::spawn(program, &["fork", "1", "0", "0"]);
    let settings = Settings::new(Targets::Name(name.to_owned()));
    let options = both_tools();
    let tools: Vec<(&str, &clap::ArgMatches)> =
        options.iter().map(|(name, matches)| (name.as_str(), matches)).collect();
    let mut second: Option<Workload> = None;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let is_over = Cell::new(false);
    let report = runtime.block_on(observe(
        &settings,
        &tools,
        async || poll_fn(|_| if is_over.get() { Poll::Ready(()) } else { Poll::Pending }).await,
        |event| match event {
            // Of each tool one.
            Event::Attached(_) if second.is_none() => {
                second = Some(Workload::spawn(program, &["fork", "41", "0", "0"]));
            }
            Event::Notice(line) if line.contains(" is not observed") => {
                if let Some(second) = &mut second {
                    second.say("go");
                    second.expect_line("DONE", PATIENCE);
                }
                is_over.set(true);
            }
            Event::Progress(progress) => assert!(progress.elapsed < PATIENCE, "nothing is refused"),
            _ => {}
        },
    ));
    let mut second = second.unwrap();
    let pid = second.pid();
    first.kill();
    second.kill();
    (report.unwrap(), pid)
}

/// A process that one tool must not probe is not a target: the other tools do not count it either.
#[test]
fn a_process_that_one_tool_refuses_does_not_count() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let name = "a-match-of-late";
    let program = folder.path().join(name);
    std::fs::copy(Build::c("matches.c").build(), &program).unwrap();
    let (report, refused) = with_one_refused(&program, name);
    let json: Value = serde_json::to_value(&report).unwrap();
    let section = account::list(&json, "sections").iter().find(|s| s["name"] == "calls").unwrap();
    let columns = account::list(section, "columns");
    let at = |name: &str| columns.iter().position(|column| column["name"] == name).unwrap();
    // It waited for a word until it was refused, and waited for its children after that.
    let waits = account::list(section, "rows").iter().filter(|row| {
        row["cells"][at("pid")]["exact"] == refused && row["cells"][at("call")]["word"] == "wait4"
    });
    assert_eq!(waits.count(), 0, "{section}");
}

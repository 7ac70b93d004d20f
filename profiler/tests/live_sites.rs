//! memleak sees leaks that no block and no stack shows by itself: bursts in every tick of a server, and one line that
//! many call stacks lead to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{RUN_PATIENCE, Workload};

/// A cell of a row by the name of its column.
fn cell<'a>(section: &'a Value, row: &'a Value, name: &str) -> &'a Value {
    let at = account::list(section, "columns").iter().position(|column| column["name"] == name);
    &account::list(row, "cells")[at.unwrap_or_else(|| panic!("no column `{name}`"))]
}

fn exact(section: &Value, row: &Value, name: &str) -> u64 {
    cell(section, row, name)["exact"].as_u64().unwrap_or_else(|| panic!("`{name}` is not a number: {row}"))
}

/// Asserts that exactly one site leaks, the one of this function, with all that its stacks hold.
#[track_caller]
fn assert_leaks(what: &str, report: &Value, function: &str, stacks: std::ops::RangeInclusive<u64>) {
    account::assert_nothing_lost(report);
    let answer = report["findings"][0]["text"].as_str().unwrap();
    assert!(answer.starts_with(&format!("LEAK: {function} grows by ~")), "{what}: {answer}");
    assert!(answer.contains("It has freed none of what got older than "), "{what}: {answer}");
    let section = &report["sections"][0];
    assert_eq!(section["name"], "sites", "{what}");
    let of = |verdict: &str| {
        let rows = account::list(section, "rows").iter();
        rows.filter(|row| cell(section, row, "verdict")["word"] == verdict).collect::<Vec<_>>()
    };
    let leaks = of("LEAK");
    assert_eq!(leaks.len(), 1, "{what}: {answer}");
    let site = leaks[0];
    assert!(stacks.contains(&exact(section, site, "stacks")), "{what}: {site}");
    // The whole growth, not that of the stacks that are proved by themselves.
    let evidence = account::stacks_section(report);
    let members = account::list(evidence, "rows");
    let members = || members.iter().filter(|row| exact(evidence, row, "site") == 0);
    assert_eq!(members().count() as u64, exact(section, site, "stacks"), "{what}");
    let old: u64 = members().map(|row| exact(evidence, row, "old_bytes")).sum();
    assert_eq!(exact(section, site, "old_bytes"), old, "{what}");
    let length = report["meta"]["length_ns"].as_u64().unwrap() as f64 / 3.6e12;
    let growth = cell(section, site, "growth_bytes_per_hour")["estimate"]["value"].as_f64().unwrap();
    let expected = old as f64 / (length - 1.0 / 3600.0);
    assert!((growth / expected - 1.0).abs() < 0.02, "{what}: {growth} of {expected} bytes per hour");
}

#[test]
fn leaks_by_the_tick_of_a_hundred_stacks_and_of_eight_functions() {
    let Some(_live) = support::live_beside_others() else { return };
    let program = Build::c("leaks.c").build();
    let cases: [(&[&str], &str, std::ops::RangeInclusive<u64>); 6] = [
        (&["bursts", "100", "50"], "on_tick", 1..=1),
        (&["bursts", "12", "50"], "on_tick", 1..=1),
        (&["bursts", "1", "50"], "on_tick", 1..=1),
        (&["stacks", "25"], "parse_node", 60..=100),
        (&["stacks", "5"], "parse_node", 90..=100),
        // Each part alone leaks too little to be proved.
        (&["parts", "125"], "load_player and what it calls", 8..=8),
    ];
    let running = cases.map(|(arguments, function, stacks)| {
        let target = Workload::spawn(&program, arguments);
        let observer = Observer::attach("memleak", target.pid(), &["--older", "1s", "--for", "6s"]);
        (arguments, function, stacks, target, observer)
    });
    for (arguments, function, stacks, target, observer) in running {
        let report = observer.finish(RUN_PATIENCE).report(0);
        assert_leaks(&format!("leaks {}", arguments.join(" ")), &report, function, stacks);
        drop(target);
    }
}

/// What the cache holds goes: only what has outlived it leaks, and the answer says from which age on.
#[test]
fn a_leak_and_a_cache_of_the_same_line_are_kept_apart() {
    let Some(_live) = support::live_beside_others() else { return };
    let target = Workload::spawn(&Build::c("leaks.c").build(), &["beside", "5", "360"]);
    let observer = Observer::attach("memleak", target.pid(), &["--older", "1s", "--for", "6s"]);
    let report = observer.finish(RUN_PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    let answer = report["findings"][0]["text"].as_str().unwrap();
    assert!(answer.starts_with("LEAK: keep grows by ~"), "{answer}");
    // On a busy machine entries go in the middle of a bin of the age scale.
    let freed = ["none", "hardly any"].map(|some| format!(" freed {some} of what got older than "));
    assert!(freed.iter().any(|freed| answer.contains(freed)) && answer.contains(", in 6"), "{answer}");
    assert!(answer.contains(" blocks were freed at ages between 1s and "), "{answer}");
    let section = &report["sections"][0];
    let site = &account::list(section, "rows")[0];
    let growth = cell(section, site, "growth_bytes_per_hour")["estimate"]["value"].as_f64().unwrap();
    // Half of the blocks are leaked, when the machine is busy a little slower; all that is old holds twice as much and more.
    let hours = report["meta"]["length_ns"].as_u64().unwrap() as f64 / 3.6e12;
    let expected = exact(section, site, "allocs") as f64 / 2.0 * 100.0 / hours;
    assert!((growth / expected - 1.0).abs() < 0.25, "{growth} of {expected} bytes per hour");
    let all_old = exact(section, site, "old_bytes") as f64 / (hours - 1.0 / 3600.0);
    assert!(all_old > 2.0 * expected, "or this tests nothing: {all_old} of {expected} bytes per hour");
}

#[test]
fn an_observation_that_can_decide_nothing_is_announced() {
    let Some(_live) = support::live_beside_others() else { return };
    let target = Workload::spawn(&Build::c("leaks.c").build(), &["bursts", "10", "50"]);
    let observer = Observer::attach("memleak", target.pid(), &["--older", "2s", "--for", "2s"]);
    let outcome = observer.finish(RUN_PATIENCE);
    let words = "2s is too short to judge blocks of 2s (--older): that takes --for 2.5s at least, better 8s";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    let report = outcome.report(0);
    let answer = report["findings"][0]["text"].as_str().unwrap();
    assert_eq!(answer, "Too early to say: blocks of 2s can be judged once observed for 2.5s; this was 2s.");
}

//! Buffers that grow by realloc: what they had before keeps its age, byte by byte.

mod support;

use std::path::PathBuf;

use serde_json::Value;
use support::account::{self, list, outcome};
use support::compile::Build;
use support::observer::Observer;
use support::workload::{RUN_PATIENCE, Workload};

const OBSERVE: [&str; 5] = ["memleak", "--max-cost", "off", "--format", "json"];

fn program() -> PathBuf {
    Build::c("buffers.c").build()
}

/// The report on `buffers` with these arguments, after six seconds; the age asked about is a second.
fn observed_with(arguments: &[&str], options: &[&str]) -> Value {
    let workload = Workload::spawn(&program(), arguments);
    let pid = workload.pid_argument();
    let target = ["--older", "1s", "--for", "6s", "--pid", &pid];
    let report = Observer::spawn(&[&OBSERVE[..], &target, options].concat()).finish(RUN_PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    report
}

fn observed(arguments: &[&str]) -> Value {
    observed_with(arguments, &[])
}

fn cell<'a>(section: &'a Value, row: &'a Value, name: &str) -> &'a Value {
    let at = list(section, "columns").iter().position(|column| column["name"] == name);
    &list(row, "cells")[at.unwrap_or_else(|| panic!("no column `{name}`"))]
}

/// Sum of a column of numbers over all call stacks.
fn sum(report: &Value, name: &str) -> u64 {
    let section = account::stacks_section(report);
    let numbers = list(section, "rows").iter().map(|row| cell(section, row, name)["exact"].as_u64());
    numbers.map(|number| number.expect("an exact number")).sum()
}

/// The first answer, which must be about this function, and the growth of its site, in bytes per second.
fn leak(report: &Value, function: &str) -> f64 {
    let text = report["verdict"]["text"].as_str().expect("a text");
    assert!(report["verdict"]["word"] == "leak" && text.contains(function), "{text}");
    let section = &report["sections"][0];
    let row = &list(section, "rows")[0];
    cell(section, row, "growth_bytes_per_hour")["estimate"]["value"].as_f64().expect("a growth") / 3600.0
}

#[test]
fn a_buffer_that_grows_for_ever_leaks() {
    let Some(_live) = support::live() else { return };
    let report = observed(&["history", "10"]);
    let bytes_per_s = leak(&report, "resize");
    // Slower where the machine is busy, and never faster.
    let at_most = 4096.0 / 0.01;
    assert!((0.5 * at_most..1.1 * at_most).contains(&bytes_per_s), "{bytes_per_s} of {at_most}");
}

/// Its parts are of two stacks in turn, and it is one block to each.
#[test]
fn a_buffer_that_grows_from_two_callers_leaks() {
    let Some(_live) = support::live() else { return };
    leak(&observed(&["callers", "10"]), "resize");
}

/// What a realloc takes away is freed.
#[test]
fn buffers_that_are_emptied_by_realloc_do_not_leak() {
    let Some(_live) = support::live() else { return };
    let report = observed(&["emptied", "10", "150"]);
    assert_ne!(report["verdict"]["word"], "leak", "{}", report["verdict"]["text"]);
}

/// By how much they grow is not known: they may have had that size before.
#[test]
fn buffers_from_before_the_start_are_not_judged() {
    let Some(_live) = support::live() else { return };
    let report = observed(&["before", "1"]);
    assert_eq!(report["verdict"]["word"], "undecided", "{}", report["verdict"]["text"]);
}

/// It keeps no parts, so how long memory is held is not known, and it says so.
#[test]
fn a_sampled_run_does_not_judge_what_realloc_made() {
    let Some(_live) = support::live() else { return };
    let report = observed_with(&["history", "10"], &["--sample-bytes", "4KiB"]);
    let text = report["verdict"]["text"].as_str().expect("a text");
    assert!(
        report["verdict"]["word"] == "undecided" && text.ends_with("Leave out --sample-bytes."),
        "{text}"
    );
}

#[test]
fn many_buffers_that_grow_and_are_kept_leak() {
    let Some(_live) = support::live() else { return };
    // Each grows for two ages.
    let report = observed(&["kept", "20", "100"]);
    leak(&report, "resize");
}

#[test]
fn buffers_that_grow_and_are_freed_do_not_leak() {
    let Some(_live) = support::live() else { return };
    let report = observed(&["freed", "20", "75"]);
    assert_eq!(report["verdict"]["word"], "clean", "{}", report["findings"]);
}

/// Grows, shrinks, failures and releases at random, by a program whose buffers live for many steps of their parts.
#[test]
fn live_memory_is_known_to_the_byte() {
    let Some(_live) = support::live() else { return };
    for older in ["40ms", "30m"] {
        let mut workload = Workload::spawn(&program(), &["books", "20000"]);
        let pid = workload.pid_argument();
        let mut observer = Observer::spawn(&[&OBSERVE[..], &["--older", older, "--pid", &pid]].concat());
        observer.wait_attached();
        let books = workload.run();
        let report = observer.interrupt().report(0);
        account::assert_nothing_lost(&report);
        let of = |name: &str| books[name].as_u64().expect("a count");
        assert_eq!(outcome(&report, "alloc_return", "recorded"), of("calls"), "age {older}");
        assert_eq!(sum(&report, "alloc_bytes"), of("bytes_asked_for"), "age {older}");
        assert_eq!(sum(&report, "live_bytes"), of("held_bytes"), "age {older}");
        assert_eq!(
            sum(&report, "allocs") - sum(&report, "frees"),
            sum(&report, "live_blocks"),
            "age {older}"
        );
        // Each buffer has a part at least; with the short age, those that grew have several.
        assert_eq!(sum(&report, "live_blocks") > 64, older == "40ms", "age {older}");
    }
}

/// With room for a hundred parts: those that do not fit are counted, and no block twice.
#[test]
fn parts_that_do_not_fit_are_counted() {
    let Some(_live) = support::live() else { return };
    let mut workload = Workload::spawn(&program(), &["books", "20000"]);
    let pid = workload.pid_argument();
    let few = ["--older", "40ms", "--max-blocks", "400", "--pid", &pid];
    let mut observer = Observer::spawn(&[&OBSERVE[..], &few].concat());
    observer.wait_attached();
    let books = workload.run();
    let report = observer.interrupt().json();
    account::assert_all_accounted(&report);
    assert!(account::quality(&report, "grown_block_counts_as_new") > 0, "{}", report["coverage"]["quality"]);
    assert_eq!(report["coverage"]["complete"], false);
    assert_eq!(sum(&report, "live_bytes"), books["held_bytes"].as_u64().expect("a count"));
    assert_eq!(sum(&report, "allocs") - sum(&report, "frees"), sum(&report, "live_blocks"));
}

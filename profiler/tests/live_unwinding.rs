//! Stacks of programs that make it hard: no frame pointer anywhere, and frames, stacks and files of every odd kind.
//!
//! Each program of `workloads/unwinding` says along which chains of functions it has allocated, and what another unwinder
//! finds above them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::account;
use support::chains::{assert_chains, assert_same_stacks, raw, witnessed};
use support::compile::Build;
use support::observer::Observer;
use support::workload::Workload;

const NO_FRAME_POINTER: &str = "-fomit-frame-pointer";

fn program(source: &str) -> Build {
    Build::c(&format!("unwinding/{source}")).flags(&[NO_FRAME_POINTER])
}

/// What a program allocates under observation: the report, and the program's books.
fn observe(program: &Path, arguments: &[&str]) -> (Value, Value) {
    let mut target = Workload::spawn::<&str>(program, &[]);
    let observer = Observer::attach(target.pid(), arguments);
    target.say("go");
    let books = target.books();
    let report = observer.interrupt().report(0);
    target.quit();
    (report, books)
}

fn assert_right(program: PathBuf) {
    let (report, books) = observe(&program, &[]);
    assert_chains(&report, &books);
}

#[test]
fn large_frames_and_frames_of_unknown_size() {
    let Some(_live) = support::live() else { return };
    assert_right(program("large_frames.c").build());
}

/// As Ubuntu builds everything: large frames are touched page by page while they are made.
#[test]
fn large_frames_with_clash_protection() {
    let Some(_live) = support::live() else { return };
    assert_right(program("large_frames.c").flags(&["-fstack-clash-protection"]).build());
}

#[test]
fn realigned_stacks() {
    let Some(_live) = support::live() else { return };
    assert_right(program("realigned.c").flags(&["-mavx"]).build());
}

/// As for callers that do not keep the stack aligned: every function realigns.
#[test]
fn everything_realigned() {
    let Some(_live) = support::live() else { return };
    assert_right(program("realigned.c").flags(&["-mavx", "-mstackrealign"]).build());
}

#[test]
fn handlers_on_an_alternate_stack() {
    let Some(_live) = support::live() else { return };
    assert_right(program("alternate_stack.c").build());
}

#[test]
fn coroutines() {
    let Some(_live) = support::live() else { return };
    assert_right(program("coroutines.c").build());
}

#[test]
fn vfork() {
    let Some(_live) = support::live() else { return };
    let (report, books) = observe(&program("vfork.c").build(), &[]);
    assert_chains(&report, &books);
    // Not every way of attaching shows a child's calls at all.
    let seen = account::outcome(&report, "alloc_entry", "other_process");
    assert!([0, books["in_children"].as_u64().unwrap()].contains(&seen), "{seen}");
}

#[test]
fn a_storm_of_threads() {
    let Some(_live) = support::live() else { return };
    assert_right(program("thread_storm.c").build());
}

/// Signals 2000 times a second, whose handler does nothing, wherever the thread is: in malloc, in a probe.
#[test]
fn a_storm_of_signals() {
    let Some(_live) = support::live() else { return };
    let (report, books) = observe(&program("signal_storm.c").build(), &[]);
    assert_chains(&report, &books);
    assert!(books["signals"].as_u64().unwrap() > 50, "no storm: {}", books["signals"]);
}

/// The handler allocates, on a stack of its own: every stack leads through the frame that was interrupted, at whatever
/// instruction, to the end. Another unwinder says where.
#[test]
fn a_storm_of_signals_whose_handler_allocates() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let storm = program("signal_storm.c").flags(&["-fstack-clash-protection"]).build();
    let mut target = Workload::spawn(&storm, &[&seen]);
    let observer = Observer::attach(target.pid(), &["--alloc-fn", "pool_get:size=arg0,ptr=ret"]);
    target.say("go");
    let books = target.books();
    let report = observer.interrupt().report(0);
    target.quit();
    account::assert_nothing_lost(&report);
    let witnessed = witnessed(&std::fs::read_to_string(&seen).unwrap());
    assert_eq!(witnessed.values().sum::<u64>(), books["signals"].as_u64().unwrap());
    assert!(witnessed.len() > 300, "interrupted at the same places: {}", witnessed.len());
    assert_same_stacks(&raw(&report, "take"), &witnessed);
}

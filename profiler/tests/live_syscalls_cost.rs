//! What counting system calls costs the target: predicted, measured, and bounded.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use support::compile::Build;
use support::observer::Observer;
use support::rounds::{assert_near, is_near, medians};
use support::turns::{ns_per_turn, said_and_true};
use support::workload::{PATIENCE, Workload};

/// What the report says is what the program loses by its own clock.
#[test]
fn the_reported_cost_is_what_the_program_loses() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("turns.c").build(), &["3000"]);
    let [said, truth] =
        medians(|| said_and_true("syscalls", &mut target), |[said, truth]| is_near(said, truth));
    target.quit();
    assert_near("the share", said, truth);
}

/// What a call costs with these stacks, in nanoseconds, beside a process that calls all the time or not.
fn call_ns(stacks: &str, has_neighbour: bool) -> f64 {
    let program = Build::c("turns.c").build();
    let mut target = Workload::spawn(&program, &["3000"]);
    let mut neighbour = Workload::spawn(&program, &["0"]);
    let pid = target.pid_argument();
    let how = ["syscalls", "--max-cost", "off", "--format", "json", "--stacks", stacks, "--pid", &pid];
    let mut observer = Observer::spawn(&how);
    observer.wait_attached();
    let turns = if has_neighbour { 3 } else { 0 };
    (0..turns).for_each(|_| neighbour.say("go"));
    ns_per_turn(&mut target);
    (0..turns).for_each(|_| drop(neighbour.expect_line("{", PATIENCE)));
    let report = observer.interrupt().report(0);
    target.quit();
    neighbour.quit();
    report["meta"]["cost"]["call_ns"].as_f64().unwrap()
}

/// What processes do that are not observed does not hide what a walk at each call takes.
#[test]
fn a_walk_costs_the_same_beside_a_busy_neighbour() {
    let Some(_live) = support::live() else { return };
    let round = || [call_ns("none", false), call_ns("all", false), call_ns("all", true)];
    let costs = |[without, alone, _]: [f64; 3]| alone - without > 50.0;
    let shows = |[without, alone, beside]: [f64; 3]| beside - without > (alone - without) / 2.0;
    let found = medians(round, |found| costs(found) && shows(found));
    assert!(costs(found), "without and with stacks: {found:?}");
    assert!(shows(found), "without, with stacks, and beside a neighbour: {found:?}");
}

/// A server with a thread for each connection: none of its threads lives long enough to be looked at. It works for some seconds, as
/// costs are summed up once a second.
#[test]
fn threads_that_end_between_two_looks_pay_too() {
    let Some(_live) = support::live() else { return };
    let mut target =
        Workload::spawn(&Build::c("many_calls.c").flags(&["-pthread"]).build(), &["short", "100000"]);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&["syscalls", "--max-cost", "off", "--format", "json", "--pid", &pid]);
    observer.wait_attached();
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.quit();
    let cost = &report["meta"]["cost"];
    support::remark(&format!("COST OF SHORT THREADS {cost}"));
    assert_eq!(cost["busiest_thread"], "threads that have ended", "{cost}");
    assert!(cost["busiest_thread_share"].as_f64().unwrap() > 0.001, "{cost}");
}

#[test]
fn a_target_that_costs_too_much_is_refused_with_the_price() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("turns.c").build();
    let mut target = Workload::spawn(&program, &["0"]);
    // It works for longer than counting takes.
    (0..8).for_each(|_| target.say("go"));
    let pid = target.pid_argument();
    let outcome = Observer::spawn(&["syscalls", "--max-cost", "1%", "--pid", &pid]).finish(PATIENCE);
    outcome
        .assert_error(5, &["thread turns", "of its time", "system calls per busy second", "--max-cost 1%"]);
    assert!(!outcome.stderr.contains("attached:"), "{}", outcome.stderr);
    // It goes on, and an idle one is not refused.
    (0..8).for_each(|_| drop(target.expect_line("{", PATIENCE)));
    let observed = Observer::spawn(&["syscalls", "--max-cost", "1%", "--pid", &pid, "--for", "100ms"]);
    let report = observed.finish(PATIENCE);
    target.quit();
    assert_eq!(report.status.code(), Some(0), "{}", report.stderr);
}

/// What begins to work only after it was counted is stopped after ten seconds above the limit.
#[test]
fn the_guard_stops_what_costs_too_much() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("turns.c").build(), &["0"]);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&["syscalls", "--max-cost", "1%", "--format", "json", "--pid", &pid]);
    observer.wait_attached();
    (0..40).for_each(|_| target.say("go"));
    let outcome = observer.finish(PATIENCE);
    (0..40).for_each(|_| drop(target.expect_line("{", PATIENCE)));
    target.quit();
    assert!(outcome.stderr.contains("stopped by the safety guard: thread turns"), "{}", outcome.stderr);
    let report = outcome.report(5);
    assert_eq!(report["meta"]["ended"], "stopped_by_guard", "{}", report["meta"]);
}

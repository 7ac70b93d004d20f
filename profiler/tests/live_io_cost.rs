//! What counting operations on files and sockets costs the target.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use serde_json::Value;
use support::compile::Build;
use support::observer::Observer;
use support::rounds::{assert_near, is_near, medians};
use support::workload::{PATIENCE, Workload};

fn ns_per_turn(target: &mut Workload) -> f64 {
    target.say("go");
    let line = target.expect_line("{", PATIENCE);
    serde_json::from_str::<Value>(&line).unwrap()["ns_per_turn"].as_f64().unwrap()
}

/// The loss that the report of one round says, and the true one: by the program's own clock, compared to its speed before and after.
fn said_and_true(target: &mut Workload) -> [f64; 2] {
    let before = ns_per_turn(target);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&["sockets", "--max-cost", "off", "--format", "json", "--pid", &pid]);
    observer.wait_attached();
    let observed = (0..3).map(|_| ns_per_turn(target)).fold(f64::INFINITY, f64::min);
    let report = observer.interrupt().report(0);
    let bare = (before + ns_per_turn(target)) / 2.0;
    let cost = &report["meta"]["cost"];
    support::remark(&format!("BARE {bare} OBSERVED {observed} {cost}"));
    assert_eq!(cost["calibrated"], true, "{cost}");
    [cost["busiest_thread_share"].as_f64().unwrap(), (observed - bare) / observed]
}

/// The programs that follow a connection through the kernel are in the price: they are as dear as those at the calls.
#[test]
fn the_reported_cost_of_sockets_is_what_the_program_loses() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("turns.c").build(), &["3000", "tcp"]);
    let [said, truth] = medians(|| said_and_true(&mut target), |[said, truth]| is_near(said, truth));
    target.quit();
    assert_near("the share", said, truth);
}

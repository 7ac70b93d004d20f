//! What observing costs the workload `turns.c`.

use serde_json::Value;

use super::observer::Observer;
use super::workload::{PATIENCE, Workload};

/// Mean time of a turn of the workload `turns.c` in its next series, in nanoseconds.
pub(crate) fn ns_per_turn(target: &mut Workload) -> f64 {
    target.say("go");
    let line = target.expect_line("{", PATIENCE);
    let said: Value = serde_json::from_str(&line).expect("JSON of the workload");
    said["ns_per_turn"].as_f64().expect("nanoseconds")
}

/// The loss that the report of one round says, and the true one: by the program's own clock, compared to its speed before and after.
pub(crate) fn said_and_true(tool: &str, target: &mut Workload) -> [f64; 2] {
    let before = ns_per_turn(target);
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&[tool, "--max-cost", "off", "--format", "json", "--pid", &pid]);
    observer.wait_attached();
    let observed = (0..3).map(|_| ns_per_turn(target)).fold(f64::INFINITY, f64::min);
    let report = observer.interrupt().report(0);
    let bare = (before + ns_per_turn(target)) / 2.0;
    let cost = &report["meta"]["cost"];
    super::remark(&format!("BARE {bare} OBSERVED {observed} {cost}"));
    assert_eq!(cost["calibrated"], true, "{cost}");
    assert_eq!(cost["trap_ns_per_hit"], Value::Null, "there are no traps: {cost}");
    [cost["busiest_thread_share"].as_f64().expect("a share"), (observed - bare) / observed]
}

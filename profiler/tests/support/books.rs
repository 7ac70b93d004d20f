//! Workloads that keep books of what they do.

use std::ffi::OsStr;

use serde_json::Value;

use super::account;
use super::compile::Build;
use super::observer::Observer;
use super::workload::{PATIENCE, Workload};

/// Observes a workload in C without stacks, from "go" until it says DONE. Returns its books and the report, of which nothing was lost.
pub(crate) fn of_run<A: AsRef<OsStr>>(tool: &str, source: &str, arguments: &[A]) -> (Value, Value) {
    let mut target = Workload::spawn(&Build::c(source).build(), arguments);
    let observer = Observer::attach(tool, target.pid(), &["--stacks", "none"]);
    target.say("go");
    let books = target.books();
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    account::assert_nothing_lost(&report);
    (books, report)
}

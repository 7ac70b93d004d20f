//! The protocol between host and guest: a plan in a file, and one line of JSON per event on the second serial port.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the plan is in the guest.
pub(super) const PLAN: &str = "/plan.json";

/// What the guest is to do.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Plan {
    /// The tests, in this order.
    pub(super) cases: Vec<Case>,
    /// Environment of the tests.
    pub(super) variables: Vec<(String, String)>,
}

/// One test of a test program.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Case {
    /// The test program's name: `live_exact`.
    pub(super) program: String,
    /// Its file, at the same place in the guest as on the host.
    pub(super) file: PathBuf,
    /// Where it is to be run.
    pub(super) directory: PathBuf,
    /// The test's name: `glibc_static`.
    pub(super) test: String,
}

/// One line from the guest.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// It is up.
    Booted {
        /// `uname -r`.
        release: String,
        /// What the kernel logged so far.
        kernel: Vec<String>,
    },
    /// A test has ended.
    Ran {
        /// Its number in the plan.
        case: usize,
        /// How it ended: `None` if it took too long.
        status: Option<i32>,
        /// Its standard output: that of the test harness.
        stdout: String,
        /// Its standard error: that of the test itself.
        stderr: String,
        /// What the kernel logged meanwhile.
        kernel: Vec<String>,
    },
    /// Every test was run.
    Done,
    /// The guest cannot go on.
    Broken {
        /// Why.
        why: String,
    },
}

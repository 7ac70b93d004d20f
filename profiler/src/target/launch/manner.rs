//! How a command is launched, and how it ended.

use std::{ffi::OsString, process::ExitStatus, time::Duration};

/// How a command is launched and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    /// The user that it runs as; `None`: ours.
    pub user: Option<OsString>,
    /// It outlives us.
    pub leave_running: bool,
    /// How long it may take to end after SIGTERM, before SIGKILL.
    pub grace: Duration,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner { user: None, leave_running: false, grace: Duration::from_secs(10) }
    }
}

/// How a launched command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    ByItself(ExitStatus),
    /// It was asked to (SIGTERM).
    Asked(ExitStatus),
    /// It was asked to, did not within this time, and was killed.
    Killed(Duration),
    /// It goes on.
    Running,
}

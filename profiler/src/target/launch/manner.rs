//! How a command is launched, and how it ended.

use std::{ffi::OsString, process::ExitStatus, time::Duration};

/// How a command is launched and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    /// The user that it runs as; `None`: our own.
    pub user: Option<OsString>,
    /// Whether it outlives us.
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
    /// Because it was asked to (SIGTERM).
    Asked(ExitStatus),
    /// It was killed, because it did not end within this time after it was asked to.
    Killed(Duration),
    /// It still runs.
    Running,
}

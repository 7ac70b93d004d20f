//! The zone server of `examples/`, with the faults that it is told to have.

use std::process::Command;

use testbed::workload::Workload;

use super::workload::{PATIENCE, panic};

/// A running server, with its players. Killed when dropped.
pub(crate) struct Zone(Workload);

impl Zone {
    /// Starts a server and waits until its players are in.
    pub(crate) fn start(flags: &[&str]) -> Zone {
        let program = super::pong::path().with_file_name("zone");
        Zone(Workload::start(Command::new(program).args(flags), PATIENCE).unwrap_or_else(panic))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it, and its players with it.
    pub(crate) fn end(mut self) {
        self.0.signal(rustix::process::Signal::TERM);
        let ended = self.0.wait(PATIENCE).unwrap_or_else(panic);
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }
}

//! The Pong server of `examples/`, with the faults that it is told to have.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use testbed::place;
use testbed::running::{Running, Stream};

use super::workload::{PATIENCE, panic};

/// Names the program, for whoever built it already: `cargo xtask test` does.
const PROGRAM: &str = "PROFILER_PONG";

static PONG: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::var_os(PROGRAM).map_or_else(build, PathBuf::from));

/// Builds it, with the other examples beside it, as `examples/README.md` says.
fn build() -> PathBuf {
    let workspace = place::checkout();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&workspace).env_remove("CARGO_TARGET_DIR");
    cargo.args(["build", "--release", "--package", "examples"]);
    let done = cargo.output().unwrap_or_else(|error| panic!("cannot run {cargo:?}: {error}"));
    assert!(done.status.success(), "{cargo:?} failed:\n{}", String::from_utf8_lossy(&done.stderr));
    workspace.join("target/release/pong")
}

/// The program.
pub(crate) fn path() -> &'static Path {
    &PONG
}

/// A running server. Killed when dropped.
pub(crate) struct Pong(Running);

impl Pong {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(flags: &[&str]) -> Pong {
        let mut running =
            Running::start(Command::new(&*PONG).args(flags), &[Stream::Stdout]).unwrap_or_else(panic);
        // The last line that it says before it serves.
        let said = running.wait_for("its pid", PATIENCE, |line| line.text.starts_with("pid "));
        assert_eq!(said.unwrap_or_else(panic).text, format!("pid {}", running.id()));
        Pong(running)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asserts that the server still runs: it was not harmed.
    pub(crate) fn assert_alive(&mut self) {
        assert!(!self.0.has_ended(), "pong ended; it said:\n{}", self.0.said());
    }

    /// What a leak hunter should find with these flags.
    pub(crate) fn explain(flags: &[&str]) -> Value {
        let run = Command::new(&*PONG).arg("--explain-leaks").args(flags).output();
        let run = run.unwrap_or_else(|error| panic!("cannot start {}: {error}", PONG.display()));
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        serde_json::from_slice(&run.stdout).expect("the explanation is JSON")
    }
}

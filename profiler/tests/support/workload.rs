//! A running workload, and the words it is spoken to with.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testbed::running;

/// How long anything may take that is not the run itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a run under observation may take: a million operations at the cost of a single-stepped probe.
pub(crate) const RUN_PATIENCE: Duration = Duration::from_secs(240);

/// A workload process. Killed when dropped.
pub(crate) struct Workload(testbed::workload::Workload);

impl Workload {
    /// Starts a workload and waits until it is ready.
    pub(crate) fn spawn<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Workload {
        let mut command = Command::new(program);
        command.args(arguments);
        Workload::spawn_command(command)
    }

    /// As [`Workload::spawn`], for a command with an environment or a user of its own.
    pub(crate) fn spawn_command(mut command: Command) -> Workload {
        super::about_to_run();
        // tcmalloc writes about large requests to stderr: the failing ones of the workloads are meant.
        command.env("TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD", "0");
        Workload(testbed::workload::Workload::start(&mut command, PATIENCE).unwrap_or_else(panic))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its process id as an argument.
    pub(crate) fn pid_argument(&self) -> String {
        self.pid().to_string()
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, word: &str) {
        self.0.say(word).unwrap_or_else(panic);
    }

    /// Waits for a line that begins with `start`, and returns it. Lines before it are dropped.
    pub(crate) fn expect_line(&mut self, start: &str, patience: Duration) -> String {
        self.0.line(start, patience).unwrap_or_else(panic)
    }

    /// Waits for the books: its next line of JSON.
    pub(crate) fn books(&mut self) -> Value {
        self.0.json(RUN_PATIENCE).unwrap_or_else(panic)
    }

    /// Lets it run and waits for its books and its end.
    pub(crate) fn run(&mut self) -> Value {
        self.say("go");
        let books = self.books();
        self.expect_line("DONE", PATIENCE);
        books
    }

    /// Whether the process lives.
    pub(crate) fn lives(&mut self) -> bool {
        !self.0.has_ended()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }

    /// Kills it, as a crash or an operator would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.0.kill();
    }

    /// Ends it and asserts that it ended well: it was not harmed, and found no damage in its own memory.
    pub(crate) fn quit(mut self) {
        let status = self.end();
        assert!(status.success(), "{} ended with {status} (signal {:?})", self.0.name(), status.signal());
    }

    /// Ends it and returns how it ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        // It may have ended already, or have been asked to before.
        let _ = self.0.say("quit");
        self.0.close_stdin();
        let status = self.0.wait(PATIENCE).unwrap_or_else(panic);
        status.unwrap_or_else(|| panic!("{} does not end", self.0.name()))
    }
}

/// Fails the test with all that is known of the error.
pub(super) fn panic<T>(error: testbed::Error) -> T {
    panic!("{error:#}")
}

/// Sends a signal to a child. One that ended already is not an error: it is not reaped yet, so the number is still its own.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid above 0");
    let _ = kill_process(pid, signal);
}

/// Waits for a process to end; `None` when the time is over.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    running::wait(child, patience).expect("to wait for a child")
}

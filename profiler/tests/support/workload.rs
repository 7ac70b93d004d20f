//! A running workload, and the words it is spoken to with.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take that is not the run itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a run under observation may take: a million operations at the cost of a single-stepped probe.
pub(crate) const RUN_PATIENCE: Duration = Duration::from_secs(240);

/// A workload process. Killed when dropped.
pub(crate) struct Workload {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    name: String,
}

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
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        let name = command.get_program().to_string_lossy().into_owned();
        let mut workload = Workload { child, stdin, lines, name };
        workload.expect_line("READY", PATIENCE);
        workload
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its process id as an argument.
    pub(crate) fn pid_argument(&self) -> String {
        self.pid().to_string()
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, word: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open until quit");
        writeln!(stdin, "{word}").unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name));
    }

    /// Waits for a line that begins with `start`, and returns it. Lines before it are dropped.
    pub(crate) fn expect_line(&mut self, start: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(start) => return line,
                Ok(_) => {}
                Err(error) => {
                    let state = self.child.try_wait();
                    panic!("{} did not say {start} within {patience:?}: {error}; {state:?}", self.name)
                }
            }
        }
    }

    /// Waits for the books: its next line of JSON.
    pub(crate) fn books(&mut self) -> Value {
        let line = self.expect_line("{", RUN_PATIENCE);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the books are no JSON, {error}: {line}"))
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
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Kills it, as a crash or an operator would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it and asserts that it ended well: it was not harmed, and found no damage in its own memory.
    pub(crate) fn quit(mut self) {
        let status = self.end();
        assert!(status.success(), "{} ended with {status} (signal {:?})", self.name, status.signal());
    }

    /// Ends it and returns how it ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(b"quit\n");
        }
        wait(&mut self.child, PATIENCE).unwrap_or_else(|| panic!("{} does not end", self.name))
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a child. One that ended already is no error: it is not reaped yet, so the number is still its own.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid above 0");
    let _ = kill_process(pid, signal);
}

/// Waits for a process to end; `None` when the time is over.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("to wait for a child") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

//! A run of profiler.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use testbed::place;
use testbed::running::{self, Line, Running, Stream};

use super::workload::{PATIENCE, panic};

/// What the line on stderr begins with that says that everything is attached.
const ATTACHED: &str = "attached";

/// Path of the profiler to test, by default the one built with the tests. `cargo xtask test` sets it to the one that is released.
const PROGRAM: &str = "PROFILER_PROGRAM";

/// Path of the program under test.
pub(crate) fn program() -> PathBuf {
    std::env::var_os(PROGRAM).map_or_else(|| place::program("profiler"), PathBuf::from)
}

/// A user without any rights: `nobody` on Debian.
pub(crate) const NOBODY: u32 = 65534;

/// A directory that everybody may enter, with a copy of `file` in it.
pub(crate) fn public_copy(file: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder =
        tempfile::Builder::new().prefix("profiler-test").tempdir_in("/tmp").expect("to copy a program");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("to copy a program");
    let copy = folder.path().join(file.file_name().expect("a file name"));
    // By another program: a file that is open for writing here is so in what another thread starts meanwhile, and cannot be run
    // until that has called exec.
    let copied = Command::new("cp").arg(file).arg(&copy).status().expect("to run cp");
    assert!(copied.success(), "cannot copy {}", file.display());
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("to copy a program");
    (folder, copy)
}

/// A running profiler. Killed when dropped.
pub(crate) struct Observer {
    running: Running,
    /// What it said on stderr so far.
    stderr: String,
}

/// How a run of profiler ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How the process ended.
    pub(crate) status: ExitStatus,
    /// The result.
    pub(crate) stdout: Vec<u8>,
    /// Progress and errors.
    pub(crate) stderr: String,
    /// From start to end.
    pub(crate) took: Duration,
}

impl Observer {
    /// Starts profiler with these arguments.
    pub(crate) fn spawn<A: AsRef<OsStr>>(arguments: &[A]) -> Observer {
        let mut command = Command::new(program());
        command.args(arguments);
        Observer::spawn_command(command)
    }

    /// Starts `profiler TOOL --format json --pid N` with more arguments, and waits until it is attached.
    pub(crate) fn attach(tool: &str, pid: u32, arguments: &[&str]) -> Observer {
        let mut observer = Observer::start(tool, pid, arguments);
        observer.wait_attached();
        observer
    }

    /// Starts `profiler TOOL --format json --pid N` with more arguments.
    pub(crate) fn start(tool: &str, pid: u32, arguments: &[&str]) -> Observer {
        let pid = pid.to_string();
        // Workloads do nothing but what the tool looks at.
        let mut all = vec![tool, "--max-cost", "off", "--format", "json", "--pid", &pid];
        all.extend(arguments);
        Observer::spawn(&all)
    }

    /// Starts any command that runs profiler.
    pub(crate) fn spawn_command(mut command: Command) -> Observer {
        super::about_to_run();
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        let running = Running::start(&mut command, &[Stream::Stdout, Stream::Stderr]).unwrap_or_else(panic);
        Observer { running, stderr: String::new() }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running.id()
    }

    /// Waits until everything is attached.
    ///
    /// # Panics
    /// If it ends before, or takes too long.
    pub(crate) fn wait_attached(&mut self) {
        if let Err(error) = self.line_on_stderr("that it is attached", is_attached) {
            panic!("{error:#}");
        }
    }

    /// Waits for a line on stderr that begins with `start`, and returns it.
    ///
    /// # Panics
    /// If there is none in time.
    pub(crate) fn expect_line(&mut self, start: &str) -> String {
        self.line_on_stderr(start, |line| line.starts_with(start)).unwrap_or_else(panic)
    }

    /// What it said on stderr so far.
    pub(crate) fn said(&self) -> &str {
        &self.stderr
    }

    /// Waits until everything is attached, or until it gives up: whether it is attached.
    pub(crate) fn attached_or_ended(&mut self) -> bool {
        self.line_on_stderr("that it is attached", is_attached).is_ok()
    }

    fn line_on_stderr(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> testbed::Result<String> {
        let is_it = |line: &Line| line.from == Stream::Stderr && is_it(&line.text);
        let found = self.running.wait_for(what, PATIENCE, is_it);
        self.stderr = self.running.said_on(Stream::Stderr);
        Ok(found?.text)
    }

    /// Sends a signal. One that ended already is not an error: it may end by itself at any moment.
    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Waits until it catches a signal, which it does from before it looks at its target on.
    ///
    /// # Panics
    /// If it takes too long.
    pub(crate) fn wait_until_it_catches(&self, signal: Signal) {
        let deadline = Instant::now() + PATIENCE;
        while !super::process::catches(self.pid(), signal) {
            assert!(Instant::now() < deadline, "{signal:?} is never caught");
            std::thread::yield_now();
        }
    }

    /// Asks it to stop, as Ctrl-C does, and waits for its report.
    pub(crate) fn interrupt(self) -> Outcome {
        self.signal(Signal::INT);
        self.finish(PATIENCE)
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self, patience: Duration) -> Outcome {
        let running::Outcome { status, stdout, stderr, took, .. } =
            self.running.finish(patience).unwrap_or_else(panic);
        Outcome { status, stdout, stderr, took }
    }

    /// Kills it at once, as the OOM killer would, and waits until the kernel has cleaned up behind it.
    pub(crate) fn kill(mut self) {
        self.running.kill();
    }
}

/// Whether a line on stderr says that everything is attached.
fn is_attached(line: &str) -> bool {
    line.trim_start().starts_with(ATTACHED)
}

impl Outcome {
    /// The report on stdout, from a run that ended with `code`.
    pub(crate) fn report(&self, code: i32) -> Value {
        let (status, stderr) = (self.status, &self.stderr);
        // What the exit code depends on.
        let why = serde_json::from_slice::<Value>(&self.stdout)
            .map(|report| ["coverage", "findings"].map(|part| report[part].clone()));
        assert_eq!(status.code(), Some(code), "{status}, stderr:\n{stderr}\n{why:#?}");
        self.json()
    }

    /// The report on stdout.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| {
            let start: String = String::from_utf8_lossy(&self.stdout).chars().take(400).collect();
            panic!(
                "stdout is not a report: {error}; {}; stdout:\n{start}\nstderr:\n{}",
                self.status, self.stderr
            )
        })
    }

    /// stdout as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("stdout is UTF-8")
    }

    /// Asserts an error as a user wants it: the exit code, nothing on stdout, one line that says what was tried on
    /// what and why it failed, one hint; no panic, no signal. The line contains each of `words`.
    pub(crate) fn assert_error(&self, code: i32, words: &[&str]) {
        let stderr = &self.stderr;
        assert_eq!(
            self.status.code(),
            Some(code),
            "{} (signal {:?})\n{stderr}",
            self.status,
            self.status.signal()
        );
        assert!(
            self.stdout.is_empty(),
            "an error left a result on stdout: {}",
            String::from_utf8_lossy(&self.stdout)
        );
        self.assert_message(words);
    }

    /// The part of [`Outcome::assert_error`] about stderr.
    pub(crate) fn assert_message(&self, words: &[&str]) {
        let stderr = &self.stderr;
        let starting = |start: &'static str| stderr.lines().filter(move |line| line.starts_with(start));
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert_eq!(starting("error: ").count(), 1, "not exactly one error line:\n{stderr}");
        assert_eq!(starting("hint: ").count(), 1, "not exactly one hint:\n{stderr}");
        for line in starting("error: ").chain(starting("hint: ")) {
            assert!((20..=400).contains(&line.len()), "too short or too long to be clear: {line}");
        }
        let message = starting("error: ").next().unwrap_or_default().to_lowercase();
        for word in words {
            assert!(message.contains(&word.to_lowercase()), "the message lacks `{word}`: {message}");
        }
    }
}

//! The processes that belong to the server: this program again, as the bots or as the backend. An observer of the server does
//! not see them.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child as Process, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock;
use crate::stop::{Stop, Wakeup};

/// Longest line of a child, in bytes.
const LINE_BYTES: usize = 1 << 20;
/// How often we look whether a child that has closed its output has ended.
const LOOK: Duration = Duration::from_millis(2);

/// A child. It ends when its standard input does, so it does not outlive the server, however that ends.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: Process,
    stdout: ChildStdout,
    unread: Vec<u8>,
}

impl Child {
    /// Starts this program with these arguments. In a process group of its own: Ctrl-C is for the server, which tells its
    /// children.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(name: &'static str, arguments: &[OsString]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("asking for the path of this program")?;
        let mut process = Command::new(program)
            .arg0(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let stdout = process.stdout.take().context("a child without standard output")?;
        Ok(Self { name, process, stdout, unread: Vec::new() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its next line; `None` if it is time to end first.
    ///
    /// # Errors
    /// If there is none until the deadline, or it has ended.
    pub(crate) fn line(&mut self, stop: &Stop, deadline_ns: u64) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            match stop.wait_for(Some(self.stdout.as_fd()), deadline_ns) {
                Wakeup::Asked => return Ok(None),
                Wakeup::Late => bail!("{} does not say that it is ready", self.name),
                Wakeup::Input if self.read() => {}
                Wakeup::Input => bail!("{} has ended before it was ready", self.name),
            }
        }
    }

    /// Tells it to end, and waits for that; after the deadline it is killed. Returns the last line that it wrote.
    pub(crate) fn finish(mut self, deadline_ns: u64) -> Option<String> {
        self.process.stdin = None;
        let mut last = self.take_line();
        while self.can_be_read(deadline_ns) && self.read() {
            while let Some(line) = self.take_line() {
                last = Some(line);
            }
        }
        while matches!(self.process.try_wait(), Ok(None)) && clock::now_ns() < deadline_ns {
            std::thread::sleep(LOOK);
        }
        // Dropping it kills it if it is still there.
        last
    }

    fn can_be_read(&self, deadline_ns: u64) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut watched = [PollFd::new(&self.stdout, PollFlags::IN)];
        // A signal may come while we end, and changes nothing.
        loop {
            match poll(&mut watched, Some(&clock::timeout_until(deadline_ns))) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return ready.is_ok_and(|ready| ready > 0),
            }
        }
    }

    /// Reads what there is; false at the end.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.stdout.read(&mut bytes) {
            Ok(length) if length > 0 && self.unread.len() < LINE_BYTES => {
                self.unread.extend(bytes.get(..length).unwrap_or_default());
                true
            }
            _ => false,
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.unread.iter().position(|byte| *byte == b'\n')?;
        let line = self.unread.drain(..=end).collect::<Vec<_>>();
        Some(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for, which is what we want.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

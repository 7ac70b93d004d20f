//! A started program: its output line by line, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// How often we look whether a program has ended.
const LOOK: Duration = Duration::from_millis(2);
/// How long we wait for the end of its streams after the program itself has ended: what it left running may hold them open.
const REST: Duration = Duration::from_secs(5);

/// A stream of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line that a program wrote.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// Where it was written to.
    pub from: Stream,
    /// Without its end; what is not UTF-8 is replaced.
    pub text: String,
}

/// Why there is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// There was none in time.
    Late,
    /// The program closed all of its streams: there will be none.
    Closed,
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// How the process ended.
    pub status: ExitStatus,
    /// All of its standard output, if that was read.
    pub stdout: Vec<u8>,
    /// All lines of its standard error, if that was read.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
    /// When it was seen to have ended.
    pub ended: Instant,
}

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    started: Instant,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    heard: Vec<Line>,
    stdout: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts a program. These streams of it are connected to us, the others stay as the command has them.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command, streams: &[Stream]) -> Result<Self> {
        for stream in streams {
            match stream {
                Stream::Stdin => command.stdin(Stdio::piped()),
                Stream::Stdout => command.stdout(Stdio::piped()),
                Stream::Stderr => command.stderr(Stdio::piped()),
            };
        }
        let name = command.get_program().to_string_lossy().into_owned();
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let (sender, lines) = channel();
        let stdout = child.stdout.take().map(|stdout| listen(stdout, Stream::Stdout, sender.clone()));
        // Its lines are all that is kept of standard error.
        drop(child.stderr.take().map(|stderr| listen(stderr, Stream::Stderr, sender)));
        let stdin = child.stdin.take();
        Ok(Self { name, child, started, stdin, lines, heard: Vec::new(), stdout })
    }

    /// The program, as the command named it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its process id, to send signals to. It stays its own as long as `self` lives and nobody has waited for its end.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// If that is not connected to us, was closed, or the program no longer reads it.
    pub fn say(&mut self, word: &str) -> Result<()> {
        let name = &self.name;
        let stdin = self.stdin.as_mut().with_context(|| format!("the standard input of {name} is closed"))?;
        // In one write: some programs take what one read returns as one word.
        let line = format!("{word}\n");
        stdin.write_all(line.as_bytes()).with_context(|| format!("{name} does not read `{word}`"))
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line.
    ///
    /// # Errors
    /// If there is none within `patience`.
    pub fn next_line(&mut self, patience: Duration) -> Result<Line, Silence> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                self.heard.push(line.clone());
                Ok(line)
            }
            Err(RecvTimeoutError::Timeout) => Err(Silence::Late),
            Err(RecvTimeoutError::Disconnected) => Err(Silence::Closed),
        }
    }

    /// Waits for a line of which `is_it` holds. Other lines before it are passed over.
    ///
    /// # Errors
    /// If there is none within `patience`; the error has what the program said instead. `what` is for that message.
    pub fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut is_it: impl FnMut(&Line) -> bool,
    ) -> Result<Line> {
        let deadline = Instant::now() + patience;
        loop {
            match self.next_line(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if is_it(&line) => return Ok(line),
                Ok(_) => {}
                Err(silence) => return Err(self.did_not_say(what, patience, silence)),
            }
        }
    }

    fn did_not_say(&mut self, what: &str, patience: Duration, silence: Silence) -> anyhow::Error {
        // A program that closed its streams is about to end, as a rule.
        let status = if silence == Silence::Closed { self.wait(REST).ok().flatten() } else { None };
        let how = match (status, silence) {
            (Some(status), _) => format!("it has ended ({status})"),
            (None, Silence::Closed) => "it closed its output".to_owned(),
            (None, Silence::Late) => format!("not within {patience:?}"),
        };
        anyhow!("{} did not say {what}: {how}; it said:\n{}", self.name, self.said())
    }

    /// The lines that were read so far.
    #[must_use]
    pub fn heard(&self) -> &[Line] {
        &self.heard
    }

    /// The text of all lines that were read so far.
    #[must_use]
    pub fn said(&self) -> String {
        text(self.heard.iter())
    }

    /// The text of the lines of one stream that were read so far.
    #[must_use]
    pub fn said_on(&self, stream: Stream) -> String {
        text(self.heard.iter().filter(|line| line.from == stream))
    }

    /// Whether it has ended. It is not waited for: its number stays its own.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that it was waited for before.
        !matches!(rustix::process::waitid(WaitId::Pid(self.pid()), options), Ok(None))
    }

    /// Sends a signal. One that has ended is not an error: it may do so at any moment.
    pub fn signal(&self, signal: Signal) {
        if !self.has_ended() {
            let _ = rustix::process::kill_process(self.pid(), signal);
        }
    }

    /// Waits for its end; `None` if it goes on for longer than `patience`.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        wait(&mut self.child, patience).with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits for its end, and for the end of its output.
    ///
    /// # Errors
    /// If it takes longer than `patience`: it is killed then, and the error has its output.
    pub fn finish(&mut self, patience: Duration) -> Result<Outcome> {
        let status = self.wait(patience)?;
        let ended = Instant::now();
        if status.is_none() {
            self.kill();
        }
        let deadline = Instant::now() + REST;
        while self.next_line(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        let stderr = self.said_on(Stream::Stderr);
        let Some(status) = status else {
            bail!("{} did not end within {patience:?}; its standard error:\n{stderr}", self.name);
        };
        // What it left running may hold its standard output open; the result is whole when it does not.
        let stdout = self.stdout.take().map(JoinHandle::join).transpose();
        let stdout = stdout.map_err(|_| anyhow!("reading the output of {} panicked", self.name))?;
        let took = ended - self.started;
        Ok(Outcome { status, stdout: stdout.unwrap_or_default(), stderr, took, ended })
    }

    /// Kills it, as a crash or an operator would, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the end of a child; `None` if it goes on for longer than `patience`.
///
/// # Errors
/// If it cannot be waited for.
pub fn wait(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

fn text<'l>(lines: impl Iterator<Item = &'l Line>) -> String {
    lines.flat_map(|line| [line.text.as_str(), "\n"]).collect()
}

/// Sends every line on as it comes, and returns all bytes at the end. It keeps reading when nobody takes the lines: a program
/// whose pipe is full or closed would stop.
fn listen(stream: impl Read + Send + 'static, from: Stream, to: Sender<Line>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut all = Vec::new();
        let mut start = 0;
        while reader.read_until(b'\n', &mut all).is_ok_and(|length| length > 0) {
            let line = all.get(start..).unwrap_or_default();
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned();
            start = all.len();
            let _ = to.send(Line { at: Instant::now(), from, text });
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];
    const PATIENCE: Duration = Duration::from_secs(30);

    fn shell(script: &str, streams: &[Stream]) -> Running {
        Running::start(Command::new("sh").args(["-c", script]), streams).unwrap()
    }

    #[test]
    fn lines_come_with_their_stream_and_output_comes_whole() {
        let mut running = shell("echo a; printf 'b\\377' >&2; exit 3", &BOTH);
        let line = running.wait_for("b", PATIENCE, |line| line.text.starts_with('b')).unwrap();
        assert_eq!((line.from, line.text.as_str()), (Stream::Stderr, "b\u{fffd}"));
        let outcome = running.finish(PATIENCE).unwrap();
        assert_eq!((outcome.status.code(), outcome.stdout.as_slice()), (Some(3), &b"a\n"[..]));
        assert_eq!(outcome.stderr, "b\u{fffd}\n");
    }

    #[test]
    fn a_line_that_never_comes_is_an_error_that_says_what_came() {
        let mut running = shell("echo port taken; exit 3", &BOTH);
        let error = running.wait_for("READY", PATIENCE, |_| false).unwrap_err().to_string();
        assert_eq!(error, "sh did not say READY: it has ended (exit status: 3); it said:\nport taken\n");
        let mut running = shell("exec sleep 600", &BOTH);
        let error = running.wait_for("READY", Duration::from_millis(10), |_| false).unwrap_err().to_string();
        assert_eq!(error, "sh did not say READY: not within 10ms; it said:\n");
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        let mut running = shell("echo words >&2; exec sleep 600", &BOTH);
        let pid = running.pid();
        assert!(!running.has_ended());
        let error = running.finish(Duration::from_millis(200)).unwrap_err().to_string();
        assert_eq!(error, "sh did not end within 200ms; its standard error:\nwords\n");
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn it_is_spoken_to_and_ended_by_a_signal() {
        let mut running =
            shell("read word; echo \"got $word\"; exec sleep 600", &[Stream::Stdin, Stream::Stdout]);
        running.say("go").unwrap();
        running.wait_for("got go", PATIENCE, |line| line.text == "got go").unwrap();
        running.signal(Signal::TERM);
        let status = running.wait(PATIENCE).unwrap().unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
        assert!(running.has_ended());
        // There is nobody to send it to any more, which is not an error.
        running.signal(Signal::TERM);
    }
}

//! Who measures: a program that attaches to a target, says so, and detaches when it is interrupted.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{privilege::Privilege, process};

/// Longest time for attaching, and for detaching and reporting.
const PATIENCE: Duration = Duration::from_secs(60);

/// An observer that is attached. Interrupted and waited for by [`Observer::end`], killed when dropped.
pub(crate) struct Observer {
    child: Child,
    privilege: Privilege,
    stdout: Option<JoinHandle<String>>,
    lines: Receiver<(Instant, String)>,
    /// From exec to the line that says that everything is attached.
    pub(crate) attach: Duration,
    /// When that was.
    pub(crate) attached: Instant,
}

/// How an observation ended.
pub(crate) struct Ended {
    /// What it wrote to standard output.
    pub(crate) stdout: String,
    /// From the interrupt to the exit.
    pub(crate) took: Duration,
}

impl Observer {
    /// Starts an observer and waits for a line that begins with `sign`.
    pub(crate) fn start(command: &mut Command, privilege: Privilege, sign: &str) -> Result<Self> {
        let began = Instant::now();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{}`", process::show(command)))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("the observer has no pipes");
        };
        let (sender, lines) = channel();
        let stdout = listen(stdout, sender.clone());
        // What it says on standard error is only listened to for the sign.
        let _ = listen(stderr, sender);
        let mut observer =
            Self { child, privilege, stdout: Some(stdout), lines, attach: Duration::ZERO, attached: began };
        let mut said = String::new();
        loop {
            let left = (began + PATIENCE).saturating_duration_since(Instant::now());
            let Ok((when, line)) = observer.lines.recv_timeout(left) else {
                bail!("`{}` did not attach:\n{said}", process::show(command));
            };
            if line.starts_with(sign) {
                observer.attach = when - began;
                observer.attached = when;
                return Ok(observer);
            }
            said += &line;
            said.push('\n');
        }
    }

    /// Interrupts it and waits until it has ended.
    pub(crate) fn end(mut self) -> Result<Ended> {
        let began = Instant::now();
        let pid = self.child.id().to_string();
        // Through the privilege: sudo passes the signal on to what it runs.
        process::succeeds(self.privilege.command("kill", &[]).args(["-INT", &pid]));
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                bail!("the observer does not end");
            }
            thread::sleep(Duration::from_millis(1));
        }
        let took = began.elapsed();
        let stdout = self.stdout.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        Ok(Ended { stdout, took })
    }
}

/// Sends every line on, with the time at which it came, and gives all of them at the end.
fn listen(from: impl Read + Send + 'static, to: Sender<(Instant, String)>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            text += &line;
            text.push('\n');
            // Nobody listens any more once it has attached.
            let _ = to.send((Instant::now(), line));
        }
        text
    })
}

impl Drop for Observer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = self.child.id().to_string();
            process::succeeds(self.privilege.command("kill", &[]).args(["-KILL", &pid]));
            // Killed: there is nothing else to learn.
            let _ = self.child.wait();
        }
    }
}

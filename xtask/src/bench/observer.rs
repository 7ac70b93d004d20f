//! An observing program: it attaches to a target, prints that it has, and detaches when it is interrupted.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use testbed::running::{Running, Stream};

use crate::{privilege::Privilege, process};

/// Longest time for attaching, and for detaching and reporting.
const PATIENCE: Duration = Duration::from_secs(60);

/// An observer that is attached. Interrupted and waited for by [`Observer::end`], killed when dropped.
pub(crate) struct Observer {
    running: Running,
    privilege: Privilege,
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
    /// Starts an observer and waits for a line that begins with `sign`, on either of its outputs.
    pub(crate) fn start(command: &mut Command, privilege: Privilege, sign: &str) -> Result<Self> {
        let running = Running::start(command, &[Stream::Stdout, Stream::Stderr])?;
        let started = running.started();
        let mut observer = Self { running, privilege, attach: Duration::ZERO, attached: started };
        let line = observer
            .running
            .wait_for(sign, PATIENCE, |line| line.text.starts_with(sign))
            .with_context(|| format!("`{}` did not attach", process::show(command)))?;
        observer.attach = line.at - started;
        observer.attached = line.at;
        Ok(observer)
    }

    /// Interrupts it and waits until it has ended.
    pub(crate) fn end(mut self) -> Result<Ended> {
        let began = Instant::now();
        self.signal("-INT");
        if self.running.wait(PATIENCE)?.is_none() {
            bail!("the observer does not end");
        }
        let outcome = self.running.finish(PATIENCE)?;
        let stdout = String::from_utf8(outcome.stdout).context("the output of the observer is not UTF-8")?;
        Ok(Ended { stdout, took: outcome.ended - began })
    }

    /// Through the privilege: sudo passes the signal on to what it runs.
    fn signal(&self, signal: &str) {
        let pid = self.running.id().to_string();
        process::succeeds(self.privilege.command("kill", &[]).args([signal, &pid]));
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if !self.running.has_ended() {
            self.signal("-KILL");
        }
    }
}

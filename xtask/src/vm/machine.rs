//! A virtual machine without disk and without network but its loopback interface, emulated: it needs no rights and no help of the processor.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::{emulator::Emulator, kernel::Kernel, wire::Event};
use crate::process;

/// The limit is counted in steps of at most this length, so that a job that was stopped for a while, or a computer that was
/// suspended, does not end the machine.
const STEP: Duration = Duration::from_secs(1);
/// Lines of the kernel's log that are shown when the machine fails.
const TAIL: usize = 40;

/// A running machine. Ended when dropped.
pub(super) struct Machine {
    child: Child,
    events: Receiver<String>,
    left: Duration,
    log: std::path::PathBuf,
}

impl Machine {
    /// Boots a kernel. What it logs is written to `log`; it is ended after `limit`. One processor has a time of its
    /// own; several run at the same time, in the time of this machine.
    pub(super) fn boot(
        emulator: &Emulator,
        kernel: &Kernel,
        initramfs: &Path,
        processors: u8,
        log: &Path,
        limit: Duration,
    ) -> Result<Self> {
        File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        // Whatever else runs comes first: other tests, for one.
        let mut qemu = process::when_idle(emulator.command());
        // The plainest processor: vector instructions, which libraries use where they can, are slow to emulate. Its
        // random number instruction is needed early in the boot.
        qemu.args(["-machine", "pc", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "1024"]);
        qemu.args(["-smp", &processors.to_string()]);
        if processors == 1 {
            // Time is what the guest has computed, 2 ns an instruction, and passes at once while it waits: no stall
            // is reported and no patience ends because this machine is busy.
            qemu.args(["-icount", "shift=1,sleep=off"]);
        }
        qemu.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
        // A panic ends the machine. Mitigations would only cost time, and so would messages below warnings: the guest
        // sends the whole log.
        qemu.args(["-append", "console=ttyS0 loglevel=5 panic=-1 mitigations=off rdinit=/init -- vm-guest"]);
        qemu.arg("-serial").arg(format!("file:{}", log.display())).args(["-serial", "stdio"]);
        qemu.stdout(Stdio::piped());
        // It has nothing to save, and must not wait for whatever the guest does.
        process::die_with_us(&mut qemu, Signal::KILL);
        let mut child = qemu.spawn().with_context(|| format!("cannot run `{}`", process::show(&qemu)))?;
        let stdout = child.stdout.take().context("the emulator has no output")?;
        Ok(Self { child, events: follow(stdout), left: limit, log: log.to_owned() })
    }

    /// The next event; `None` after the last.
    pub(super) fn next_event(&mut self) -> Result<Option<Event>> {
        while !self.left.is_zero() {
            let asked = Instant::now();
            let received = self.events.recv_timeout(STEP.min(self.left));
            self.left = self.left.saturating_sub(asked.elapsed().min(STEP));
            match received {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(event) => return Ok(Some(event)),
                    Err(error) => bail!("the guest sent a line that is not an event ({error}): {line}"),
                },
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        bail!("the machine took longer than its limit\nits log ends with:\n{}", self.tail())
    }

    /// The end of the kernel's log.
    pub(super) fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
        lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // After the last event it has ended or is about to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines as they come.
fn follow(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if !line.is_empty() && sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

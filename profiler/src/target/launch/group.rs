//! The process group of a launched command: the command, even if it left the group, and processes that it started and
//! that did not leave.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpgid, kill_process_group, test_kill_process_group, waitpgid,
};

use crate::target::{process::Process, status::Status};

/// Interval between looks at a group: the kernel reports the end of a process, but not that of a group.
const PAUSE: Duration = Duration::from_millis(10);

/// The time that a command has to end after it was asked to end.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    asked: Instant,
    length: Duration,
}

impl Grace {
    /// Starts the time now.
    pub fn begin(length: Duration) -> Grace {
        Grace { asked: Instant::now(), length }
    }

    /// How long to sleep before looking again; `None` if it is `gone`, or the time is up.
    pub fn wait(&self, gone: bool) -> Option<Duration> {
        let left = self.length.checked_sub(self.asked.elapsed()).filter(|left| !left.is_zero());
        left.filter(|_| !gone).map(|left| left.min(PAUSE))
    }

    /// The part of the time that has passed.
    pub fn had(&self) -> Duration {
        self.asked.elapsed().min(self.length)
    }
}

/// A process group that was made for a command, and the command, which may have left it (setpgid(2)).
#[derive(Debug)]
pub(super) struct Group {
    /// The number of the group, which is also the pid of the command.
    number: Pid,
    /// `None` if the command is gone, or if there was no descriptor left: then only the group is known.
    command: Option<Process>,
}

impl Group {
    /// The group that this process leads. The process must not have been collected yet.
    pub(super) fn led_by(pid: u32) -> Option<Group> {
        // For kill(2), 1 and less stand for other sets of processes.
        let number = Pid::from_raw(i32::try_from(pid).ok().filter(|pid| *pid > 1)?)?;
        Some(Group { number, command: Process::open(pid).ok() })
    }

    /// Collects processes of the group that ended and had become our children. Must be called only after the command
    /// was collected, whose status it would take.
    pub(super) fn collect(&self) {
        while waitpgid(self.number, WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some()) {}
    }

    /// Whether any process is in the group, zombies included, or the command has left it and lives.
    pub(super) fn is_there(&self) -> bool {
        test_kill_process_group(self.number) != Err(rustix::io::Errno::SRCH) || self.command_lives()
    }

    fn command_lives(&self) -> bool {
        self.command.as_ref().is_some_and(|command| !command.ended())
    }

    /// Asks all of it to end. Stopped processes are woken, so that they can.
    pub(super) fn ask_to_end(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// Kills all of it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// One signal to each process: some servers take a second one as a request to end without saving.
    fn signal(&self, signal: Signal) {
        let has_left = getpgid(Some(self.number)).is_ok_and(|group| group != self.number);
        // Processes that are gone need none.
        let _ = kill_process_group(self.number, signal);
        if let Some(command) = self.command.as_ref().filter(|_| has_left) {
            command.signal(signal);
        }
    }

    /// Asks it to end, waits, and kills it when `grace` is over.
    pub(super) fn end(&self, grace: Duration, mut collect: impl FnMut()) {
        self.ask_to_end();
        let grace = Grace::begin(grace);
        let mut is_there = || {
            collect();
            self.is_there()
        };
        while let Some(pause) = grace.wait(!is_there()) {
            // A process that was stopped after it was asked cannot end.
            let status = Status::read(self.number.as_raw_nonzero().get().unsigned_abs());
            if status.is_ok_and(|status| status.state == Some('T')) {
                self.signal(Signal::CONT);
            }
            std::thread::sleep(pause);
        }
        if is_there() {
            self.kill();
            collect();
        }
    }
}

/// Has the kernel ask this process to end when its parent does. For prctl(2), the parent is the thread that started
/// this process: for profiler that is the main thread.
///
/// # Errors
/// If the parent is gone already.
pub(super) fn end_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    // If the parent ended before this call, the kernel sends nothing.
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(io::Error::other("profiler has ended")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_ends_with_its_time_or_with_who_has_it() {
        let hour = Grace::begin(Duration::from_secs(3600));
        assert_eq!((hour.wait(false), hour.wait(true)), (Some(PAUSE), None));
        let none = Grace::begin(Duration::ZERO);
        assert_eq!((none.wait(false), none.had()), (None, Duration::ZERO));
        let short = Grace::begin(Duration::from_millis(5));
        assert!(short.wait(false).is_none_or(|pause| pause <= Duration::from_millis(5)));
        assert!(hour.had() < Duration::from_secs(3600));
    }
}

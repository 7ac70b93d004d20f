//! The process group of a launched command: itself, and what it started that did not leave.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid};

use crate::target::status::Status;

/// How often the end of a group is looked for: the kernel tells of the end of a process, not of a group.
const PAUSE: Duration = Duration::from_millis(10);

/// The time that a command has to end after it was asked to.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    asked: Instant,
    length: Duration,
}

impl Grace {
    /// It was asked now.
    pub fn begin(length: Duration) -> Grace {
        Grace { asked: Instant::now(), length }
    }

    /// How long to sleep before looking again; `None` if it is `gone`, or the time is up.
    pub fn wait(&self, gone: bool) -> Option<Duration> {
        let left = self.length.checked_sub(self.asked.elapsed()).filter(|left| !left.is_zero());
        left.filter(|_| !gone).map(|left| left.min(PAUSE))
    }

    /// The time that it has had.
    pub fn had(&self) -> Duration {
        self.asked.elapsed().min(self.length)
    }
}

/// A process group that was made for a command. Its number is that of the command's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Pid);

impl Group {
    /// The group that this process leads.
    pub(super) fn led_by(pid: u32) -> Option<Group> {
        // 1 and less would mean other sets of processes to kill(2).
        let pid = i32::try_from(pid).ok().filter(|pid| *pid > 1)?;
        Pid::from_raw(pid).map(Group)
    }

    /// Collects what has ended of it and has become our child. Only when the command itself was collected, whose status
    /// this would take.
    pub(super) fn collect(self) {
        while waitpgid(self.0, WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some()) {}
    }

    /// Whether any process is in it, zombies included.
    pub(super) fn is_there(self) -> bool {
        test_kill_process_group(self.0) != Err(rustix::io::Errno::SRCH)
    }

    /// Asks all of it to end. A stopped process is woken, to hear it.
    pub(super) fn ask_to_end(self) {
        // A group that is gone needs nothing.
        let _ = kill_process_group(self.0, Signal::TERM);
        let _ = kill_process_group(self.0, Signal::CONT);
    }

    /// Ends all of it.
    pub(super) fn kill(self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }

    /// Asks it to end, and ends it when `grace` is over. For whoever has nothing else to do.
    pub(super) fn end(self, grace: Duration, mut collect: impl FnMut()) {
        self.ask_to_end();
        let grace = Grace::begin(grace);
        let mut is_there = || {
            collect();
            self.is_there()
        };
        while let Some(pause) = grace.wait(!is_there()) {
            // One that was stopped since it was asked cannot end.
            if Status::read(self.0.as_raw_nonzero().get().unsigned_abs())
                .is_ok_and(|status| status.state == Some('T'))
            {
                let _ = kill_process_group(self.0, Signal::CONT);
            }
            std::thread::sleep(pause);
        }
        if is_there() {
            self.kill();
            collect();
        }
    }
}

/// Has the kernel ask this process to end when its parent does. The thread of the parent that made this process counts
/// as the parent (prctl(2)): for profiler that is the main thread.
///
/// # Errors
/// If the parent is gone already.
pub(super) fn end_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    // A parent that ended before will not end again.
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

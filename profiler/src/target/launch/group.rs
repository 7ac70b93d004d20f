//! The process group of a launched command: itself, and what it started that did not leave.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// How often the end of a group is looked for: the kernel tells of the end of a process, not of a group.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

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
        let deadline = Instant::now() + grace;
        loop {
            collect();
            if !self.is_there() {
                return;
            }
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.kill();
        collect();
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

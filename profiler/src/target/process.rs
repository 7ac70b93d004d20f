//! One process, held so that it cannot be confused with a later process with the same pid.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    },
    path::PathBuf,
    process::ExitStatus,
    time::{Duration, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process},
};

use super::{
    maps,
    stat::{Stat, ticks_per_s},
    status::Status,
};
use crate::{
    error::{Error, ErrorKind, Result},
    text::Text,
    units,
};

/// A process to observe.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// `None` once it has ended and was released.
    handle: Option<OwnedFd>,
    name: Text,
    started_ticks: u64,
}

/// `struct pidfd_info` of include/uapi/linux/pidfd.h, in its first size.
#[repr(C)]
#[derive(Debug, Default)]
struct PidfdInfo {
    /// The fields that are asked for; on return, the fields that are filled in.
    mask: u64,
    cgroup_id: u64,
    /// Process, parent and user ids.
    ids: [u32; 11],
    /// The status in the form of wait(2).
    exit_code: i32,
}

/// Asks for [`PidfdInfo::exit_code`].
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: libc::c_ulong =
    (3 << 30) | ((size_of::<PidfdInfo>() as libc::c_ulong) << 16) | (0xFF << 8) | 11;

/// Facts from `/proc/PID/stat` and `status`.
#[derive(Debug, Default)]
struct Facts {
    name: Vec<u8>,
    state: u8,
    flags: u64,
    started_ticks: u64,
    leader: u32,
}

/// The flag of kernel threads (include/linux/sched.h).
const PF_KTHREAD: u64 = 0x0020_0000;

impl Process {
    /// Opens a running process.
    ///
    /// # Errors
    /// With a hint if there is no such process, if it is a thread, a kernel thread, or has ended and was not
    /// collected yet.
    pub fn open(pid: u32) -> Result<Process> {
        let tried = || Error::new(ErrorKind::NoSuchProcess, format_args!("tried to observe process {pid}"));
        let gone = || {
            tried()
                .because("there is no such process")
                .hint("look for it with `pgrep -af NAME`, or give --name NAME")
        };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let unreadable = || {
            Error::new(ErrorKind::Kernel, format_args!("tried to read /proc/{pid}/stat"))
                .because("the process is there, but its file cannot be read")
                .hint("is /proc mounted, and are there enough descriptors (`ulimit -n`)?")
        };
        let is_there = || !matches!(test_kill_process(raw), Err(Errno::SRCH));
        let facts = facts(pid).ok_or_else(|| if is_there() { unreadable() } else { gone() })?;
        if facts.leader != pid && facts.leader != 0 {
            return Err(Error::new(ErrorKind::Usage, format_args!("tried to observe process {pid}"))
                .because(format_args!("it is a thread of process {}", facts.leader))
                .hint(format_args!("give --pid {}", facts.leader)));
        }
        let handle = pidfd_open(raw, PidfdFlags::NONBLOCK).map_err(|error| match error {
            Errno::SRCH => gone(),
            other => Error::new(ErrorKind::Kernel, format_args!("tried to open process {pid}"))
                .because_of(io::Error::from(other)),
        })?;
        if matches!(facts.state, b'Z' | b'X') {
            let others = living_threads(pid);
            if others > 0 {
                let others = units::plural(others, "other goes on", "others go on");
                return Err(Error::new(
                    ErrorKind::UnsupportedTarget,
                    format_args!("tried to observe process {pid}"),
                )
                .because(format_args!(
                    "its first thread has ended while {others}: the kernel finds a process's memory by its first thread"
                ))
                .hint("start it under profiler (-- COMMAND): an observation that has begun before goes on"));
            }
            return Err(tried().because("it has ended and waits for its parent to notice (zombie)").hint(
                "start the server again and observe the new process, or start it under profiler: -- COMMAND",
            ));
        }
        // The facts may be those of an earlier process with this pid.
        match self::facts(pid) {
            Some(now) if now.started_ticks == facts.started_ticks => {}
            None if is_there() => return Err(unreadable()),
            _ => return Err(gone()),
        }
        if facts.flags & PF_KTHREAD != 0 {
            return Err(Error::new(
                ErrorKind::UnsupportedTarget,
                format_args!("tried to observe process {pid}"),
            )
            .because("it is a kernel thread: it has no memory of its own")
            .hint("give the pid of a user program"));
        }
        if maps::read(pid).is_ok_and(|maps| maps.is_empty()) {
            return Err(tried().because("it is about to end: it has given up its memory").hint(
                "start the server again and observe the new process, or start it under profiler: -- COMMAND",
            ));
        }
        Ok(Process {
            pid,
            handle: Some(handle),
            name: whole(pid, facts.name),
            started_ticks: facts.started_ticks,
        })
    }

    /// Its pid in our pid namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name: `comm`, or the executable's file name where `comm` is a truncated form of it.
    pub fn name(&self) -> &Text {
        &self.name
    }

    /// Its present name, which an exec changes; `None` if it is gone.
    pub(crate) fn present_name(&self) -> Option<Text> {
        name_of(self.pid).map(|name| whole(self.pid, name))
    }

    /// Sets its name, as [`Process::present_name`] has read it.
    pub(crate) fn rename(&mut self, name: Text) {
        self.name = name;
    }

    /// Sets the name that it will have after an exec that is about to happen.
    pub(crate) fn call(&mut self, name: &OsStr) {
        self.name = Text::from(name);
    }

    /// Becomes readable when the process ends. `None` once it was released.
    pub fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.handle.as_ref().map(|handle| handle.as_fd())
    }

    /// Closes the descriptor of a process that has ended, or has become another program that is observed apart: there may be thousands.
    /// From then on it counts as ended, and how it ended is not known.
    pub(crate) fn release(&mut self) {
        self.handle = None;
    }

    /// Continues it if it was stopped.
    pub(crate) fn wake(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // A process that is gone needs no signal.
        let _ = self.handle.as_ref().map(|handle| pidfd_send_signal(handle, signal));
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end, at most so long; true if it ended.
    pub fn wait(&self, at_most: Duration) -> bool {
        let timeout =
            Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        let Some(handle) = &self.handle else { return true };
        let mut fds = [PollFd::new(handle, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&timeout)), Ok(n) if n > 0)
    }

    /// How it ended; it need not be our child. `None` while it runs, and if the kernel does not know any more: before Linux 6.15 that
    /// is so once the parent has collected the process.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        if !self.ended() {
            return None;
        }
        // Its parent may collect it between the two questions.
        let raw = self.status_of_collected().or_else(|| self.status_of_zombie());
        raw.or_else(|| self.status_of_collected()).map(ExitStatus::from_raw)
    }

    /// From `/proc/PID/stat`, while it is a zombie.
    fn status_of_zombie(&self) -> Option<i32> {
        let stat = Stat::of_process(self.pid)?;
        let itself = stat.started_ticks() == Some(self.started_ticks);
        // exit_code of proc(5).
        if itself && matches!(stat.state()?, b'Z' | b'X') { stat.field(52) } else { None }
    }

    /// From the kernel's record of processes that were collected while someone held them (Linux 6.15).
    fn status_of_collected(&self) -> Option<i32> {
        let handle = self.handle.as_ref()?;
        let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
        // SAFETY: the request is for this structure, whose size is part of its number.
        let done = unsafe { libc::ioctl(handle.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
        (done == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
    }

    /// When it began, on the wall clock, to a tick of the kernel (10 ms).
    pub fn started(&self) -> SystemTime {
        SystemTime::now().checked_sub(self.age()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// How long ago it began, to a tick of the kernel (10 ms).
    pub(crate) fn age(&self) -> Duration {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let since_boot = Duration::new(since_boot.tv_sec.max(0) as u64, since_boot.tv_nsec.max(0) as u32);
        since_boot.saturating_sub(Duration::from_secs_f64(self.started_ticks as f64 / ticks_per_s() as f64))
    }

    /// Whether it began before this moment, in ticks since boot ([`ticks_now`](super::stat::ticks_now)): in the same tick it did not.
    pub(crate) fn began_before(&self, ticks: u64) -> bool {
        self.started_ticks < ticks
    }

    /// The path of its executable, as the target sees it.
    ///
    /// # Errors
    /// If the process is gone or may not be read.
    pub fn exe(&self) -> io::Result<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.pid))
    }

    /// Its seccomp mode: 0 none, 1 strict, 2 filter.
    pub fn seccomp(&self) -> Option<u32> {
        Status::read(self.pid).ok()?.seccomp
    }
}

fn facts(pid: u32) -> Option<Facts> {
    let stat = Stat::of_process(pid)?;
    let leader = Status::read(pid).ok()?.leader;
    Some(Facts {
        name: stat.name()?.to_vec(),
        state: stat.state()?,
        flags: stat.field(9)?,
        started_ticks: stat.started_ticks()?,
        leader: leader.unwrap_or(0),
    })
}

/// The threads of a process; none if it is gone.
pub(crate) fn threads_of(pid: u32) -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok())
}

/// How many threads of a process have not ended.
fn living_threads(pid: u32) -> usize {
    let lives = |tid: &u32| {
        Stat::of_thread(*tid).and_then(|stat| stat.state()).is_some_and(|state| !matches!(state, b'Z' | b'X'))
    };
    threads_of(pid).filter(lives).count()
}

/// The name of a process, if it still runs.
pub(crate) fn name_of(pid: u32) -> Option<Vec<u8>> {
    facts(pid).map(|facts| facts.name)
}

/// The executable's file name, which is not cut to 15 bytes like the name.
pub(crate) fn exe_name(pid: u32) -> Option<Vec<u8>> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    exe.file_name().map(OsStr::as_bytes).map(<[u8]>::to_vec)
}

/// The whole name, which the kernel cuts to 15 bytes, as far as the executable's file name shows it.
fn whole(pid: u32, name: Vec<u8>) -> Text {
    const MOST: usize = 15;
    let exe = (name.len() == MOST).then(|| exe_name(pid)).flatten();
    Text::new(exe.filter(|exe| exe.starts_with(&name)).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_kernel_cut_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let [long, other] =
            ["teeworlds-server-of-ours", "another-name"].map(|name| directory.path().join(name));
        fs::copy("/bin/sleep", &long).unwrap();
        std::os::unix::fs::symlink("/bin/sleep", &other).unwrap();
        for (program, name) in [(&long, "teeworlds-server-of-ours"), (&other, "another-name")] {
            let mut child = std::process::Command::new(program).arg("1000").spawn().unwrap();
            let process = Process::open(child.id()).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(process.name().terminal(), name);
        }
    }

    #[test]
    fn knows_itself() {
        let own = Process::open(std::process::id()).unwrap();
        assert!(!own.ended());
        assert_eq!(own.exe().unwrap(), std::env::current_exe().unwrap());
    }

    #[test]
    fn says_that_there_is_no_such_process() {
        let error = Process::open(u32::MAX / 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchProcess);
        assert!(error.advice().is_some());
    }

    /// What was opened of the memory of its old program is gone once it has the new one.
    #[test]
    fn is_there_while_it_replaces_itself() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("again");
        fs::write(&script, "exec /bin/sh \"$0\"\n").unwrap();
        let mut child = std::process::Command::new("/bin/sh").arg(&script).spawn().unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(1);
        let mut failed = Ok(());
        let mut tries = 0;
        while failed.is_ok() && std::time::Instant::now() < until {
            tries += 1;
            failed = Process::open(child.id()).map(drop);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        failed.unwrap_or_else(|e| panic!("try {tries}: {e}"));
    }

    #[test]
    fn sees_an_end() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        assert!(!process.ended());
        child.kill().unwrap();
        assert!(process.wait(Duration::from_secs(10)));
        assert_eq!(process.exit_status().and_then(|status| status.signal()), Some(9));
        child.wait().unwrap();
    }
}

//! Where the map file of a process is, and whether it can be trusted.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

use crate::target::{process::Process, status::Status};

/// A file may look this much older than the process that wrote it: both times are rounded to kernel ticks.
const CLOCK_SLACK: Duration = Duration::from_millis(100);

/// The location of a process's map file. The root directory of the process is held open, so that a file that it writes
/// as it ends is found too.
#[derive(Clone, Debug)]
pub struct Location {
    root: Arc<OwnedFd>,
    /// Path below the root.
    file: String,
    /// Effective user id of the process.
    owner: u32,
    /// When the process began.
    started: SystemTime,
}

impl Location {
    /// The location of a running process.
    ///
    /// # Errors
    /// If it has ended or may not be read.
    pub fn of(process: &Process) -> io::Result<Location> {
        let pid = process.pid();
        let (inner_pid, owner) = identity(pid)?;
        let root = root_directory(Path::new(&format!("/proc/{pid}/root")))?;
        if process.ended() {
            return Err(io::Error::other("the process has ended"));
        }
        Ok(Location {
            root: Arc::new(root),
            file: format!("tmp/perf-{inner_pid}.map"),
            owner,
            started: process.started(),
        })
    }

    /// Reads the owner of the process again: many servers begin as root and then change their user.
    pub fn renew_owner(&mut self, process: &Process) {
        if let Ok((_, owner)) = identity(process.pid())
            && !process.ended()
        {
            self.owner = owner;
        }
    }

    /// The path as the target sees it.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.file)
    }

    /// Opens the file within the target's root. Never blocks, even if the path is not a regular file.
    ///
    /// # Errors
    /// A message, if the file cannot be used.
    pub(crate) fn open(&self) -> Result<File, String> {
        let path = self.path();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(&self.root, self.file.as_str(), flags, Mode::empty(), within);
        let file: File = match opened {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Err(format!("there is no {path}")),
            Err(Errno::LOOP) => return Err(format!("{path} is refused: it is a symbolic link")),
            Err(error) => return Err(format!("{path} cannot be opened: {}", io::Error::from(error))),
        };
        let facts = file.metadata().map_err(|error| format!("{path} cannot be read: {error}"))?;
        let written =
            UNIX_EPOCH + Duration::new(facts.mtime().max(0) as u64, facts.mtime_nsec().max(0) as u32);
        if !facts.is_file() {
            Err(format!("{path} is refused: it is not a regular file"))
        } else if facts.uid() != 0 && facts.uid() != self.owner {
            let (is, wants) = (facts.uid(), self.owner);
            Err(format!("{path} is refused: it belongs to user {is}, the process runs as user {wants}"))
        } else if written + CLOCK_SLACK < self.started {
            Err(format!("{path} is refused: it was last written before the process began"))
        } else {
            Ok(file)
        }
    }

    /// A location for tests.
    #[cfg(test)]
    pub(super) fn in_directory(root: &Path, owner: u32, started: SystemTime) -> Location {
        let root = Arc::new(root_directory(root).unwrap());
        Location { root, file: "tmp/perf-7.map".to_owned(), owner, started }
    }
}

fn root_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// The pid of a process in its own pid namespace, which it uses in the file's name, and its effective user id.
fn identity(pid: u32) -> io::Result<(u32, u32)> {
    let status = Status::read(pid)?;
    status
        .own_pid()
        .zip(status.uid)
        .ok_or_else(|| io::Error::other("no NSpid or Uid in the status of the process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_location_of_this_process() {
        let own = Process::open(std::process::id()).unwrap();
        let location = Location::of(&own).unwrap();
        assert_eq!(location.path(), format!("/tmp/perf-{}.map", std::process::id()));
        let age = SystemTime::now().duration_since(location.started).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}

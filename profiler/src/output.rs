//! Writes results to standard output and to files. profiler often runs as root in directories of other users. So a file is written under a
//! temporary name beside its destination, readable by its owner only, and then renamed: an existing file is replaced as a whole or
//! not at all, and symbolic links are not followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::render::Format;
use crate::report::FileId;
use crate::text::Text;

/// The user for whom files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invoker {
    /// Effective user id of profiler.
    pub euid: u32,
    /// User and group that called sudo, if profiler runs as root.
    pub sudo: Option<(u32, u32)>,
}

impl Invoker {
    /// The invoker of this process: its effective user id, and `SUDO_UID` and `SUDO_GID` if that is root.
    pub fn current() -> Invoker {
        let euid = rustix::process::geteuid().as_raw();
        let id = |name| std::env::var(name).ok()?.parse().ok();
        let sudo = id("SUDO_UID").zip(id("SUDO_GID")).filter(|_| euid == 0);
        Invoker { euid, sudo }
    }

    fn owns(&self, uid: u32) -> bool {
        uid == self.euid || self.sudo.is_some_and(|(user, _)| user == uid)
    }
}

/// A destination of a rendered report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputTarget {
    /// Standard output.
    Stdout(Format),
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
}

impl OutputTarget {
    /// Parses an argument of `-o`: `-` is standard output in the format `stdout`; for files the extension gives the format.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the extension is unknown.
    pub fn parse(argument: &OsStr, stdout: Format) -> Result<OutputTarget> {
        if argument == "-" {
            return Ok(OutputTarget::Stdout(stdout));
        }
        let path = PathBuf::from(argument);
        Ok(OutputTarget::File { format: Format::from_path(&path)?, path })
    }

    /// The format.
    pub fn format(&self) -> Format {
        match self {
            OutputTarget::Stdout(format) | OutputTarget::File { format, .. } => *format,
        }
    }

    /// Checks that it can be written by creating a file there and removing it again. This is done before an observation starts, so that
    /// the user does not learn at its end that the directory does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Output`], as [`OutputTarget::write`].
    pub fn check(&self, invoker: &Invoker) -> Result<()> {
        let OutputTarget::File { path, .. } = self else { return Ok(()) };
        let attempt = || -> Result<(), Failure> {
            let place = Place::open(path, invoker)?;
            place.refuse_existing(invoker)?;
            Part::create(&place)?;
            Ok(())
        };
        attempt().map_err(|failure| failure.on(path))
    }

    /// Refuses to overwrite the file `kept`; `what` is the reason.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this is that file, even under another name.
    pub fn refuse_if_same(&self, kept: FileId, what: &str) -> Result<()> {
        match self {
            OutputTarget::File { path, .. } if FileId::at(path) == Some(kept) => {
                Err(Error::on(ErrorKind::Usage, "tried to write", path.as_path())
                    .because(what)
                    .hint("name another file behind -o"))
            }
            OutputTarget::Stdout(_) | OutputTarget::File { .. } => Ok(()),
        }
    }

    /// Writes `content`. A file has mode 0600; under sudo it belongs to the caller, unless its directory belongs to root. A closed pipe on
    /// standard output is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] if the directory cannot be written, or if the path is not a regular file of the invoker with
    /// one link. An existing file is then unchanged.
    pub fn write(&self, content: &[u8], invoker: &Invoker, stdout: &mut dyn Write) -> Result<()> {
        match self {
            OutputTarget::Stdout(_) => match stdout.write_all(content).and_then(|()| stdout.flush()) {
                // The reader has closed the pipe, as `head -3` does.
                Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written.map_err(|cause| {
                    Error::new(ErrorKind::Output, "tried to write to standard output")
                        .because_of(cause)
                        .hint("write the report to a file instead: -o report.json")
                }),
            },
            OutputTarget::File { path, .. } => {
                write_file(path, content, invoker).map_err(|failure| failure.on(path))
            }
        }
    }
}

fn write_file(path: &Path, content: &[u8], invoker: &Invoker) -> Result<(), Failure> {
    let place = Place::open(path, invoker)?;
    place.refuse_existing(invoker)?;
    let mut part = Part::create(&place)?;
    part.file.write_all(content)?;
    if let Some((uid, gid)) = invoker.sudo.filter(|_| place.owner != 0) {
        fs::fchown(&part.file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    part.file.sync_all()?;
    // Check again, because an observation took place since the first check.
    place.refuse_existing(invoker)?;
    fs::renameat(place.dir(), &part.name, place.dir(), &place.name)?;
    part.moved = true;
    Ok(())
}

/// A name in an open directory. All steps use the descriptor of the directory, so that nobody can exchange the directory between them.
struct Place {
    directory: OwnedFd,
    /// User id of the owner of the directory.
    owner: u32,
    name: OsString,
}

impl Place {
    fn open(path: &Path, invoker: &Invoker) -> Result<Place, Failure> {
        let name = path.file_name().ok_or(Failure::Refused("it does not end in a file name"))?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = open_directory(parent, invoker).map_err(|errno| match errno {
            Errno::LOOP => Failure::Link(std::fs::canonicalize(parent).unwrap_or_default()),
            errno => Failure::Directory(errno),
        })?;
        let owner = fs::fstat(&directory)?.st_uid;
        Ok(Place { directory, owner, name })
    }

    fn dir(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Fails unless the name is free, or a regular file of the invoker with one link.
    fn refuse_existing(&self, invoker: &Invoker) -> Result<(), Failure> {
        let stat = match fs::statat(self.dir(), &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            result => result?,
        };
        Err(Failure::Refused(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if !invoker.owns(stat.st_uid) => "the file belongs to another user",
            FileType::RegularFile if stat.st_nlink > 1 => "the file has a second name (hard link)",
            FileType::RegularFile => return Ok(()),
            FileType::Symlink => "it is a symbolic link",
            FileType::Directory => "it is a directory",
            FileType::Fifo => "it is a FIFO",
            FileType::Socket => "it is a socket",
            FileType::CharacterDevice | FileType::BlockDevice => "it is a device",
            FileType::Unknown => "it is not a plain file",
        }))
    }
}

/// Opens a directory. Root does not follow symbolic links in the path, because another user may own them.
fn open_directory(path: &Path, invoker: &Invoker) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if invoker.euid != 0 {
        return fs::openat(CWD, path, flags, Mode::empty());
    }
    fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

/// A temporary file, which is removed unless it was renamed to its destination.
struct Part<'a> {
    place: &'a Place,
    name: String,
    file: File,
    moved: bool,
}

impl<'a> Part<'a> {
    fn create(place: &'a Place) -> Result<Part<'a>, Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Exclusive creation makes the name safe; the random part only makes it likely to be free.
        let name = format!(".profiler-{:016x}.part", RandomState::new().hash_one(&place.name));
        let file = File::from(fs::openat(place.dir(), &name, flags, Mode::RUSR | Mode::WUSR)?);
        let part = Part { place, name, file, moved: false };
        fs::fchmod(&part.file, Mode::RUSR | Mode::WUSR)?;
        Ok(part)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // A failure cannot be handled, and the earlier error is the one to report.
            let _ = fs::unlinkat(self.place.dir(), &self.name, AtFlags::empty());
        }
    }
}

/// Why a file cannot be written.
#[derive(Debug)]
enum Failure {
    /// The destination must not be replaced.
    Refused(&'static str),
    /// The path of the directory contains a symbolic link; this is the real path.
    Link(PathBuf),
    /// The directory cannot be opened.
    Directory(Errno),
    /// A system call failed.
    System(io::Error),
}

impl Failure {
    fn on(self, path: &Path) -> Error {
        let error = Error::on(ErrorKind::Output, "tried to write", path);
        match self {
            Failure::Refused(why) => {
                error.because(why).hint("name a file that does not exist, or one of your own")
            }
            Failure::Link(real) => error
                .because("its directory is reached through a symbolic link, which root does not follow")
                .hint(format_args!("name the real directory: {}", Text::from(real.as_path()).terminal())),
            Failure::Directory(errno) => {
                let hint = match errno {
                    Errno::NOENT => "create the directory first",
                    _ => "choose a directory that you can write to",
                };
                error.because("its directory").because_of(io::Error::from(errno)).hint(hint)
            }
            Failure::System(cause) => {
                let hint = match cause.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        "make room, or choose another disk"
                    }
                    io::ErrorKind::FileTooLarge => "raise the limit of file sizes (`ulimit -f`)",
                    io::ErrorKind::InvalidFilename => "choose a shorter name",
                    _ => "choose a directory that you can write to",
                };
                error.because_of(cause).hint(hint)
            }
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure::System(errno.into())
    }
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Failure {
        Failure::System(cause)
    }
}

#[cfg(test)]
mod tests;

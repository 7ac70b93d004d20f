//! Where a recorded report comes from: a file, a FIFO, or standard input.

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use super::{Report, file};
use crate::error::{Error, ErrorKind, Result};
use crate::text::Text;

/// What stands for standard input on the command line.
const STANDARD_INPUT: &str = "-";

/// Identifies a file by device and inode, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file at this path; `None` if there is none.
    pub fn at(path: &Path) -> Option<FileId> {
        std::fs::metadata(path).ok().as_ref().map(FileId::from)
    }

    /// The file that standard output is connected to.
    pub fn of_stdout() -> Option<FileId> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
        file.metadata().ok().as_ref().map(FileId::from)
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(metadata: &std::fs::Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// An open file with a report that was not read yet.
#[derive(Debug)]
pub struct Source {
    file: File,
    name: Text,
}

impl Source {
    /// Opens the report at `path`; `-` is standard input. Opening a FIFO waits for its writer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFile`] if it cannot be opened, [`ErrorKind::Usage`] if standard input is a terminal.
    pub fn open(path: &Path) -> Result<Source> {
        if path.as_os_str() != STANDARD_INPUT {
            return Ok(Source { file: file::open(path)?, name: Text::from(path) });
        }
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(Error::new(ErrorKind::Usage, "tried to read a report from standard input")
                .because("it is a terminal")
                .hint("zstdcat leak.json.zst | profiler report -"));
        }
        let owned = stdin.as_fd().try_clone_to_owned().map_err(|error| {
            Error::new(ErrorKind::InvalidFile, "tried to read a report from standard input").because_of(error)
        })?;
        Ok(Source { file: File::from(owned), name: Text::from("from standard input") })
    }

    /// The file that is read.
    pub fn id(&self) -> Option<FileId> {
        self.file.metadata().ok().as_ref().map(FileId::from)
    }

    /// Reads the report.
    ///
    /// # Errors
    /// As [`super::read`].
    pub fn read(self) -> Result<Report> {
        file::read(self.file, &self.name)
    }
}

//! A program file to make a table of.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

/// A program file, or an image of one, held in memory or mapped.
#[derive(Debug)]
pub struct ProgramFile {
    bytes: Bytes,
    /// Where the file is, for finding its separate debug file. `None`: that is found by build id only.
    path: Option<PathBuf>,
    identity: Option<Identity>,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

/// The identity of a version of a file without build id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl ProgramFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<ProgramFile> {
        Self::of(&File::open(path)?, Some(path))
    }

    /// Maps an open file. `path` is where the file is *for us*, if that is known.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn of(file: &File, path: Option<&Path>) -> io::Result<ProgramFile> {
        let identity = Some(Identity::of(&file.metadata()?));
        Ok(ProgramFile { bytes: Bytes::Mapped(map(file)?), path: path.map(Path::to_owned), identity })
    }

    /// An image that is not a file: the vdso of a process.
    pub fn of_bytes(bytes: Vec<u8>) -> ProgramFile {
        ProgramFile { bytes: Bytes::Owned(bytes), path: None, identity: None }
    }

    /// All of its bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        }
    }
}

/// Maps a whole file for reading.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is private and only read. If a file is truncated meanwhile, that ends us, not the target: a
    // running executable cannot be written, and libraries and debug files are replaced by renaming.
    unsafe { Mmap::map(file) }
}

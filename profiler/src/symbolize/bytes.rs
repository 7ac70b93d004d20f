//! Bytes of files that names are read from, kept as long as they are in use.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    ops::Deref,
    sync::Arc,
};

use gimli::{CloneStableDeref, EndianReader, LittleEndian, StableDeref};
use memmap2::Mmap;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::elf::{self, DebugSection, SectionError};

/// The form in which gimli reads debug information.
pub(super) type Reader = EndianReader<LittleEndian, Part>;

/// Largest file that is copied, in bytes. Compilers rewrite object files in place, and a truncated file would end us if
/// it were mapped.
const MAX_COPY: u64 = 64 << 20;
/// Largest section or copy that is held in memory, in bytes. Larger ones go to an unnamed file, whose pages the kernel
/// can reclaim.
const MAX_IN_MEMORY: u64 = 4 << 20;
/// Most that is unpacked and copied in one run, in bytes: the disk belongs to the server that we observe.
const MAX_HELD: u64 = 2 << 30;
/// Most of that in memory, in bytes. The rest goes to such files, however small.
const MAX_HELD_IN_MEMORY: u64 = 256 << 20;

/// All bytes of a file, or of an unpacked section.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file.
    pub(super) fn map(file: &File) -> io::Result<Arc<Bytes>> {
        // SAFETY: the mapping is private and only read. If a file is truncated meanwhile, that ends us, not the target:
        // programs, libraries and debug files are replaced by renaming.
        let mapped = unsafe { Mmap::map(file) }?;
        Ok(Arc::new(Bytes::Mapped(mapped)))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// A part of some bytes.
#[derive(Clone, Debug)]
pub(super) struct Part {
    of: Arc<Bytes>,
    start: usize,
    end: usize,
}

impl Part {
    /// The empty part.
    pub(super) fn none() -> Part {
        Part { of: Arc::new(Bytes::Owned(Vec::new())), start: 0, end: 0 }
    }

    fn whole(of: Arc<Bytes>) -> Part {
        let end = of.len();
        Part { of, start: 0, end }
    }

    /// The part of `of` that `slice` is, if it lies in `of`.
    fn within(of: &Arc<Bytes>, slice: &[u8]) -> Option<Part> {
        let start = (slice.as_ptr() as usize).checked_sub(of.as_ptr() as usize)?;
        let end = start.checked_add(slice.len()).filter(|end| *end <= of.len())?;
        Some(Part { of: Arc::clone(of), start, end })
    }

    /// The same for gimli.
    pub(super) fn reader(self) -> Reader {
        EndianReader::new(self, LittleEndian)
    }
}

impl Deref for Part {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // Both were checked when the part was made.
        self.of.get(self.start..self.end).unwrap_or_default()
    }
}

// SAFETY: the bytes are never changed. They are on the heap or in a mapping, and stay at their address as long as a
// part of them is held, wherever the part is moved.
unsafe impl StableDeref for Part {}
// SAFETY: a clone holds the same bytes.
unsafe impl CloneStableDeref for Part {}

/// Unpacks sections and copies files, within limits for all of them together.
#[derive(Debug, Default)]
pub(super) struct Unpacker {
    held: u64,
    in_memory: u64,
}

impl Unpacker {
    /// The bytes of a section that was found in `of`.
    pub(super) fn part(&mut self, of: &Arc<Bytes>, section: DebugSection<'_>) -> Result<Part, SectionError> {
        let Some((packing, size)) = section.packed else {
            return Part::within(of, section.bytes).ok_or(SectionError::Damaged);
        };
        if size > self.left() {
            return Err(SectionError::TooLarge(MAX_HELD));
        }
        if self.fits_in_memory(size) {
            let mut bytes = Vec::new();
            elf::unpack(section.bytes, packing, size, &mut bytes)?;
            self.count(size, true);
            return Ok(Part::whole(Arc::new(Bytes::Owned(bytes))));
        }
        let mut file = scratch_file().map_err(no_room)?;
        elf::unpack(section.bytes, packing, size, &mut file)?;
        self.count(size, false);
        Bytes::map(&file).map(Part::whole).map_err(no_room)
    }

    /// Copies a file that may be written while we read it; maps it if it is large.
    ///
    /// # Errors
    /// If it cannot be read, or if the limit is reached.
    pub(super) fn copy(&mut self, file: &File) -> io::Result<Arc<Bytes>> {
        let mut bytes = Vec::new();
        file.take(MAX_COPY + 1).read_to_end(&mut bytes)?;
        let size = bytes.len() as u64;
        if size > MAX_COPY {
            return Bytes::map(file);
        }
        if size > self.left() {
            let held = MAX_HELD >> 20;
            return Err(io::Error::other(format!("{held} MiB of debug information are held already")));
        }
        if self.fits_in_memory(size) {
            self.count(size, true);
            return Ok(Arc::new(Bytes::Owned(bytes)));
        }
        let mut copy = scratch_file()?;
        copy.write_all(&bytes)?;
        self.count(size, false);
        Bytes::map(&copy)
    }

    /// Unpacks an xz stream of at most `limit` bytes to a file.
    ///
    /// # Errors
    /// If it is damaged or larger, if there is no room, or if the limit is reached.
    pub(super) fn xz_file(&mut self, packed: &[u8], limit: u64) -> Result<File, SectionError> {
        let bytes = elf::unpack_xz(packed, limit.min(self.left()))?;
        let size = bytes.len() as u64;
        let in_memory = self.fits_in_memory(size);
        let file = if in_memory {
            memfd_create("debugdata", MemfdFlags::CLOEXEC).map(File::from).map_err(io::Error::from)
        } else {
            scratch_file()
        };
        let mut file = file.map_err(no_room)?;
        file.write_all(&bytes).map_err(no_room)?;
        self.count(size, in_memory);
        Ok(file)
    }

    /// How much more may be held, in bytes.
    fn left(&self) -> u64 {
        MAX_HELD.saturating_sub(self.held)
    }

    fn fits_in_memory(&self, size: u64) -> bool {
        size <= MAX_IN_MEMORY.min(MAX_HELD_IN_MEMORY.saturating_sub(self.in_memory))
    }

    fn count(&mut self, size: u64, in_memory: bool) {
        self.held += size;
        self.in_memory += if in_memory { size } else { 0 };
    }
}

fn no_room(error: io::Error) -> SectionError {
    SectionError::NoRoom(error.kind())
}

/// An unnamed file. It is in `/var/tmp`, because `/tmp` is in memory on many systems.
pub(super) fn scratch_file() -> io::Result<File> {
    tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Packing;

    #[test]
    fn a_bomb_is_not_unpacked() {
        let of = Arc::new(Bytes::Owned(vec![0; 8 << 20]));
        let section = |size| DebugSection { bytes: &of, packed: Some((Packing::Zlib, size)) };
        let mut unpacker = Unpacker::default();
        assert_eq!(unpacker.part(&of, section(3 << 30)).unwrap_err(), SectionError::TooLarge(2 << 30));
        assert_eq!(unpacker.part(&of, section(5 << 20)).unwrap_err(), SectionError::Damaged);
        assert_eq!(unpacker.held, 0);
        let plain = DebugSection { bytes: &of[5..9], packed: None };
        assert_eq!(unpacker.part(&of, plain).unwrap().len(), 4);
        let foreign = DebugSection { bytes: &[1, 2, 3], packed: None };
        assert_eq!(unpacker.part(&of, foreign).unwrap_err(), SectionError::Damaged);
    }

    #[test]
    fn copies_and_what_is_unpacked_share_one_limit() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"text").unwrap();
        let copy = |unpacker: &mut Unpacker| {
            io::Seek::rewind(&mut &file).unwrap();
            unpacker.copy(&file)
        };
        let mut fresh = Unpacker::default();
        assert!(matches!(*copy(&mut fresh).unwrap(), Bytes::Owned(_)));
        assert_eq!((fresh.held, fresh.in_memory), (4, 4));
        // When memory is used up, sections go to a file.
        let mut full = Unpacker { held: MAX_HELD_IN_MEMORY, in_memory: MAX_HELD_IN_MEMORY };
        let copied = copy(&mut full).unwrap();
        assert!(matches!(&*copied, Bytes::Mapped(map) if **map == *b"text"));
        assert_eq!(full.held, MAX_HELD_IN_MEMORY + 4);
        assert_eq!(full.in_memory, MAX_HELD_IN_MEMORY);
        // When the limit is reached, everything is refused.
        let mut over = Unpacker { held: MAX_HELD - 3, in_memory: 0 };
        assert_eq!(
            copy(&mut over).unwrap_err().to_string(),
            "2048 MiB of debug information are held already"
        );
        let of = Arc::new(Bytes::Owned(vec![0; 9]));
        let packed = DebugSection { bytes: &of, packed: Some((Packing::Zlib, 4)) };
        assert_eq!(over.part(&of, packed).unwrap_err(), SectionError::TooLarge(2 << 30));
        assert_eq!(over.held, MAX_HELD - 3);
    }
}

//! Bytes of files that names are read from, kept as long as somebody reads them.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    ops::Deref,
    sync::Arc,
};

use gimli::{CloneStableDeref, EndianReader, LittleEndian, StableDeref};
use memmap2::Mmap;

use crate::elf::{self, DebugSection, SectionError};

/// Reads debug information.
pub(super) type Reader = EndianReader<LittleEndian, Part>;

/// Largest file that is copied, in bytes. Compilers write object files anew in place, and a mapping of a file that
/// becomes shorter would end us.
const MAX_COPY: u64 = 64 << 20;
/// Largest section that is unpacked into memory, in bytes. What is larger goes to a file that nobody else sees, whose
/// pages the kernel can take back.
const MAX_IN_MEMORY: u64 = 4 << 20;
/// Everything that is unpacked in one run, in bytes: the disk belongs to the server that we look at.
const MAX_UNPACKED: u64 = 2 << 30;

/// All bytes of a file, or of a section that was unpacked.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file.
    pub(super) fn map(file: &File) -> io::Result<Arc<Bytes>> {
        // SAFETY: the mapping is private and only read. A file that is cut short meanwhile would end us, not the target:
        // programs, libraries and debug files are replaced by renaming.
        let mapped = unsafe { Mmap::map(file) }?;
        Ok(Arc::new(Bytes::Mapped(mapped)))
    }

    /// Copies a file that may be written while we look at it; maps it if it is large.
    pub(super) fn copy(file: &File) -> io::Result<Arc<Bytes>> {
        let mut bytes = Vec::new();
        file.take(MAX_COPY + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_COPY { Self::map(file) } else { Ok(Arc::new(Bytes::Owned(bytes))) }
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

/// A part of them.
#[derive(Clone, Debug)]
pub(super) struct Part {
    of: Arc<Bytes>,
    start: usize,
    end: usize,
}

impl Part {
    /// No bytes.
    pub(super) fn none() -> Part {
        Part { of: Arc::new(Bytes::Owned(Vec::new())), start: 0, end: 0 }
    }

    fn whole(of: Arc<Bytes>) -> Part {
        let end = of.len();
        Part { of, start: 0, end }
    }

    /// The part that `slice`, which was taken out of `of`, is.
    fn within(of: &Arc<Bytes>, slice: &[u8]) -> Option<Part> {
        let start = (slice.as_ptr() as usize).checked_sub(of.as_ptr() as usize)?;
        let end = start.checked_add(slice.len()).filter(|end| *end <= of.len())?;
        Some(Part { of: Arc::clone(of), start, end })
    }

    /// For reading from.
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

// SAFETY: the bytes are never changed, and lie on the heap or in a mapping: they stay where they are as long as one
// part of them is held, wherever the part is moved.
unsafe impl StableDeref for Part {}
// SAFETY: a clone holds the same bytes.
unsafe impl CloneStableDeref for Part {}

/// Unpacks sections, and keeps count of how much that was.
#[derive(Debug, Default)]
pub(super) struct Unpacker {
    unpacked: u64,
}

impl Unpacker {
    /// The bytes of a section that was found in `of`.
    pub(super) fn part(&mut self, of: &Arc<Bytes>, section: DebugSection<'_>) -> Result<Part, SectionError> {
        let Some((packing, size)) = section.packed else {
            return Part::within(of, section.bytes).ok_or(SectionError::Damaged);
        };
        if size > MAX_UNPACKED.saturating_sub(self.unpacked) {
            return Err(SectionError::TooLarge(MAX_UNPACKED));
        }
        if size <= MAX_IN_MEMORY {
            let mut bytes = Vec::new();
            elf::unpack(section.bytes, packing, size, &mut bytes)?;
            self.unpacked += size;
            return Ok(Part::whole(Arc::new(Bytes::Owned(bytes))));
        }
        let no_room = |error: io::Error| SectionError::NoRoom(error.kind());
        let mut file = scratch_file().map_err(no_room)?;
        elf::unpack(section.bytes, packing, size, &mut file)?;
        self.unpacked += size;
        file.rewind().map_err(no_room)?;
        Bytes::map(&file).map(Part::whole).map_err(no_room)
    }
}

/// A file without a name. `/tmp` is memory on many systems; `/var/tmp` is not.
fn scratch_file() -> io::Result<File> {
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
        assert_eq!(unpacker.unpacked, 0);
        let plain = DebugSection { bytes: &of[5..9], packed: None };
        assert_eq!(unpacker.part(&of, plain).unwrap().len(), 4);
        let foreign = DebugSection { bytes: &[1, 2, 3], packed: None };
        assert_eq!(unpacker.part(&of, foreign).unwrap_err(), SectionError::Damaged);
    }
}

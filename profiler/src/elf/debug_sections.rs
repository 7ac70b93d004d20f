//! Sections of debug information, which may be compressed or in a file of their own.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use flate2::read::ZlibDecoder;
use object::elf;
use object::read::elf::{CompressionHeader as _, SectionHeader as _};
use thiserror::Error;

use super::image::{ENDIAN, Image, name_at};

/// Deflate does not make more than this out of one byte (`zlib` technical details, "Maximum Compression Factor").
const MAX_RATIO: u64 = 1032;

/// Why a section cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SectionError {
    /// It is compressed by something other than zlib; its `ch_type`.
    #[error("it is compressed in a way (type {0}) that cannot be read; only zlib can")]
    Compression(u32),
    /// It is not in the file, or does not decompress to the size that it names.
    #[error("it is truncated or damaged")]
    Damaged,
}

/// What a program says of its separate debug file (section `.gnu_debuglink`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DebugLink<'a> {
    /// Name of the file, without a directory.
    pub(crate) name: &'a OsStr,
    /// CRC-32 of the whole file.
    pub(crate) crc: u32,
}

impl<'a> Image<'a> {
    /// Bytes of the first section of this name, decompressed. `None` if there is none.
    pub(crate) fn debug_section(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, SectionError> {
        let Some((_, section)) = self.sections().section_by_name(ENDIAN, name.as_bytes()) else {
            return Ok(None);
        };
        let damaged = |_| SectionError::Damaged;
        let Some((header, offset, size)) = section.compression(ENDIAN, self.data()).map_err(damaged)? else {
            return Ok(Some(Cow::Borrowed(section.data(ENDIAN, self.data()).map_err(damaged)?)));
        };
        if header.ch_type(ENDIAN) != elf::ELFCOMPRESS_ZLIB {
            return Err(SectionError::Compression(header.ch_type(ENDIAN).0));
        }
        let start = usize::try_from(offset).ok();
        let end = offset.checked_add(size).and_then(|end| usize::try_from(end).ok());
        let packed = start.zip(end).and_then(|(start, end)| self.data().get(start..end));
        inflate(packed.ok_or(SectionError::Damaged)?, header.ch_size(ENDIAN))
            .map(|bytes| Some(Cow::Owned(bytes)))
    }

    /// Name of the separate debug file. `None` if the program names none, or names something with a directory in it.
    pub(crate) fn debug_link(&self) -> Option<DebugLink<'a>> {
        let (_, content) = self.section(".gnu_debuglink")?;
        let name = name_at(content, 0)?;
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            return None;
        }
        // The name, its NUL, padding up to a multiple of 4, then the sum.
        let at = (name.len() + 1).next_multiple_of(4);
        let crc = content.get(at..at + 4)?.first_chunk::<4>()?;
        Some(DebugLink { name: OsStr::from_bytes(name), crc: u32::from_le_bytes(*crc) })
    }
}

/// Decompresses `packed` to exactly `size` bytes.
fn inflate(packed: &[u8], size: u64) -> Result<Vec<u8>, SectionError> {
    if size > (packed.len() as u64).saturating_mul(MAX_RATIO) {
        return Err(SectionError::Damaged);
    }
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed).take(size).read_to_end(&mut bytes).map_err(|_| SectionError::Damaged)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(SectionError::Damaged) }
}

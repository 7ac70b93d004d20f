//! Sections of debug information, which may be compressed or in a file of their own.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use object::elf;
use object::read::elf::{CompressionHeader as _, SectionHeader as _};

use super::image::{ENDIAN, Image, hex, name_at};
use super::unpack::{Packing, SectionError, unpack};

/// Largest section that is unpacked into memory at once, in bytes.
const MAX_IN_MEMORY: u64 = 256 << 20;

/// A section in the form in which the file has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DebugSection<'a> {
    /// Its bytes, without the header that says how they are packed.
    pub(crate) bytes: &'a [u8],
    /// How they are packed, and the size that the header gives for the unpacked section; `None` if they are not packed.
    pub(crate) packed: Option<(Packing, u64)>,
}

/// The reference from a program to its separate debug file (section `.gnu_debuglink`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DebugLink<'a> {
    /// Name of the file, without a directory.
    pub(crate) name: &'a OsStr,
    /// CRC-32 of the whole file.
    pub(crate) crc: u32,
}

/// The reference from debug information to a file with parts that several files share (section `.gnu_debugaltlink`,
/// made by dwz).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedLink<'a> {
    /// Path of the file, absolute or relative to the directory of the file that refers to it.
    pub(crate) path: &'a OsStr,
    /// Its build id in hex.
    pub(crate) build_id: String,
}

impl<'a> Image<'a> {
    /// The first section of this name, which begins with `.debug_`, packed or not; also as `.zdebug_`, the older form
    /// of packed sections. `None` if there is none, or if it has no bytes in this file.
    pub(crate) fn find_debug_section(&self, name: &str) -> Result<Option<DebugSection<'a>>, SectionError> {
        let Some((_, section)) = self.sections().section_by_name(ENDIAN, name.as_bytes()) else {
            return self.find_zdebug_section(name);
        };
        let section: &elf::SectionHeader64<_> = section;
        if section.sh_type(ENDIAN) == elf::SHT_NOBITS {
            return Ok(None);
        }
        let damaged = |_| SectionError::Damaged;
        let Some((header, offset, size)) = section.compression(ENDIAN, self.data()).map_err(damaged)? else {
            let bytes = section.data(ENDIAN, self.data()).map_err(damaged)?;
            return Ok(Some(DebugSection { bytes, packed: None }));
        };
        let packing = match header.ch_type(ENDIAN) {
            elf::ELFCOMPRESS_ZLIB => Packing::Zlib,
            elf::ELFCOMPRESS_ZSTD => Packing::Zstd,
            other => return Err(SectionError::Compression(other.0)),
        };
        let start = usize::try_from(offset).ok();
        let end = offset.checked_add(size).and_then(|end| usize::try_from(end).ok());
        let bytes = start.zip(end).and_then(|(start, end)| self.data().get(start..end));
        let bytes = bytes.ok_or(SectionError::Damaged)?;
        Ok(Some(DebugSection { bytes, packed: Some((packing, header.ch_size(ENDIAN))) }))
    }

    /// `ZLIB`, the size in big endian, then the stream (`--compress-debug-sections=zlib-gnu`).
    fn find_zdebug_section(&self, name: &str) -> Result<Option<DebugSection<'a>>, SectionError> {
        let older = name.strip_prefix('.').map(|rest| format!(".z{rest}"));
        let Some((_, bytes)) = older.and_then(|older| self.section(&older)) else { return Ok(None) };
        let head = bytes.strip_prefix(b"ZLIB").and_then(|rest| rest.split_first_chunk::<8>());
        let (size, bytes) = head.ok_or(SectionError::Damaged)?;
        Ok(Some(DebugSection { bytes, packed: Some((Packing::Zlib, u64::from_be_bytes(*size))) }))
    }

    /// Bytes of the first section of this name, decompressed. `None` if there is none.
    pub(crate) fn debug_section(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, SectionError> {
        let Some(section) = self.find_debug_section(name)? else { return Ok(None) };
        let Some((packing, size)) = section.packed else { return Ok(Some(Cow::Borrowed(section.bytes))) };
        if size > MAX_IN_MEMORY {
            return Err(SectionError::TooLarge(MAX_IN_MEMORY));
        }
        let mut bytes = Vec::new();
        unpack(section.bytes, packing, size, &mut bytes)?;
        Ok(Some(Cow::Owned(bytes)))
    }

    /// The reference to the separate debug file. `None` if there is none, or if its name contains a directory.
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

    /// The reference to the file with shared debug information; `None` if there is none.
    pub(crate) fn shared_link(&self) -> Option<SharedLink<'a>> {
        let (_, content) = self.section(".gnu_debugaltlink")?;
        let path = name_at(content, 0)?;
        let build_id = content.get(path.len() + 1..)?;
        let sensible = !path.is_empty() && (2..=64).contains(&build_id.len());
        sensible.then(|| SharedLink { path: OsStr::from_bytes(path), build_id: hex(build_id) })
    }
}

//! One program file: its segments, sections and notes.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable};
use thiserror::Error;

pub(super) const ENDIAN: LittleEndian = LittleEndian;
pub(super) type Header = elf::FileHeader64<LittleEndian>;

/// Longest name that is read from a string table. It bounds the work on files whose string tables are not terminated.
const MAX_NAME: usize = 4096;

/// Why a file cannot be used as a program for x86_64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not begin with the ELF magic.
    #[error("not an ELF file")]
    NotElf,
    /// A 32-bit program; this includes the x32 ABI.
    #[error("a 32-bit program; only 64-bit x86_64 programs can be observed")]
    ThirtyTwoBit,
    /// A program for another processor, with its `e_machine` number.
    #[error("a program for another processor (ELF machine {0}); only x86_64 can be observed")]
    OtherMachine(u16),
    /// An object file or a core dump: ELF, but nothing that the kernel maps to run.
    #[error("an ELF file that is neither an executable nor a shared library (type {0})")]
    NotLoadable(u16),
    /// The file ends before something that its header announces.
    #[error("truncated or damaged: {0}")]
    Damaged(&'static str),
}

/// A part of the file that the kernel maps (`PT_LOAD`), as far as the file has bytes for it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    file_offset: u64,
    size: u64,
    executable: bool,
}

/// A part of a file that the kernel maps, to compare with the mappings of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Its addresses in the file, as far as the file has bytes for them.
    pub(crate) addresses: Range<u64>,
    /// The file offset of their first byte.
    pub(crate) file_offset: u64,
    /// Whether it is code.
    pub(crate) executable: bool,
}

/// A program file for x86_64, parsed.
///
/// Creating it reads only the headers; everything else is read when asked for.
pub struct Image<'a> {
    data: &'a [u8],
    program_headers: &'a [elf::ProgramHeader64<LittleEndian>],
    segments: Vec<Segment>,
    sections: SectionTable<'a, Header>,
    pub(super) function_starts: OnceCell<Vec<u64>>,
    pub(super) import_slots: OnceCell<HashMap<u64, &'a str>>,
}

impl<'a> Image<'a> {
    /// Reads the headers of a program file.
    ///
    /// # Errors
    ///
    /// When the bytes are not an executable or shared library for x86_64, or when they end before an executable
    /// segment does. Damaged section headers are not an error: they are not needed to run, and a program without
    /// them has no symbols.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        check_ident(data)?;
        let mut image = Self::without_segments(data, &[elf::ET_EXEC, elf::ET_DYN])?;
        image.segments = load_segments(image.program_headers, data.len() as u64)?;
        Ok(image)
    }

    /// Reads the headers of a separate debug file. Such a file has the sections that were taken out of a program, and
    /// program headers for bytes that it does not have: so this image has no code. Object files are accepted, too: they
    /// hold split debug information, and debug information that several programs share.
    ///
    /// # Errors
    ///
    /// As for [`Image::parse`], except that no segment can be missing.
    pub(crate) fn parse_debug_file(data: &'a [u8]) -> Result<Self, Error> {
        check_ident(data)?;
        Self::without_segments(data, &[elf::ET_REL, elf::ET_EXEC, elf::ET_DYN])
    }

    fn without_segments(data: &'a [u8], kinds: &[elf::FileType]) -> Result<Self, Error> {
        let header = Header::parse(data).map_err(|_| Error::Damaged("the ELF header"))?;
        let machine = header.e_machine(ENDIAN);
        if machine != elf::EM_X86_64 {
            return Err(Error::OtherMachine(machine.0));
        }
        let kind = header.e_type(ENDIAN);
        if !kinds.contains(&kind) {
            return Err(Error::NotLoadable(kind.0));
        }
        let program_headers =
            header.program_headers(ENDIAN, data).map_err(|_| Error::Damaged("the program headers"))?;
        let sections = header.sections(ENDIAN, data).unwrap_or_default();
        Ok(Self {
            data,
            program_headers,
            segments: Vec::new(),
            sections,
            function_starts: OnceCell::new(),
            import_slots: OnceCell::new(),
        })
    }

    /// File offset of an address in an executable segment; `None` for any other address.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|s| s.executable && s.contains(address))?;
        segment.file_offset.checked_add(address - segment.address)
    }

    /// Address of a byte of the file that is mapped executable; `None` for any other byte.
    ///
    /// An address in a process becomes a file offset by `/proc/PID/maps`, and an address of the file by this.
    pub fn address(&self, file_offset: u64) -> Option<u64> {
        let inside = |s: &&Segment| file_offset.checked_sub(s.file_offset).is_some_and(|by| by < s.size);
        let segment = self.segments.iter().filter(|s| s.executable).find(inside)?;
        segment.address.checked_add(file_offset - segment.file_offset)
    }

    /// The executable segments: offsets in the file, and the address of the first byte.
    pub fn code_segments(&self) -> impl Iterator<Item = (Range<u64>, u64)> {
        let code = self.segments.iter().filter(|s| s.executable);
        code.map(|s| (s.file_offset..s.file_offset.saturating_add(s.size), s.address))
    }

    /// Bytes of an executable segment from `address` on: `size` of them, or fewer where the segment ends earlier.
    /// Empty when the address is not executable.
    pub fn code(&self, address: u64, size: u64) -> &'a [u8] {
        let Some(segment) = self.segments.iter().find(|s| s.executable && s.contains(address)) else {
            return &[];
        };
        let skip = address - segment.address;
        let Some(start) = segment.file_offset.checked_add(skip) else { return &[] };
        let end = start.saturating_add(size.min(segment.size - skip));
        match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) => self.data.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// End of the executable segment that holds `address`.
    pub(super) fn code_end(&self, address: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|s| s.executable && s.contains(address))?;
        segment.address.checked_add(segment.size)
    }

    /// Build id in lower-case hex; `None` when the file was linked without one.
    pub fn build_id(&self) -> Option<String> {
        let mut found = None;
        self.each_note(|name, kind, content| {
            if name == b"GNU" && kind == elf::NT_GNU_BUILD_ID.0 && !content.is_empty() && found.is_none() {
                found = Some(hex(content));
            }
        });
        found
    }

    /// Whether the Go toolchain linked this file, so that it contains the Go runtime.
    pub fn is_go(&self) -> bool {
        const GO_SECTIONS: [&str; 3] = [".go.buildinfo", ".note.go.buildid", ".gopclntab"];
        /// `elfGoBuildIDTag` in the Go linker, cmd/internal/buildid.
        const GO_BUILD_ID: u32 = 4;
        let mut noted = false;
        self.each_note(|name, kind, _| noted |= name == b"Go" && kind == GO_BUILD_ID);
        noted || GO_SECTIONS.iter().any(|name| self.section(name).is_some())
    }

    /// Whether the file itself carries DWARF (a separate debug file is another file).
    pub fn has_dwarf(&self) -> bool {
        self.section(".debug_info").is_some() || self.section(".zdebug_info").is_some()
    }

    /// Whether the full symbol table was removed, so that only exported functions have names.
    pub fn is_stripped(&self) -> bool {
        !self.sections.iter().any(|s| s.sh_type(ENDIAN) == elf::SHT_SYMTAB)
    }

    /// Path of the program interpreter; `None` for static programs and most libraries.
    pub fn interpreter(&self) -> Option<&'a Path> {
        let of = |h: &elf::ProgramHeader64<LittleEndian>| h.interpreter(ENDIAN, self.data).ok().flatten();
        self.program_headers.iter().find_map(of).map(|path| Path::new(OsStr::from_bytes(path)))
    }

    /// Addresses of the executable segments, as far as the file has bytes for them, in the order of the file.
    pub(crate) fn executable_ranges(&self) -> impl Iterator<Item = Range<u64>> {
        let executable = self.segments.iter().filter(|s| s.executable);
        executable.map(|s| s.address..s.address.saturating_add(s.size))
    }

    /// The parts of the file that the kernel maps, in the order of the file.
    pub(crate) fn loaded(&self) -> Vec<Loaded> {
        let loaded = |s: &Segment| Loaded {
            addresses: s.address..s.address.saturating_add(s.size),
            file_offset: s.file_offset,
            executable: s.executable,
        };
        self.segments.iter().map(loaded).collect()
    }

    /// Bytes that are mapped from `address` to the end of its segment. Empty when the address is not in the file.
    pub(crate) fn mapped(&self, address: u64) -> &'a [u8] {
        let Some(segment) = self.segments.iter().find(|s| s.contains(address)) else { return &[] };
        let skip = address - segment.address;
        let start = segment.file_offset.saturating_add(skip);
        let end = start.saturating_add(segment.size - skip).min(self.data.len() as u64);
        match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) => self.data.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Address and bytes of the header of the unwind information (`PT_GNU_EH_FRAME`), which needs no section headers.
    pub(crate) fn eh_frame_header(&self) -> Option<(u64, &'a [u8])> {
        let header = self.program_headers.iter().find(|h| h.p_type(ENDIAN) == elf::PT_GNU_EH_FRAME)?;
        Some((header.p_vaddr(ENDIAN), header.data(ENDIAN, self.data).ok()?))
    }

    /// Address and bytes of the first section of this name. A compressed section is returned as it is.
    pub(crate) fn section(&self, name: &str) -> Option<(u64, &'a [u8])> {
        let (_, section) = self.sections.section_by_name(ENDIAN, name.as_bytes())?;
        Some((section.sh_addr(ENDIAN), section.data(ENDIAN, self.data).ok()?))
    }

    /// Whether the code at an address is a stub that the linker made for calls into other files.
    pub(crate) fn is_stub(&self, address: u64) -> bool {
        [".plt", ".plt.sec", ".plt.got"]
            .iter()
            .filter_map(|name| self.section(name))
            .any(|(start, stubs)| address.checked_sub(start).is_some_and(|ahead| ahead < stubs.len() as u64))
    }

    pub(super) fn section_data(&self, index: usize) -> Option<&'a [u8]> {
        self.sections.section(object::SectionIndex(index)).ok()?.data(ENDIAN, self.data).ok()
    }

    pub(super) fn data(&self) -> &'a [u8] {
        self.data
    }

    pub(super) fn sections(&self) -> &SectionTable<'a, Header> {
        &self.sections
    }

    /// Calls `see` with every note: its name without the closing NUL, its type and its content.
    fn each_note(&self, mut see: impl FnMut(&[u8], u32, &[u8])) {
        let from_segments =
            self.program_headers.iter().filter_map(|h| h.notes(ENDIAN, self.data).ok().flatten());
        let from_sections = self.sections.iter().filter_map(|s| s.notes(ENDIAN, self.data).ok().flatten());
        for mut notes in from_segments.chain(from_sections) {
            while let Ok(Some(note)) = notes.next() {
                see(note.name(), note.n_type(ENDIAN).0, note.desc());
            }
        }
    }
}

impl Segment {
    fn contains(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|into| into < self.size)
    }
}

fn check_ident(data: &[u8]) -> Result<(), Error> {
    if !data.starts_with(&elf::ELFMAG) {
        return Err(Error::NotElf);
    }
    match data.get(4).copied() {
        Some(class) if class == elf::ELFCLASS64.0 => {}
        Some(class) if class == elf::ELFCLASS32.0 => return Err(Error::ThirtyTwoBit),
        _ => return Err(Error::Damaged("the ELF header")),
    }
    if data.get(5).copied() == Some(elf::ELFDATA2MSB.0) {
        // The machine number is at the same place in both byte orders.
        let machine = data.get(18..20).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
        return Err(Error::OtherMachine(machine));
    }
    Ok(())
}

fn load_segments(
    headers: &[elf::ProgramHeader64<LittleEndian>],
    file_size: u64,
) -> Result<Vec<Segment>, Error> {
    let mut segments = Vec::new();
    for header in headers.iter().filter(|h| h.p_type(ENDIAN) == elf::PT_LOAD) {
        let (file_offset, size) = header.file_range(ENDIAN);
        let executable = header.p_flags(ENDIAN).contains(elf::PF_X);
        if executable && file_offset.checked_add(size).is_none_or(|end| end > file_size) {
            return Err(Error::Damaged("the file ends before its executable segment does"));
        }
        segments.push(Segment { address: header.p_vaddr(ENDIAN), file_offset, size, executable });
    }
    Ok(segments)
}

/// The NUL-terminated name at an offset of a string table; `None` when it has no end within [`MAX_NAME`] bytes.
pub(super) fn name_at(strings: &[u8], offset: u64) -> Option<&[u8]> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let rest = rest.get(..MAX_NAME).unwrap_or(rest);
    let end = rest.iter().position(|&byte| byte == 0)?;
    rest.get(..end)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_are_told_from_code() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps
            .lines()
            .find_map(|line| Some(&line[line.find('/')?..]).filter(|path| path.contains("/libc.so")));
        let bytes = std::fs::read(libc.unwrap()).unwrap();
        let image = Image::parse(&bytes).unwrap();
        let [(plt, stubs), (text, _)] = [".plt", ".text"].map(|name| image.section(name).unwrap());
        let end = plt + stubs.len() as u64;
        assert!(image.is_stub(plt) && image.is_stub(end - 1));
        assert!(!image.is_stub(plt - 1) && !image.is_stub(text) && !image.is_stub(u64::MAX));
    }
}

//! Finding the unwind information of a file.

use std::borrow::Cow;
use std::ops::Range;

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian, Pointer};

use super::debug_file;
use super::entries::{Entries, SectionKind, at_offsets, list};
use super::known::{Known, known};
use super::{Error, SectionError, evaluate};
use crate::elf::Image;
use crate::unwind::file::ProgramFile;
use std::path::PathBuf;

/// `.eh_frame` has about a tenth of the size of the text. If it has at least this share and this many bytes, it
/// describes the program, and not only the start files of the C library.
const USUAL_SHARE: u64 = 32;
const USUAL_BYTES: u64 = 4096;

/// The inputs of a table. Nothing in it refers to the [`Image`], so that threads can share it.
pub(super) struct Material<'a> {
    pub(super) text: Text,
    /// By precedence.
    pub(super) sources: Vec<Source<'a>>,
    /// Code without entry whose rule is known.
    pub(super) known: Vec<Known>,
}

/// An unwind section.
pub(super) struct Source<'a> {
    pub(super) kind: SectionKind,
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) bases: BaseAddresses,
    pub(super) entries: Entries,
}

/// The executable segments of a file: sorted, without overlaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(Vec<Range<u64>>);

impl Text {
    fn of(image: &Image<'_>, file_bytes: u64) -> Result<Text, Error> {
        let text = Text::of_ranges(image.executable_ranges().collect());
        let text_bytes = text.bytes();
        // Twice, because segments may share a page of the file.
        if text_bytes > file_bytes.saturating_mul(2) {
            return Err(Error::AbsurdText { text_bytes, file_bytes });
        }
        Ok(text)
    }

    pub(super) fn of_ranges(mut ranges: Vec<Range<u64>>) -> Text {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, before| {
            let overlaps = next.start <= before.end;
            if overlaps {
                before.end = before.end.max(next.end);
            }
            overlaps
        });
        Text(ranges)
    }

    pub(super) fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// The segment around an address.
    pub(super) fn around(&self, address: u64) -> Option<&Range<u64>> {
        let after = self.0.partition_point(|range| range.start <= address);
        self.0.get(after.checked_sub(1)?).filter(|range| address < range.end)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().fold(0, |sum, range| sum.saturating_add(range.end - range.start))
    }
}

/// Finds everything that a table of this file can be made of.
pub(super) fn material<'a>(file: &'a ProgramFile, debug_roots: &[PathBuf]) -> Result<Material<'a>, Error> {
    let bytes = file.bytes();
    let image = Image::parse(bytes)?;
    let text = Text::of(&image, bytes.len() as u64)?;
    let mut sources = Vec::new();
    sources.extend(eh_frame(&image));
    let mut problem = Error::NoUnwindInformation;
    match image.debug_section(".debug_frame") {
        Ok(Some(bytes)) if !bytes.is_empty() => sources.push(debug_frame(bytes)),
        Ok(_) if !sources.iter().any(|source| describes(source, &text)) => {
            match debug_file::frames(&image, file.path(), debug_roots) {
                Ok(found) => sources.extend(found.map(|bytes| debug_frame(Cow::Owned(bytes)))),
                Err(error) => problem = unreadable(error),
            }
        }
        Ok(_) => {}
        Err(error) => problem = unreadable(error),
    }
    sources.retain(|source| !source.entries.list.is_empty());
    let known = known(&image);
    if sources.is_empty() && known.is_empty() { Err(problem) } else { Ok(Material { text, sources, known }) }
}

/// Whether a section describes at least half of the code, so that no other one has to be searched.
fn describes(source: &Source<'_>, text: &Text) -> bool {
    let size = source.bytes.len() as u64;
    if size >= USUAL_BYTES && size.saturating_mul(USUAL_SHARE) >= text.bytes() {
        return true;
    }
    let ranges = evaluate::ranges(source, text);
    let described = ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.end - range.start));
    described.saturating_mul(2) >= text.bytes()
}

/// Logs why a section is left out. The error matters only if there is no other section.
fn unreadable(error: SectionError) -> Error {
    tracing::debug!("unwind information is left out: {error}");
    Error::DebugFrame(error)
}

fn debug_frame(bytes: Cow<'_, [u8]>) -> Source<'_> {
    let entries = list(&bytes, SectionKind::DebugFrame, true);
    Source { kind: SectionKind::DebugFrame, bytes, bases: BaseAddresses::default(), entries }
}

fn eh_frame<'a>(image: &Image<'a>) -> Option<Source<'a>> {
    let mut bases = BaseAddresses::default();
    if let Some((address, _)) = image.section(".text") {
        bases = bases.set_text(address);
    }
    if let Some((address, _)) = image.section(".got") {
        bases = bases.set_got(address);
    }
    match image.section(".eh_frame") {
        Some((address, bytes)) if !bytes.is_empty() => {
            let entries = list(bytes, SectionKind::EhFrame, true);
            let bases = bases.set_eh_frame(address);
            Some(Source { kind: SectionKind::EhFrame, bytes: bytes.into(), bases, entries })
        }
        _ => eh_frame_by_header(image, bases),
    }
}

/// For files without section headers: a program header refers to a sorted index of the entries.
fn eh_frame_by_header<'a>(image: &Image<'a>, bases: BaseAddresses) -> Option<Source<'a>> {
    let (address, header) = image.eh_frame_header()?;
    let bases = bases.set_eh_frame_hdr(address);
    let index = EhFrameHdr::new(header, LittleEndian).parse(&bases, 8).ok()?;
    let Pointer::Direct(start) = index.eh_frame_ptr() else { return None };
    let bytes = image.mapped(start);
    let bases = bases.set_eh_frame(start);
    let mut offsets = Vec::new();
    let mut cut_short = false;
    if let Some(table) = index.table() {
        let mut rows = table.iter(&bases);
        loop {
            match rows.next() {
                Ok(Some((_, Pointer::Direct(entry)))) => {
                    offsets.extend(entry.checked_sub(start).and_then(|offset| usize::try_from(offset).ok()));
                }
                Ok(Some((_, Pointer::Indirect(_)))) => cut_short = true,
                Ok(None) => break,
                Err(_) => {
                    cut_short = true;
                    break;
                }
            }
        }
    }
    let mut entries = match offsets.is_empty() {
        // The size of the section is unknown; its empty last entry ends it.
        true => list(bytes, SectionKind::EhFrame, false),
        false => at_offsets(bytes, SectionKind::EhFrame, offsets),
    };
    entries.cut_short |= cut_short;
    Some(Source { kind: SectionKind::EhFrame, bytes: bytes.into(), bases, entries })
}

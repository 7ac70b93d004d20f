//! Finding the entries of an unwind section: only their headers are read, nothing is decoded.
//!
//! With the entries known, a section can be shared between threads, and entries that cannot be decoded can be skipped.

/// The two kinds of unwind sections, whose entries have different headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// `.eh_frame`.
    EhFrame,
    /// `.debug_frame`.
    DebugFrame,
}

/// An entry that describes a function (FDE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its offset in the section.
    pub(super) offset: u32,
    /// Its size in bytes.
    pub(super) size: u32,
}

/// The entries of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// In the order of the section.
    pub(super) list: Vec<Entry>,
    /// The section ends in the middle of an entry, or in bytes that are not an entry.
    pub(super) cut_short: bool,
}

/// Lists all entries. `to_the_end`: the section is known to end where the bytes do. Then an empty entry does not end
/// it: such entries are left in between when files of different tools are linked together.
pub(super) fn list(section: &[u8], kind: SectionKind, to_the_end: bool) -> Entries {
    let mut entries = Entries::default();
    let mut offset = 0;
    while offset < section.len() {
        let Some(head) = head(section, kind, offset) else {
            // Sections are padded to their alignment.
            entries.cut_short = section.get(offset..).is_some_and(|rest| rest.iter().any(|&byte| byte != 0));
            break;
        };
        if head.is_end && !to_the_end {
            break;
        }
        entries.list.extend(head.entry);
        offset = head.next;
    }
    entries
}

/// Lists the entries at these offsets, each once.
pub(super) fn at_offsets(section: &[u8], kind: SectionKind, mut offsets: Vec<usize>) -> Entries {
    offsets.sort_unstable();
    offsets.dedup();
    let found: Vec<Entry> = offsets.iter().filter_map(|&offset| head(section, kind, offset)?.entry).collect();
    Entries { cut_short: found.len() < offsets.len(), list: found }
}

struct Head {
    /// `None` for a common part (CIE), and for an empty entry.
    entry: Option<Entry>,
    is_end: bool,
    next: usize,
}

/// The header of the entry at `offset`; `None` if it does not fit into the section.
fn head(section: &[u8], kind: SectionKind, offset: usize) -> Option<Head> {
    let short = word(section, offset)?;
    if short == 0 {
        return Some(Head { entry: None, is_end: true, next: offset.checked_add(4)? });
    }
    // 0xffffffff stands for a length of 8 bytes: DWARF 5, section 7.4.
    let wide = short == u32::MAX;
    let (id_at, length) = match wide {
        true => (offset.checked_add(12)?, long(section, offset.checked_add(4)?)?),
        false => (offset.checked_add(4)?, u64::from(short)),
    };
    let next = id_at.checked_add(usize::try_from(length).ok()?)?;
    let body = section.get(id_at..next)?;
    let is_shared = match (kind, wide) {
        // In .eh_frame the pointer has 4 bytes, whatever the size of the length. gimli and the C++ runtimes read it so.
        (SectionKind::EhFrame, _) => word(body, 0)? == 0,
        (SectionKind::DebugFrame, false) => word(body, 0)? == u32::MAX,
        (SectionKind::DebugFrame, true) => long(body, 0)? == u64::MAX,
    };
    let entry = Entry { offset: u32::try_from(offset).ok()?, size: u32::try_from(next - offset).ok()? };
    Some(Head { entry: (!is_shared).then_some(entry), is_end: false, next })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

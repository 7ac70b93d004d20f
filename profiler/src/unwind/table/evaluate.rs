//! Decoding entries into the rules of functions.

use std::collections::HashMap;
use std::ops::Range;

use gimli::{
    BaseAddresses, CommonInformationEntry, DebugFrame, EhFrame, FrameDescriptionEntry, LittleEndian,
    Register, RegisterRule, UnwindContext, UnwindContextStorage, UnwindOffset, UnwindSection, UnwindTableRow,
};
use profiler_common::unwind::Row;

use super::convert::{Rule, convert};
use super::entries::{Entry, SectionKind};
use super::expression::Bytes;
use super::read::{Source, Text};
use crate::unwind::dictionary::Dictionary;

/// Most that decoding may cost, in multiples of the size of the entries; see the bounds of the [module](super).
const BUDGET_PER_BYTE: u64 = 16;
/// What it may cost in addition, so that a single entry with a long common part is decoded.
const BUDGET_SPARE: u64 = 64 * 1024;

/// Decoded entries of one part of a section.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) functions: Vec<Function>,
    /// Distance from the start of the function, and the rule from there on.
    pub(super) rows: Vec<(u32, Row)>,
    /// The rules that these rows refer to.
    pub(super) rules: Dictionary,
    /// Entries that could not be decoded, or only in part.
    pub(super) damaged: u64,
}

/// The rules of one function, by distance from its start: at least one, the first at distance 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) first_row: u32,
    pub(super) row_count: u32,
}

/// Room for more nested `DW_CFA_remember_state` than gimli has by default.
#[derive(Debug)]
struct DeepStack;

impl UnwindContextStorage<usize> for DeepStack {
    type Rules = [(Register, RegisterRule<usize>); 192];
    type Stack = Box<[UnwindTableRow<usize, Self>; 16]>;
}

/// Decodes some of the entries of a source.
pub(super) fn evaluate(source: &Source<'_>, entries: &[Entry], text: &Text) -> Piece {
    match source.kind {
        SectionKind::EhFrame => {
            let section = eh_frame(source);
            let mut decoder = Decoder::new(&section, &source.bases, entries);
            entries.iter().for_each(|entry| decoder.entry(*entry, text, false));
            decoder.piece
        }
        SectionKind::DebugFrame => {
            let section = debug_frame(source);
            let mut decoder = Decoder::new(&section, &source.bases, entries);
            entries.iter().for_each(|entry| decoder.entry(*entry, text, true));
            decoder.piece
        }
    }
}

/// The code that the entries of an `.eh_frame` claim to describe, in the order of the section. Empty for other
/// sections.
pub(super) fn ranges(source: &Source<'_>, text: &Text) -> Vec<Range<u64>> {
    if source.kind != SectionKind::EhFrame {
        return Vec::new();
    }
    let section = eh_frame(source);
    let mut decoder = Decoder::new(&section, &source.bases, &[]);
    let found = source.entries.list.iter().filter_map(|entry| code(&decoder.parse(*entry)?, text));
    found.collect()
}

fn eh_frame<'s>(source: &'s Source<'_>) -> EhFrame<Bytes<'s>> {
    let mut section = EhFrame::new(&source.bytes, LittleEndian);
    section.set_address_size(8);
    section
}

fn debug_frame<'s>(source: &'s Source<'_>) -> DebugFrame<Bytes<'s>> {
    let mut section = DebugFrame::new(&source.bytes, LittleEndian);
    section.set_address_size(8);
    section
}

/// The mapped code that an entry is for; `None` if there is none.
fn code(fde: &FrameDescriptionEntry<Bytes<'_>>, text: &Text) -> Option<Range<u64>> {
    let start = fde.initial_address();
    // Rows have 32 bits for the distance.
    let end = fde.end_address().min(text.around(start)?.end).min(start.saturating_add(u32::MAX.into()));
    (start < end).then_some(start..end)
}

struct Decoder<'s, 'a, S: UnwindSection<Bytes<'a>>> {
    section: &'s S,
    bases: &'s BaseAddresses,
    /// Common parts (CIE) by offset.
    shared: HashMap<usize, gimli::Result<CommonInformationEntry<Bytes<'a>>>>,
    context: UnwindContext<usize, DeepStack>,
    budget: u64,
    piece: Piece,
}

impl<'s, 'a, S: UnwindSection<Bytes<'a>>> Decoder<'s, 'a, S> {
    /// For these entries, whose size determines what decoding may cost.
    fn new(section: &'s S, bases: &'s BaseAddresses, entries: &[Entry]) -> Self {
        let sizes: u64 = entries.iter().map(|entry| u64::from(entry.size)).sum();
        Decoder {
            section,
            bases,
            shared: HashMap::new(),
            context: UnwindContext::new_in(),
            budget: sizes.saturating_mul(BUDGET_PER_BYTE).saturating_add(BUDGET_SPARE),
            piece: Piece::default(),
        }
    }

    fn entry(&mut self, entry: Entry, text: &Text, zero_is_removed: bool) {
        let Some(fde) = self.parse(entry) else {
            self.piece.damaged += 1;
            return;
        };
        // When a linker drops a function, its entry in .debug_frame stays, with address 0.
        if zero_is_removed && fde.initial_address() == 0 {
            return;
        }
        if let Some(code) = code(&fde, text) {
            self.function(&fde, entry, code.end);
        }
    }

    fn parse(&mut self, entry: Entry) -> Option<FrameDescriptionEntry<Bytes<'a>>> {
        let offset = S::Offset::from(entry.offset as usize);
        let partial = self.section.partial_fde_from_offset(self.bases, offset).ok()?;
        let shared = &mut self.shared;
        let parsed = partial.parse(|section, bases, offset| {
            let at = UnwindOffset::into(offset);
            shared.entry(at).or_insert_with(|| section.cie_from_offset(bases, offset)).clone()
        });
        parsed.ok()
    }

    /// Adds a function, with all of its rules up to `end`.
    fn function(&mut self, fde: &FrameDescriptionEntry<Bytes<'a>>, entry: Entry, end: u64) {
        let start = fde.initial_address();
        let first_row = self.piece.rows.len();
        let cost = (fde.cie().entry_len() as u64).saturating_add(entry.size.into());
        let known_form = fde.cie().return_address_register() == gimli::X86_64::RA;
        if known_form && cost <= self.budget {
            self.budget -= cost;
            self.rows(fde, end);
        } else {
            self.piece.damaged += 1;
            self.piece.add(first_row, 0, Rule::UNSUPPORTED);
        }
        let row_count = self.piece.rows.len() - first_row;
        // A section has less than 4 GiB, and a row takes at least a byte of it.
        let (Ok(first_row), Ok(row_count)) = (u32::try_from(first_row), u32::try_from(row_count)) else {
            return;
        };
        self.piece.functions.push(Function { start, end, first_row, row_count });
    }

    fn rows(&mut self, fde: &FrameDescriptionEntry<Bytes<'a>>, end: u64) {
        let Self { section, bases, context, piece, .. } = self;
        let (start, first) = (fde.initial_address(), piece.rows.len());
        let mut reached = start;
        if let Ok(mut table) = fde.rows(*section, bases, context) {
            while let Ok(row) = table.next_row() {
                let Some(row) = row.filter(|row| row.start_address() < end) else { return };
                let rule = convert(row, fde.is_signal_trampoline(), *section);
                reached = row.end_address();
                piece.add(first, row.start_address() - start, rule);
            }
        }
        piece.damaged += 1;
        if reached < end {
            piece.add(first, reached - start, Rule::UNSUPPORTED);
        }
    }
}

impl Piece {
    /// Adds a rule to the function whose rules begin at `first`.
    fn add(&mut self, first: usize, distance: u64, rule: Rule) {
        let row = match rule {
            Rule::Row(row) => row,
            Rule::Rare(rare) => self.rules.number(rare).map_or(Row::UNSUPPORTED, Row::rare),
        };
        let Ok(distance) = u32::try_from(distance) else { return };
        // If there are two rules for one address, the later one counts.
        if self.rows.len() > first && self.rows.last().is_some_and(|last| last.0 == distance) {
            self.rows.pop();
        }
        if self.rows.len() == first || self.rows.last().is_some_and(|last| last.1 != row) {
            self.rows.push((distance, row));
        }
    }

    /// A function's rules.
    pub(super) fn rows_of(&self, function: &Function) -> &[(u32, Row)] {
        let first = function.first_row as usize;
        self.rows.get(first..first + function.row_count as usize).unwrap_or_default()
    }
}

//! Functions and lines from debug information (DWARF), whichever files it is in.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    sync::Arc,
};

use addr2line::{Context, FrameIter, LookupContinuation as _, LookupResult};
use gimli::{AbbreviationsCacheStrategy, Dwarf, SectionId};

use super::{
    bytes::{Bytes, Part, Reader, Unpacker},
    mangled,
    notes::Notes,
    search::{Place, Search},
    split::Split,
};
use crate::{elf::Image, report::Function, text::Text};

/// Sections that are required for functions.
const REQUIRED: [SectionId; 2] = [SectionId::DebugInfo, SectionId::DebugAbbrev];
/// Sections that functions and lines are read from. Sections about variables and types stay packed.
const READ: [SectionId; 10] = [
    SectionId::DebugInfo,
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

/// A file with debug information: its bytes, what to call it, and where it is.
pub(super) struct DebugFile<'f, 'd> {
    pub(super) bytes: &'f Arc<Bytes>,
    pub(super) image: &'f Image<'d>,
    pub(super) shown: &'f str,
    pub(super) place: Option<Place>,
}

/// The debug information of one program.
pub(super) struct DebugInfo {
    sections: Sections,
    context: Context<Reader>,
    /// Why the reader skipped a unit, if it did.
    unit_error: OnceCell<Option<gimli::Error>>,
    split: RefCell<Split>,
}

impl DebugInfo {
    /// Reads the debug information of `file`. `None` if it has none.
    ///
    /// # Errors
    /// A message, if it cannot be read.
    pub(super) fn read(
        file: &DebugFile<'_, '_>,
        search: &Search<'_>,
        unpacker: &mut Unpacker,
        notes: &mut Notes,
    ) -> Result<Option<DebugInfo>, String> {
        if !file.image.has_dwarf() {
            return Ok(None);
        }
        let sections = Sections::read(file, |id| Some(id.name()), unpacker, notes)?;
        let shared = file.place.as_ref().zip(file.image.shared_link()).and_then(|(place, link)| {
            let found = search.shared_file(&link, place).and_then(|found| {
                let image = Image::parse_debug_file(&found.bytes).map_err(|error| error.to_string())?;
                let shared =
                    DebugFile { bytes: &found.bytes, image: &image, shown: &found.shown, place: None };
                let sections = Sections::read(&shared, |id| Some(id.name()), unpacker, notes)?;
                notes.sources.push(format!("the part of it that is shared (dwz), {}", found.shown));
                Ok(sections)
            });
            found
                .map_err(|why| notes.problem(format!("a part of the debug information is missing: {why}")))
                .ok()
        });
        let context = context(&sections, shared.as_ref())
            .map_err(|error| format!("the debug information of {} is damaged: {error}", file.shown))?;
        let split = RefCell::new(Split::of(file.place.clone()));
        Ok(Some(DebugInfo { sections, context, unit_error: OnceCell::new(), split }))
    }

    /// The functions at an address of the file, the innermost inlined one first, each with its file and line if they
    /// are known. The last one may have a line and no name. Empty if the address is not covered.
    pub(super) fn functions(
        &self,
        address: u64,
        search: &Search<'_>,
        unpacker: &mut Unpacker,
        notes: &mut Notes,
    ) -> Vec<Function> {
        let error = match self.look_up(address, search, unpacker, notes) {
            Ok(functions) if !functions.is_empty() => return functions,
            Ok(none) => match self.unit_error() {
                Some(error) => error,
                None => return none,
            },
            Err(error) => error,
        };
        notes.problem(format!("a part of the debug information is damaged: {error}"));
        Vec::new()
    }

    /// Why the reader skipped a unit, if it did: the reader does not report it.
    fn unit_error(&self) -> Option<gimli::Error> {
        *self.unit_error.get_or_init(|| {
            let dwarf = self.sections.dwarf();
            let mut units = dwarf.units();
            loop {
                match units.next() {
                    Ok(Some(header)) => {
                        if let Err(error) = dwarf.unit(header) {
                            return Some(error);
                        }
                    }
                    Ok(None) => return None,
                    Err(error) => return Some(error),
                }
            }
        })
    }

    fn look_up(
        &self,
        address: u64,
        search: &Search<'_>,
        unpacker: &mut Unpacker,
        notes: &mut Notes,
    ) -> Result<Vec<Function>, gimli::Error> {
        let mut lookup = self.context.find_frames(address);
        let frames = loop {
            match lookup {
                LookupResult::Output(frames) => break frames?,
                LookupResult::Load { load, continuation } => {
                    let part = self.split.borrow_mut().load(&load, search, unpacker, notes);
                    lookup = continuation.resume(part);
                }
            }
        };
        collect(frames)
    }
}

impl std::fmt::Debug for DebugInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebugInfo").field("sections", &self.sections).finish_non_exhaustive()
    }
}

fn collect(mut frames: FrameIter<'_, Reader>) -> Result<Vec<Function>, gimli::Error> {
    let mut functions = Vec::new();
    while let Some(frame) = frames.next()? {
        let name = match &frame.function {
            Some(function) => mangled::readable(&function.raw_name()?, function.language),
            None => String::new(),
        };
        let place = frame.location;
        functions.push(Function {
            name: Text::from(name),
            file: place.as_ref().and_then(|place| place.file).map(Text::from),
            line: place.as_ref().and_then(|place| place.line).filter(|line| *line > 0),
            inlined: true,
        });
    }
    if let Some(compiled) = functions.last_mut() {
        compiled.inlined = false;
    }
    Ok(functions)
}

/// Sections of one file, ready to be read.
#[derive(Clone, Debug)]
pub(super) struct Sections(HashMap<SectionId, Part>);

impl Sections {
    /// Reads the sections of a file. `name` returns what a section is called in it.
    ///
    /// # Errors
    /// A message, if a section cannot be read that is required for functions. Others are left out, and noted.
    pub(super) fn read(
        file: &DebugFile<'_, '_>,
        name: impl Fn(SectionId) -> Option<&'static str>,
        unpacker: &mut Unpacker,
        notes: &mut Notes,
    ) -> Result<Sections, String> {
        let mut parts = HashMap::new();
        for id in READ {
            let Some(name) = name(id) else { continue };
            let part = match file.image.find_debug_section(name) {
                Ok(Some(section)) => unpacker.part(file.bytes, section),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match part {
                Ok(part) => {
                    parts.insert(id, part);
                }
                Err(error) => {
                    let words = format!("{name} of {} cannot be read: {error}", file.shown);
                    if REQUIRED.contains(&id) {
                        return Err(words);
                    }
                    notes.problem(words);
                }
            }
        }
        Ok(Sections(parts))
    }

    /// A section for `gimli`; one that is missing is empty.
    pub(super) fn reader(&self, id: SectionId) -> Reader {
        self.0.get(&id).cloned().unwrap_or_else(Part::none).reader()
    }

    /// All sections for `gimli`.
    pub(super) fn dwarf(&self) -> Dwarf<Reader> {
        Dwarf::load(|id| Ok::<_, std::convert::Infallible>(self.reader(id)))
            .unwrap_or_else(|never| match never {})
    }
}

fn context(sections: &Sections, shared: Option<&Sections>) -> Result<Context<Reader>, gimli::Error> {
    let mut dwarf = sections.dwarf();
    if let Some(shared) = shared {
        dwarf.set_sup(shared.dwarf());
    }
    dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
    Context::from_arc_dwarf(Arc::new(dwarf))
}

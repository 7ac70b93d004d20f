//! Split debug information: `.dwo` files beside the object files, or one `.dwp` beside the program.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use addr2line::SplitDwarfLoad;
use gimli::{Dwarf, DwarfPackage, Reader as _, SectionId};

use super::{
    bytes::{Part, Reader, Unpacker},
    dwarf::{DebugFile, Sections},
    notes::Notes,
    search::{FoundFile, Place, Search},
};
use crate::elf::Image;

/// The split debug information of one program, as far as it was read.
pub(super) struct Split {
    /// The file that refers to it, if that is not the program itself.
    of: Option<Place>,
    package: Option<Option<DwarfPackage<Reader>>>,
    told: bool,
}

impl Split {
    /// Reads nothing yet.
    pub(super) fn of(place: Option<Place>) -> Split {
        Split { of: place, package: None, told: false }
    }

    /// The debug information of one unit. `None` if it cannot be read, which is noted.
    pub(super) fn load(
        &mut self,
        wanted: &SplitDwarfLoad<Reader>,
        search: &Search<'_>,
        unpacker: &mut Unpacker,
        notes: &mut Notes,
    ) -> Option<Arc<Dwarf<Reader>>> {
        let package = match &self.package {
            Some(package) => package,
            None => {
                let opened = package(search, self.of.as_ref(), unpacker, notes);
                self.package.insert(opened.unwrap_or_else(|why| {
                    notes.problem(why);
                    None
                }))
            }
        };
        if let Some(package) = package {
            match package.find_cu(wanted.dwo_id, &wanted.parent) {
                Ok(Some(unit)) => return Some(Arc::new(unit)),
                Ok(None) => {}
                Err(error) => {
                    notes.problem(format!("the split debug information (.dwp) is damaged: {error}"))
                }
            }
        }
        match unit(wanted, search, unpacker, notes) {
            Ok(unit) => {
                if !std::mem::replace(&mut self.told, true) {
                    notes.sources.push("split debug information (.dwo)".to_owned());
                }
                Some(unit)
            }
            Err(why) => {
                notes.split_problem(why);
                None
            }
        }
    }
}

/// Opens the package of a program, if it has one.
fn package(
    search: &Search<'_>,
    of: Option<&Place>,
    unpacker: &mut Unpacker,
    notes: &mut Notes,
) -> Result<Option<DwarfPackage<Reader>>, String> {
    let Some(found) = search.package(of)? else { return Ok(None) };
    let image = Image::parse_debug_file(&found.bytes).map_err(|error| error.to_string())?;
    if !matches!(image.find_debug_section(".debug_cu_index"), Ok(Some(_))) {
        return Err(format!("{} is not used: it has no index, and is damaged", found.shown));
    }
    let mut part = |id: SectionId| {
        let name = id.dwo_name().unwrap_or_else(|| id.name());
        let section = image.find_debug_section(name).transpose();
        let part = section.map(|section| section.and_then(|section| unpacker.part(&found.bytes, section)));
        part.transpose().map_err(|error| format!("{name} of {} cannot be read: {error}", found.shown))
    };
    let mut problem = None;
    let loaded = DwarfPackage::load(
        |id| {
            let part = part(id).unwrap_or_else(|why| {
                problem.get_or_insert(why);
                None
            });
            Ok::<_, gimli::Error>(part.unwrap_or_else(Part::none).reader())
        },
        Part::none().reader(),
    );
    match (loaded, problem) {
        (_, Some(why)) => Err(why),
        (Err(error), None) => Err(format!("{} is damaged: {error}", found.shown)),
        (Ok(package), None) => {
            notes.sources.push(format!("split debug information {}", found.shown));
            Ok(Some(package))
        }
    }
}

/// Reads the file of one unit.
fn unit(
    wanted: &SplitDwarfLoad<Reader>,
    search: &Search<'_>,
    unpacker: &mut Unpacker,
    notes: &mut Notes,
) -> Result<Arc<Dwarf<Reader>>, String> {
    let found = search.split_file(&path(wanted)?, unpacker)?;
    let damaged = |error: gimli::Error| format!("{} is damaged: {error}", found.shown);
    let mut dwarf = sections(&found, unpacker, notes)?.dwarf();
    let mut units = dwarf.units();
    let mut is_wanted = false;
    while let Some(header) = units.next().map_err(damaged)? {
        is_wanted |= dwarf.unit(header).map_err(damaged)?.dwo_id == Some(wanted.dwo_id);
    }
    if !is_wanted {
        return Err(format!("{} is not used: it was made by another compilation", found.shown));
    }
    dwarf.make_dwo(&wanted.parent);
    Ok(Arc::new(dwarf))
}

fn sections(found: &FoundFile, unpacker: &mut Unpacker, notes: &mut Notes) -> Result<Sections, String> {
    let image = Image::parse_debug_file(&found.bytes).map_err(|error| error.to_string())?;
    let file = DebugFile { bytes: &found.bytes, image: &image, shown: &found.shown, place: None };
    Sections::read(&file, |id| id.dwo_name(), unpacker, notes)
}

/// The path where the compiler wrote the file.
fn path(wanted: &SplitDwarfLoad<Reader>) -> Result<PathBuf, String> {
    let unnamed = || "split debug information is referred to without a name".to_owned();
    let text = |reader: &Reader| reader.to_slice().ok().map(|bytes| bytes.into_owned());
    let name = wanted.path.as_ref().and_then(text).ok_or_else(unnamed)?;
    let directory = wanted.comp_dir.as_ref().and_then(text).unwrap_or_default();
    // Joining an absolute path gives that path.
    Ok(Path::new(OsStr::from_bytes(&directory)).join(OsStr::from_bytes(&name)))
}

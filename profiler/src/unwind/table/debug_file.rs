//! Separate debug files, made by distributions and by `objcopy --only-keep-debug`.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::elf::{Image, SectionError};
use crate::unwind::file::map;

/// The `.debug_frame` of a program's separate debug file; `None` if no such file matches, or if it has no such section.
///
/// A file matches if it has the build id of the program; if the program has none, if it has the CRC in the program's
/// `.gnu_debuglink`. `roots` are the directories of debug files, usually `/usr/lib/debug`.
pub(super) fn frames(
    program: &Image<'_>,
    path: Option<&Path>,
    roots: &[PathBuf],
) -> Result<Option<Vec<u8>>, SectionError> {
    let build_id = program.build_id();
    for candidate in candidates(program, build_id.as_deref(), path, roots) {
        let Some(bytes) = File::open(&candidate).ok().and_then(|file| map(&file).ok()) else { continue };
        let Ok(debug) = Image::parse_debug_file(&bytes) else { continue };
        if !fits(program, build_id.as_deref(), &bytes, &debug) {
            tracing::debug!("{} is the debug file of another build", candidate.display());
            continue;
        }
        return match debug.debug_section(".debug_frame") {
            Ok(found) => Ok(found.filter(|bytes| !bytes.is_empty()).map(std::borrow::Cow::into_owned)),
            Err(error) => Err(error),
        };
    }
    Ok(None)
}

/// Candidates in the order of gdb ("Debugging Information in Separate Files" in its manual).
fn candidates(
    program: &Image<'_>,
    build_id: Option<&str>,
    path: Option<&Path>,
    roots: &[PathBuf],
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Hex digits are ASCII, but the build id may be too short.
    if let Some((first, rest)) = build_id.and_then(|id| id.split_at_checked(2)) {
        found.extend(
            roots.iter().map(|root| root.join(".build-id").join(first).join(format!("{rest}.debug"))),
        );
    }
    let directory = path.and_then(Path::parent).and_then(|directory| directory.canonicalize().ok());
    if let (Some(link), Some(directory)) = (program.debug_link(), directory) {
        found.push(directory.join(link.name));
        found.push(directory.join(".debug").join(link.name));
        let below = directory.strip_prefix("/").unwrap_or(&directory).to_owned();
        found.extend(roots.iter().map(|root| root.join(&below).join(link.name)));
    }
    found
}

fn fits(program: &Image<'_>, build_id: Option<&str>, bytes: &Mmap, debug: &Image<'_>) -> bool {
    match (build_id, program.debug_link()) {
        (Some(id), _) => debug.build_id().as_deref() == Some(id),
        (None, Some(link)) => crc32fast::hash(bytes) == link.crc,
        (None, None) => false,
    }
}

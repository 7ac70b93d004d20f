//! The mappings of one address space, in the form that the kernel side reads.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use profiler_common::unwind::{BLOCK_SHIFT, MAX_MAPPINGS, Mapping, Mappings, NO_MAPPING};

use super::{
    arena::{Arena, Placed},
    cache::Cache,
    file::ProgramFile,
};
use crate::{elf::Image, target::maps};

/// The part of an address space that can be walked, and the part that cannot.
#[derive(Debug)]
pub struct Walkable {
    /// The mappings for the kernel side.
    pub mappings: Box<Mappings>,
    /// Executable mappings without a table, by path, and why.
    pub left_out: Vec<(String, String)>,
}

/// A mapping and the file behind it.
#[derive(Debug)]
pub struct Mapped {
    /// The mapping.
    pub mapping: maps::Mapping,
    /// The file, or why it cannot be read.
    pub file: Result<Arc<ProgramFile>, String>,
}

impl Mapped {
    /// The vdso of a process, read from its memory.
    ///
    /// # Errors
    /// If the memory cannot be read.
    pub fn vdso(pid: u32, mapping: maps::Mapping) -> io::Result<Mapped> {
        const MOST_BYTES: u64 = 1 << 20;
        let mut bytes = vec![0; (mapping.end - mapping.start).min(MOST_BYTES) as usize];
        File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, mapping.start)?;
        Ok(Mapped { mapping, file: Ok(Arc::new(ProgramFile::of_bytes(bytes))) })
    }
}

const PAGE_MASK: u64 = 4095;

/// The name of the vdso in a maps file.
pub const VDSO: &str = "[vdso]";

/// Adds the tables of all mapped files to an arena.
pub fn walkable(mapped: &[Mapped], cache: &Cache, arena: &mut Arena) -> Walkable {
    let files: Vec<&ProgramFile> = mapped.iter().filter_map(|m| m.file.as_deref().ok()).collect();
    let mut tables = cache.tables(&files).into_iter();
    let mut left_out = Vec::new();
    let mut list: Vec<Mapping> = Vec::new();
    for Mapped { mapping, file } in mapped {
        let found = match file {
            Err(why) => Err(why.clone()),
            Ok(file) => tables.next().map_or_else(
                || Err("no table was made".to_owned()),
                |table| {
                    let table = table.map_err(|e| e.to_string())?;
                    let placed = arena.add(&table).map_err(|e| e.to_string())?;
                    place(mapping, file, &placed)
                },
            ),
        };
        match found {
            Ok(mapping) if list.len() < MAX_MAPPINGS => list.push(mapping),
            Ok(_) => {
                left_out.push((name(&mapping.path), format!("only {MAX_MAPPINGS} mappings are followed")))
            }
            Err(why) => left_out.push((name(&mapping.path), why)),
        }
    }
    list.sort_unstable_by_key(|mapping| mapping.start);
    Walkable { mappings: mappings(&list), left_out }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// A mapping with its part of a table.
fn place(mapping: &maps::Mapping, file: &ProgramFile, placed: &[Placed]) -> Result<Mapping, String> {
    let image = Image::parse(file.bytes()).map_err(|e| e.to_string())?;
    let offset = if mapping.path == Path::new(VDSO) { 0 } else { mapping.offset };
    // A mapping begins at a page boundary, a segment anywhere within the page.
    let end = offset | PAGE_MASK;
    let address = image
        .address(offset)
        .or_else(|| Some(image.address(end)? - (end - offset)))
        .ok_or_else(|| "it is mapped at an offset that no segment of the file has".to_owned())?;
    let number = address >> BLOCK_SHIFT;
    let holds = |p: &&Placed| {
        number + ((mapping.end - mapping.start) >> BLOCK_SHIFT) >= p.first_block
            && number < p.first_block + u64::from(p.blocks)
    };
    let part = placed
        .iter()
        .find(holds)
        .ok_or_else(|| "the part of the file that is mapped here is not code".to_owned())?;
    Ok(Mapping {
        start: mapping.start,
        bytes: mapping.end - mapping.start,
        bias: mapping.start.wrapping_sub(address),
        first_block: part.first_block,
        base: part.base,
        blocks: part.blocks,
    })
}

/// The first [`MAX_MAPPINGS`] of them, in the order of their starts.
fn mappings(list: &[Mapping]) -> Box<Mappings> {
    let none = Mapping { start: 0, bytes: 0, bias: 0, first_block: 0, base: 0, blocks: 0 };
    let mut all = Box::new(Mappings { starts: [NO_MAPPING; MAX_MAPPINGS], list: [none; MAX_MAPPINGS] });
    for (at, mapping) in list.iter().take(MAX_MAPPINGS).enumerate() {
        all.starts[at] = mapping.start;
        all.list[at] = *mapping;
    }
    all
}

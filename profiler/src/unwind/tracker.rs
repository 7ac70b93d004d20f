//! Giving the kernel side the mappings and tables that it walks stacks with.

use std::{collections::HashMap, sync::Arc};

use memmap2::MmapRaw;
use profiler_common::unwind::{CHUNK_BYTES, Mappings, RARE_CAPACITY, Rare};

use super::{
    arena::{Arena, Capacity},
    cache::Cache,
    file::ProgramFile,
    spaces::{Mapped, walkable},
};
use crate::{
    capture::{mapped, object::Object},
    error::Result,
    stage::Stage,
    target::{
        maps::Mapping,
        modules::{Layout, ModuleId, Modules},
    },
};

/// Slots per address space: the kernel side reads one while the other is written.
const SLOTS: u32 = 2;

/// What the kernel side has to know of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Slot of its mappings.
    pub(crate) slot: u32,
    /// How often they were written.
    pub(crate) generation: u32,
}

/// The program files of all address spaces, and their tables.
#[derive(Debug, Default)]
pub(crate) struct Files {
    cache: Cache,
    opened: HashMap<ModuleId, std::result::Result<Arc<ProgramFile>, String>>,
}

impl Files {
    /// Without any file yet. Reports the progress of making tables.
    pub(crate) fn reporting(stage: Stage) -> Files {
        Files { cache: Cache::reporting(stage), ..Files::default() }
    }

    /// Makes the tables of files before they are needed.
    pub(crate) fn prepare(&mut self, files: impl Iterator<Item = ModuleId>, modules: &Modules) {
        let files: Vec<_> = files.filter_map(|id| self.open(id, modules).ok()).collect();
        let files: Vec<&ProgramFile> = files.iter().map(AsRef::as_ref).collect();
        self.cache.tables(&files);
    }

    fn open(&mut self, id: ModuleId, modules: &Modules) -> std::result::Result<Arc<ProgramFile>, String> {
        let open = || {
            let module = modules.get(id).ok_or("no file")?;
            let path = module.path().ok_or_else(|| module.unreadable.clone().unwrap_or_default())?;
            ProgramFile::open(&path).map(Arc::new).map_err(|e| e.to_string())
        };
        self.opened.entry(id).or_insert_with(open).clone()
    }
}

/// Tables and mappings of all address spaces under observation.
#[derive(Debug)]
pub(crate) struct Tracker {
    files: Files,
    arena: Arena,
    slots: MmapRaw,
    spaces: u32,
    known: HashMap<u16, Known>,
    /// Pairs of slots that were given out: those below this one.
    given: u32,
    /// Those of them that are free again, with the generation that they have.
    free: Vec<Published>,
}

#[derive(Debug)]
struct Known {
    published: Published,
    mappings: Vec<Mapping>,
}

impl Tracker {
    /// The sizes of the kernel side's maps, by name.
    pub(crate) fn entries(capacity: Capacity, spaces: u32) -> [(&'static str, u32); 4] {
        [
            ("UNWIND_BLOCKS", capacity.blocks),
            ("UNWIND_ROWS", capacity.chunks),
            ("UNWIND_RULES", RARE_CAPACITY as u32),
            ("UNWIND_SPACES", 1 + SLOTS * spaces),
        ]
    }

    /// Maps the kernel side's arrays, made as [`Tracker::entries`] says.
    pub(crate) fn map(object: &Object, files: Files, capacity: Capacity, spaces: u32) -> Result<Tracker> {
        let map = |name: &str, bytes: usize| mapped::writable(object, name, bytes);
        let arena = Arena::over(
            capacity,
            map("UNWIND_BLOCKS", capacity.blocks as usize * 8)?,
            map("UNWIND_ROWS", capacity.chunks as usize * CHUNK_BYTES)?,
            map("UNWIND_RULES", RARE_CAPACITY * size_of::<Rare>())?,
        );
        let slots = map("UNWIND_SPACES", (1 + SLOTS * spaces) as usize * size_of::<Mappings>())?;
        Ok(Tracker { files, arena, slots, spaces, known: HashMap::new(), given: 0, free: Vec::new() })
    }

    /// Room for the tables of these address spaces, for `to_come_bytes` of text that is not mapped yet, and for as much
    /// again that they load later.
    pub(crate) fn capacity<'l>(layouts: impl Iterator<Item = &'l Layout>, to_come_bytes: u64) -> Capacity {
        let mut sizes: HashMap<ModuleId, u64> = HashMap::new();
        for (mapping, id) in layouts.flat_map(Layout::files) {
            let bytes = mapping.end - mapping.start;
            sizes.entry(id).and_modify(|known| *known = bytes.max(*known)).or_insert(bytes);
        }
        Capacity::for_text(sizes.values().sum::<u64>() + to_come_bytes)
    }

    /// Whether the mappings of an address space were ever written.
    pub(crate) fn knows(&self, space: u16) -> bool {
        self.known.contains_key(&space)
    }

    /// Frees the slots of an address space that is gone.
    pub(crate) fn forget(&mut self, space: u16) {
        self.free.extend(self.known.remove(&space).map(|known| known.published));
    }

    /// The pair of slots of an address space, and the generation that it has. `None` if there is no room.
    fn place(&mut self, space: u16) -> Option<(u32, u32)> {
        let place = |published: Published| ((published.slot - 1) / SLOTS, published.generation);
        if let Some(known) = self.known.get(&space) {
            return Some(place(known.published));
        }
        if let Some(free) = self.free.pop() {
            return Some(place(free));
        }
        let index = self.given;
        (index < self.spaces).then(|| {
            self.given += 1;
            (index, 0)
        })
    }

    /// Writes the mappings of an address space, if they have changed. `None` if they have not, or if there is no room.
    pub(crate) fn publish(
        &mut self,
        space: u16,
        pid: u32,
        layout: &Layout,
        modules: &Modules,
    ) -> Option<Published> {
        let mappings: Vec<Mapping> =
            layout.files().map(|(m, _)| m.clone()).chain(layout.vdso().cloned()).collect();
        if mappings.is_empty() || self.known.get(&space).is_some_and(|known| known.mappings == mappings) {
            return None;
        }
        let (index, before) = self.place(space)?;
        let mut mapped: Vec<Mapped> = layout
            .files()
            .map(|(mapping, id)| Mapped { mapping: mapping.clone(), file: self.files.open(id, modules) })
            .collect();
        mapped.extend(layout.vdso().and_then(|vdso| Mapped::vdso(pid, vdso.clone()).ok()));
        let found = walkable(&mapped, &self.files.cache, &mut self.arena);
        for (path, why) in &found.left_out {
            tracing::info!("no unwind table for {path}: {why}");
        }
        let generation = before + 1;
        let published = Published { slot: 1 + index * SLOTS + generation % SLOTS, generation };
        let slot = self.slots.as_mut_ptr().cast::<Mappings>();
        // SAFETY: the slot lies within the mapping, and the kernel side does not read it: it was last given the other
        // slot of the two.
        unsafe { slot.add(published.slot as usize).write_volatile(*found.mappings) };
        self.known.insert(space, Known { published, mappings });
        Some(published)
    }
}

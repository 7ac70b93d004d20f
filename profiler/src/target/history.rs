//! What a process has mapped before: stacks through an unloaded library may still arrive.

use std::{collections::BTreeSet, ops::Range};

use super::{
    maps::Mapping,
    modules::{Layout, ModuleId, Place},
};

/// Which files were mapped where, since the first look.
#[derive(Debug, Default)]
pub struct History(Vec<(Mapping, ModuleId)>);

impl History {
    /// Adds a layout. Returns the address ranges where another file was mapped in an earlier layout.
    pub fn add(&mut self, layout: &Layout) -> Vec<Range<u64>> {
        let base = |mapping: &Mapping| mapping.start.wrapping_sub(mapping.offset);
        let mut reused = Vec::new();
        for (mapping, id) in layout.files() {
            let mut is_known = false;
            for (known, known_id) in &self.0 {
                let shared = known.start.max(mapping.start)..known.end.min(mapping.end);
                if *known_id == id && base(known) == base(mapping) {
                    is_known |= shared == (mapping.start..mapping.end);
                } else if !shared.is_empty() {
                    reused.push(shared);
                }
            }
            if !is_known {
                self.0.push((mapping.clone(), id));
            }
        }
        reused
    }

    /// What was mapped at an address before and is not any more.
    pub(crate) fn place(&self, address: u64) -> Option<Place> {
        let inside = |(mapping, _): &&(Mapping, ModuleId)| (mapping.start..mapping.end).contains(&address);
        // If several files were mapped here, the frame is marked as ambiguous elsewhere; the last one is as good as
        // any.
        let (mapping, id) = self.0.iter().rev().find(inside)?;
        Some(Place::File(*id, address - mapping.start + mapping.offset))
    }

    /// The files that are no longer mapped.
    pub(crate) fn unloaded(&self, layout: &Layout) -> BTreeSet<ModuleId> {
        let mut unloaded: BTreeSet<ModuleId> = self.0.iter().map(|(_, id)| *id).collect();
        layout.files().for_each(|(_, id)| {
            unloaded.remove(&id);
        });
        unloaded
    }
}

#[cfg(test)]
mod tests {
    use super::{super::maps::DeviceInode, *};

    #[test]
    fn reused_addresses_are_noticed_and_unloaded_files_are_known() {
        let mapping = |start: u64, offset: u64, pages: u64| Mapping {
            start,
            end: start + (pages << 12),
            offset,
            file: DeviceInode { device: (8, 1), inode: 1 },
            path: "/lib".into(),
        };
        let (a, b) = (ModuleId(0), ModuleId(1));
        let layout = Layout::of_files;
        let vec_of = |range: Range<u64>| Vec::from_iter([range]);
        let mut history = History::default();
        assert_eq!(history.add(&layout(&[(mapping(0x10000, 0, 4), a)])), []);
        assert_eq!(history.add(&layout(&[])), [], "what was unloaded keeps its name");
        assert_eq!(history.place(0x12345), Some(Place::File(a, 0x2345)));
        assert_eq!(history.place(0x14000), None);
        assert_eq!(history.unloaded(&layout(&[])), BTreeSet::from([a]));
        assert_eq!(history.unloaded(&layout(&[(mapping(0x40000, 0, 1), a)])), BTreeSet::new());
        assert_eq!(history.add(&layout(&[(mapping(0x11000, 0x1000, 2), a)])), [], "a part of the same");
        assert_eq!(history.add(&layout(&[(mapping(0x20000, 0, 4), a)])), [], "elsewhere");
        assert_eq!(history.add(&layout(&[(mapping(0x13000, 0, 4), b)])), vec_of(0x13000..0x14000));
        assert_eq!(history.add(&layout(&[(mapping(0x20000, 0x1000, 1), a)])), vec_of(0x20000..0x21000));
    }
}

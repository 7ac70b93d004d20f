//! The frames of each stack, placed in files as soon as they arrive: later the file may be unmapped, or the process
//! gone.

use std::collections::HashMap;

use crate::{
    report::{Frame, Frames, Stack},
    symbolize::{Request, Resolved, Worker},
    target::modules::{Layout, ModuleId, Modules, Place},
};

/// A call stack, innermost frame first.
#[derive(Clone, Debug)]
pub(crate) struct PlacedStack {
    /// Address space that it belongs to.
    pub(crate) space: u16,
    /// Return addresses and where they lie.
    frames: Vec<(u64, Place)>,
}

/// All stacks that were seen, by number.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    placed: Vec<Option<PlacedStack>>,
    names: HashMap<(ModuleId, u64), Resolved>,
}

impl Stacks {
    /// Takes in the frames of a stack. Returns false if an address lies in nothing that the layout knows.
    pub(crate) fn add(&mut self, number: u32, space: u16, addresses: &[u64], layout: &Layout) -> bool {
        let frames: Vec<(u64, Place)> =
            addresses.iter().map(|a| (*a, layout.place(a.saturating_sub(1)))).collect();
        let known = frames.iter().all(|(_, place)| *place != Place::Unmapped);
        let index = number as usize;
        if self.placed.len() <= index {
            self.placed.resize(index + 1, None);
        }
        self.placed[index] = Some(PlacedStack { space, frames });
        known
    }

    /// One more than the highest number.
    pub(crate) fn len(&self) -> usize {
        self.placed.len()
    }

    /// A stack by number.
    pub(crate) fn get(&self, number: u32) -> Option<&PlacedStack> {
        self.placed.get(number as usize)?.as_ref()
    }

    /// Looks up the names of everything that these stacks need and that is not known yet.
    pub(crate) fn resolve(&mut self, numbers: impl Iterator<Item = u32>, modules: &Modules, worker: &Worker) {
        let mut wanted: HashMap<ModuleId, Vec<u64>> = HashMap::new();
        for stack in numbers.filter_map(|n| self.placed.get(n as usize)?.as_ref()) {
            for (_, place) in &stack.frames {
                if let Place::File(module, offset) = place
                    && !self.names.contains_key(&(*module, *offset))
                {
                    wanted.entry(*module).or_default().push(*offset);
                }
            }
        }
        let mut requests = Vec::new();
        let mut asked = Vec::new();
        for (module, mut offsets) in wanted {
            offsets.sort_unstable();
            offsets.dedup();
            let held = modules.get(module);
            match held.and_then(|m| m.path()) {
                Some(file) => {
                    asked.push(module);
                    requests.push(Request { file, offsets });
                }
                None => {
                    let why = held.and_then(|m| m.unreadable.clone()).unwrap_or_else(|| "no file".to_owned());
                    let unknown = Resolved::unknown(why);
                    self.names.extend(offsets.into_iter().map(|offset| ((module, offset), unknown.clone())));
                }
            }
        }
        let offsets: Vec<Vec<u64>> = requests.iter().map(|r| r.offsets.clone()).collect();
        for ((module, offsets), resolved) in asked.into_iter().zip(offsets).zip(worker.resolve(requests)) {
            self.names.extend(offsets.into_iter().map(|offset| (module, offset)).zip(resolved));
        }
    }

    /// A stack as it stands in the report. Its names must have been resolved.
    pub(crate) fn report(
        &self,
        number: u32,
        pid: u32,
        modules: &Modules,
        frames: &mut Frames,
    ) -> Option<Stack> {
        let stack = self.get(number)?;
        let frame = |(address, place): &(u64, Place)| frames.intern(self.frame(*address, *place, modules));
        Some(Stack { pid, frames: stack.frames.iter().map(frame).collect(), incomplete: None })
    }

    fn frame(&self, address: u64, place: Place, modules: &Modules) -> Frame {
        let mut frame = Frame {
            address,
            module: None,
            build_id: None,
            file_offset: None,
            functions: Vec::new(),
            unresolved: None,
        };
        match place {
            Place::File(module, offset) => {
                if let Some(held) = modules.get(module) {
                    frame.module = Some(held.name.clone());
                    frame.build_id.clone_from(&held.build_id);
                }
                frame.file_offset = Some(offset + 1); // of the return address itself
                match self.names.get(&(module, offset)) {
                    Some(resolved) => {
                        frame.functions.clone_from(&resolved.functions);
                        frame.unresolved.clone_from(&resolved.unresolved);
                    }
                    None => frame.unresolved = Some("not looked up".to_owned()),
                }
            }
            Place::Anonymous => {
                frame.unresolved = Some("code without a file: made at run time, or vdso".to_owned())
            }
            Place::Unmapped => frame.unresolved = Some("nothing was mapped there when we looked".to_owned()),
        }
        frame
    }
}

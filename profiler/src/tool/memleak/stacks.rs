//! The frames of each stack, placed in files as soon as they arrive: later the file may be unmapped, or the process
//! gone. Their names are looked up from then on too, so that nobody waits for all of them in the end.

use std::collections::{BTreeMap, HashMap};

use profiler_common::memleak::ENDED_SOMEHOW;

use super::walks::{cut_off, has_place};
use crate::{
    report::{Frame, Frames, Stack},
    symbolize::{Pending, Request, Resolved, Worker},
    target::modules::{Layout, ModuleId, Modules, Place},
    text::Text,
};

/// A call stack, innermost frame first.
#[derive(Clone, Debug)]
pub(crate) struct PlacedStack {
    /// Address space that it belongs to.
    pub(crate) space: u16,
    /// Return addresses and where they lie.
    frames: Vec<(u64, Place)>,
    /// How the walk ended: one of `profiler_common::unwind::walk::End`, or `ENDED_SOMEHOW`.
    end: u8,
    /// Whether some frames were found by their frame pointers alone.
    guessed: bool,
}

/// A walk as the kernel side tells of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// Return addresses, innermost first.
    pub(crate) addresses: &'a [u64],
    /// See [`PlacedStack`].
    pub(crate) end: u8,
    /// See [`PlacedStack`].
    pub(crate) guessed: bool,
}

/// What is known of the walk of a stack.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    /// Whether some frames were found by their frame pointers alone.
    pub(crate) guessed: bool,
    /// Number of frames.
    pub(crate) frames: u64,
    /// Number of frames with a name.
    pub(crate) named_frames: u64,
    /// Why the callers of the outermost frame are unknown, if they are.
    pub(crate) cut: Option<String>,
    /// The file that the walk ended in, if it was cut for a reason that has a place; `Some(None)`: code without a file.
    pub(crate) ended_in: Option<Option<Text>>,
}

/// Offsets in a module.
type Places = (ModuleId, Vec<u64>);

/// All stacks that were seen, by number.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    placed: Vec<Option<PlacedStack>>,
    /// Names by place; `None` while they are not known yet.
    names: HashMap<(ModuleId, u64), Option<Resolved>>,
    /// Places that were not asked for yet.
    unasked: BTreeMap<ModuleId, Vec<u64>>,
    /// What was asked for: modules with their offsets, as the answers will come.
    asked: Option<(Vec<Places>, Pending)>,
}

impl Stacks {
    /// Takes in the frames of a stack. Returns false if an address lies in nothing that the layout knows.
    pub(crate) fn add(&mut self, number: u32, space: u16, walk: Walk<'_>, layout: &Layout) -> bool {
        let frames: Vec<(u64, Place)> =
            walk.addresses.iter().map(|a| (*a, layout.place(a.saturating_sub(1)))).collect();
        let known = frames.iter().all(|(_, place)| *place != Place::Unmapped);
        for (_, place) in &frames {
            let Place::File(module, offset) = *place else { continue };
            self.names.entry((module, offset)).or_insert_with(|| {
                self.unasked.entry(module).or_default().push(offset);
                None
            });
        }
        let index = number as usize;
        if self.placed.len() <= index {
            self.placed.resize(index + 1, None);
        }
        self.placed[index] = Some(PlacedStack { space, frames, end: walk.end, guessed: walk.guessed });
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

    /// Takes in names that were found, and asks for those of stacks that came since. Does not wait.
    pub(crate) fn look_up(&mut self, modules: &Modules, worker: &Worker) {
        if let Some((places, pending)) = self.asked.take() {
            match pending.ready() {
                Some(answers) => self.learn(places, answers),
                None => {
                    self.asked = Some((places, pending));
                    return;
                }
            }
        }
        self.ask(modules, worker);
    }

    /// Waits until everything that was seen so far has its name.
    pub(crate) fn finish_look_up(&mut self, modules: &Modules, worker: &Worker) {
        loop {
            if let Some((places, pending)) = self.asked.take() {
                self.learn(places, pending.wait());
            }
            if self.unasked.is_empty() {
                return;
            }
            self.ask(modules, worker);
        }
    }

    fn ask(&mut self, modules: &Modules, worker: &Worker) {
        let (mut places, mut requests) = (Vec::new(), Vec::new());
        for (module, mut offsets) in std::mem::take(&mut self.unasked) {
            // Neighbours share a unit of debug information.
            offsets.sort_unstable();
            let held = modules.get(module);
            if let Some(file) = held.and_then(|m| m.path()) {
                requests.push(Request { file, offsets: offsets.clone() });
                places.push((module, offsets));
            } else {
                let why = held.and_then(|m| m.unreadable.clone()).unwrap_or_else(|| "no file".to_owned());
                let unknown = vec![Resolved::unknown(why); offsets.len()];
                self.learn(vec![(module, offsets)], vec![unknown]);
            }
        }
        if !requests.is_empty() {
            self.asked = Some((places, worker.ask(requests)));
        }
    }

    fn learn(&mut self, places: Vec<Places>, answers: Vec<Vec<Resolved>>) {
        for ((module, offsets), resolved) in places.into_iter().zip(answers) {
            let keys = offsets.into_iter().map(|offset| (module, offset));
            self.names.extend(keys.zip(resolved.into_iter().map(Some)));
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
        let frames = stack.frames.iter().map(frame).collect();
        Some(Stack { pid, frames, incomplete: self.cut(stack, modules) })
    }

    /// What is known of the walk of a stack, whose names must have been resolved; `None` if its frames are not known.
    pub(crate) fn walked(&self, number: u32, modules: &Modules) -> Option<Walked> {
        let stack = self.get(number)?;
        let named = |(_, place): &&(u64, Place)| {
            let Place::File(module, offset) = *place else { return false };
            matches!(self.names.get(&(module, offset)), Some(Some(resolved)) if !resolved.functions.is_empty())
        };
        let cut = self.cut(stack, modules);
        let has_place = cut.is_some() && has_place(stack.end, stack.frames.len());
        let outermost = || match stack.frames.last()? {
            (_, Place::File(module, _)) => modules.get(*module).map(|held| held.name.clone()),
            _ => None,
        };
        Some(Walked {
            guessed: stack.guessed || stack.end == ENDED_SOMEHOW,
            frames: stack.frames.len() as u64,
            named_frames: stack.frames.iter().filter(named).count() as u64,
            ended_in: has_place.then(outermost),
            cut,
        })
    }

    /// Why the callers of the outermost frame are unknown, if they are.
    fn cut(&self, stack: &PlacedStack, modules: &Modules) -> Option<String> {
        let frame = |(address, place): &(u64, Place)| self.frame(*address, *place, modules);
        // Only a walk by frame pointers has to be judged by its names.
        let outermost = stack.frames.last().filter(|_| stack.end == ENDED_SOMEHOW).map(frame);
        cut_off(stack.end, stack.frames.len(), outermost.as_ref())
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
                    Some(Some(resolved)) => {
                        frame.functions.clone_from(&resolved.functions);
                        frame.unresolved.clone_from(&resolved.unresolved);
                    }
                    Some(None) | None => frame.unresolved = Some("not looked up".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn seen_early() {}

    #[inline(never)]
    fn seen_late() {}

    fn walk(addresses: &[u64]) -> Walk<'_> {
        Walk { addresses, end: 0, guessed: false }
    }

    fn name(stacks: &Stacks, number: u32, modules: &Modules) -> String {
        let mut frames = Frames::default();
        let stack = stacks.report(number, 1, modules, &mut frames).unwrap();
        let frame = &frames.into_vec()[stack.frames[0]];
        frame.functions.last().map_or_else(|| format!("{:?}", frame.unresolved), |f| f.name.terminal())
    }

    #[test]
    fn names_are_looked_up_ahead_and_none_is_missing_in_the_end() {
        let mut modules = Modules::default();
        let layout = Layout::read(std::process::id(), &mut modules).unwrap();
        let worker = Worker::start().unwrap();
        let mut stacks = Stacks::default();
        // A return address lies behind the call: one byte into the function will do for it.
        assert!(stacks.add(1, 0, walk(&[seen_early as fn() as usize as u64 + 1]), &layout));
        assert!(name(&stacks, 1, &modules).contains("not looked up"));
        stacks.look_up(&modules, &worker);
        assert!(stacks.add(2, 0, walk(&[seen_late as fn() as usize as u64 + 1]), &layout));
        // Whether the first answer is there by now or not, the second must not get lost behind it.
        stacks.look_up(&modules, &worker);
        stacks.finish_look_up(&modules, &worker);
        assert!(name(&stacks, 1, &modules).contains("seen_"), "{}", name(&stacks, 1, &modules));
        assert!(name(&stacks, 2, &modules).contains("seen_"), "{}", name(&stacks, 2, &modules));
    }
}

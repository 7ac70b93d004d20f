//! The frames of each stack, placed in files as soon as they arrive: later the file may be unmapped, or the process
//! gone. Their names are looked up from then on too, so that nobody waits for all of them in the end.

use std::collections::{BTreeMap, HashMap};

use profiler_common::unwind::{unmarked, walk::End};

use super::calls::{Calls, Code};
use crate::{
    report::{Frame, Frames, Stack},
    symbolize::{Pending, Request, Resolved, Worker},
    target::modules::{Layout, ModuleId, Modules, Place},
};

/// A call stack, innermost frame first.
#[derive(Clone, Debug)]
pub(crate) struct PlacedStack {
    /// Address space that it belongs to.
    pub(crate) space: u16,
    frames: Vec<PlacedFrame>,
    /// How the walk ended: one of `profiler_common::unwind::walk::End`, `ENDED_SOMEHOW` or `NOT_CALLED`.
    end: u8,
}

/// The end of a stack behind a frame that no call leads to.
const NOT_CALLED: u8 = 14;
const NOT_CALLED_WORDS: &str =
    "nothing calls this function: a coroutine begins here, or the stack is damaged";

/// A stack as the kernel side sends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walked<'f> {
    /// Address space that it belongs to.
    pub(crate) space: u16,
    /// Its frames, as [`unmarked`] reads them.
    pub(crate) frames: &'f [u64],
    /// Whether some were found by their frame pointers alone.
    pub(crate) guessed: bool,
    /// One of `profiler_common::unwind::walk::End`, or `ENDED_SOMEHOW`.
    pub(crate) end: u8,
}

#[derive(Clone, Copy, Debug)]
struct PlacedFrame {
    address: u64,
    /// From the address down to the instruction that the frame is at: 1 (any byte of the call will do) if the address is
    /// where a call returns to, else 0.
    back: u64,
    /// Where that instruction lies.
    place: Place,
}

/// Offsets in a module.
type Places = (ModuleId, Vec<u64>);

/// All stacks that were seen, by number.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    placed: Vec<Option<PlacedStack>>,
    calls: Calls,
    /// Names by place; `None` while they are not known yet.
    names: HashMap<(ModuleId, u64), Option<Resolved>>,
    /// Places that were not asked for yet.
    unasked: BTreeMap<ModuleId, Vec<u64>>,
    /// What was asked for: modules with their offsets, as the answers will come.
    asked: Option<(Vec<Places>, Pending)>,
}

impl Stacks {
    /// Takes in the frames of a stack, as the kernel side sends them. Returns false if an address lies in nothing that
    /// the layout knows.
    pub(crate) fn add(&mut self, number: u32, stack: &Walked<'_>, layout: &Layout, code: Code<'_>) -> bool {
        let mut frames = placed(stack.frames, layout);
        let known = frames.iter().all(|frame| frame.place != Place::Unmapped);
        let end = self.cut(&mut frames, stack.guessed, layout, code).unwrap_or(stack.end);
        for frame in &frames {
            let Place::File(module, offset) = frame.place else { continue };
            self.names.entry((module, offset)).or_insert_with(|| {
                self.unasked.entry(module).or_default().push(offset);
                None
            });
        }
        let index = number as usize;
        if self.placed.len() <= index {
            self.placed.resize(index + 1, None);
        }
        self.placed[index] = Some(PlacedStack { space: stack.space, frames, end });
        known
    }

    /// Takes away what was found behind a frame that no call leads to, and says why the stack ends there. Such a frame
    /// itself has no caller. Where frames were guessed, one that lies in nothing is none.
    fn cut(
        &mut self,
        frames: &mut Vec<PlacedFrame>,
        guessed: bool,
        layout: &Layout,
        code: Code<'_>,
    ) -> Option<u8> {
        let index = frames.iter().position(|frame| match frame.place {
            Place::File(module, offset) => {
                frame.back == 1 && !self.calls.leads_to(frame.address, module, offset + 1, code)
            }
            Place::Unmapped => guessed,
            Place::Anonymous => false,
        })?;
        if index > 0 && frames.get(index).is_some_and(|frame| frame.place == Place::Unmapped) {
            frames.truncate(index);
            return Some(End::NO_TABLE as u8);
        }
        let last = index + 1 == frames.len();
        frames.truncate(index + 1);
        if let Some(frame) = frames.last_mut() {
            // Where the thread goes on, not behind a call.
            frame.back = 0;
            frame.place = layout.place(frame.address);
        }
        (!last).then_some(NOT_CALLED)
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

    /// A stack as it stands in the report. Its names must have been resolved. Its callers are unknown for a reason that is
    /// empty if it was walked by frame pointers, which do not tell.
    pub(crate) fn report(
        &self,
        number: u32,
        pid: u32,
        modules: &Modules,
        frames: &mut Frames,
    ) -> Option<Stack> {
        let stack = self.get(number)?;
        let frame = |frame: &PlacedFrame| frames.intern(self.frame(*frame, modules));
        let words = || match stack.end {
            NOT_CALLED => NOT_CALLED_WORDS,
            end => End::WORDS.get(usize::from(end)).copied().unwrap_or_default(),
        };
        let incomplete = (u64::from(stack.end) != End::ROOT).then(|| words().to_owned());
        Some(Stack { pid, frames: stack.frames.iter().map(frame).collect(), incomplete })
    }

    fn frame(&self, placed: PlacedFrame, modules: &Modules) -> Frame {
        let mut frame = Frame {
            address: placed.address,
            module: None,
            build_id: None,
            file_offset: None,
            functions: Vec::new(),
            unresolved: None,
        };
        match placed.place {
            Place::File(module, offset) => {
                if let Some(held) = modules.get(module) {
                    frame.module = Some(held.name.clone());
                    frame.build_id.clone_from(&held.build_id);
                }
                frame.file_offset = Some(offset + placed.back);
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

/// Where the frames of a stack are. A handler returns to the first instruction of the signal trampoline, which did not
/// call it: its frame is at that instruction, like the interrupted one behind it.
fn placed(frames: &[u64], layout: &Layout) -> Vec<PlacedFrame> {
    let behind = frames.iter().skip(1).map(|frame| unmarked(*frame).1).chain([false]);
    let place = |(frame, before_interrupted): (&u64, bool)| {
        let (address, interrupted) = unmarked(*frame);
        let back = u64::from(!interrupted && !before_interrupted);
        PlacedFrame { address, back, place: layout.place(address.saturating_sub(back)) }
    };
    frames.iter().zip(behind).map(place).collect()
}

#[cfg(test)]
mod tests {
    use profiler_common::unwind::INTERRUPTED;

    use super::*;

    #[inline(never)]
    fn seen_early() {}

    #[inline(never)]
    fn seen_late() {}

    /// Adds a stack of one frame, in this function.
    fn add(stacks: &mut Stacks, number: u32, at: fn(), layout: &Layout, modules: &Modules) -> bool {
        let stack = Walked { space: 0, frames: &[at as usize as u64 | INTERRUPTED], guessed: false, end: 0 };
        stacks.add(number, &stack, layout, Code { pid: std::process::id(), modules })
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
        assert!(add(&mut stacks, 1, seen_early, &layout, &modules));
        assert!(name(&stacks, 1, &modules).contains("not looked up"));
        stacks.look_up(&modules, &worker);
        assert!(add(&mut stacks, 2, seen_late, &layout, &modules));
        // Whether the first answer is there by now or not, the second must not get lost behind it.
        stacks.look_up(&modules, &worker);
        stacks.finish_look_up(&modules, &worker);
        assert!(name(&stacks, 1, &modules).contains("seen_"), "{}", name(&stacks, 1, &modules));
        assert!(name(&stacks, 2, &modules).contains("seen_"), "{}", name(&stacks, 2, &modules));
    }
    #[test]
    fn a_stack_ends_where_nothing_calls() {
        let mut modules = Modules::default();
        let layout = Layout::read(std::process::id(), &mut modules).unwrap();
        let mut stacks = Stacks::default();
        let begin = seen_early as fn() as usize as u64;
        let code = Code { pid: std::process::id(), modules: &modules };
        let stack = Walked { space: 0, frames: &[begin, 0x1234, 0x5678], guessed: false, end: 0 };
        assert!(!stacks.add(1, &stack, &layout, code), "what lies in nothing is to be looked for again");
        let guessed = [begin | INTERRUPTED, 0x1234, 0x5678];
        stacks.add(2, &Walked { frames: &guessed, guessed: true, ..stack }, &layout, code);
        let worker = Worker::start().unwrap();
        stacks.finish_look_up(&modules, &worker);
        assert!(name(&stacks, 1, &modules).contains("seen_early"), "{}", name(&stacks, 1, &modules));
        let found = stacks.report(1, 1, &modules, &mut Frames::default()).unwrap();
        assert_eq!((found.frames.len(), found.incomplete.as_deref()), (1, Some(NOT_CALLED_WORDS)));
        let found = stacks.report(2, 1, &modules, &mut Frames::default()).unwrap();
        let words = End::WORDS[End::NO_TABLE as usize];
        assert_eq!((found.frames.len(), found.incomplete.as_deref()), (1, Some(words)));
    }
}

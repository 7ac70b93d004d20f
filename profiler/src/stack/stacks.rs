//! The frames of each stack, resolved to files as soon as they arrive: later the file may be unmapped, or the process
//! gone. Their names are requested then, too.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use profiler_common::{record::ENDED_SOMEHOW, unwind::walk::End};

use super::{
    calls::{Calls, Code, PlacedFrame, place},
    made::{MadeCode, Maker, Scripts},
    names::Names,
    walks::{cut_off, has_place},
};
use crate::{
    report::{Frame, Frames, Stack},
    symbolize::Resolved,
    target::modules::{Layout, ModuleId, Modules, Place},
    text::Text,
};

/// The function of CPython whose frames run Python functions.
const CPYTHON_EVALUATOR: &[u8] = b"_PyEval_EvalFrameDefault";

/// The interpreter of V8, whose frames run functions that were not compiled.
const V8_INTERPRETER: &[u8] = b"Builtins_InterpreterEntryTrampoline";

/// A call stack, innermost frame first.
#[derive(Clone, Debug)]
pub(crate) struct PlacedStack {
    /// Address space that it belongs to.
    pub(crate) space: u16,
    frames: Vec<PlacedFrame>,
    /// How the walk ended: one of `profiler_common::unwind::walk::End`, or `ENDED_SOMEHOW`.
    end: u8,
    /// Whether some frames were found by their frame pointers alone.
    guessed: bool,
}

/// A walk as the kernel side reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// The frames, innermost first, in the form that `unmarked` reads.
    pub(crate) addresses: &'a [u64],
    /// See [`PlacedStack`].
    pub(crate) end: u8,
    /// See [`PlacedStack`].
    pub(crate) guessed: bool,
}

/// The statistics of one stack's walk.
#[derive(Clone, Debug)]
pub(crate) struct Walked<'a> {
    /// Address space.
    pub(crate) space: u16,
    /// Whether some frames were found by their frame pointers alone.
    pub(crate) guessed: bool,
    /// Number of frames.
    pub(crate) frames: u64,
    /// The frames without a name: the file of each, and the reason.
    pub(crate) unnamed: Vec<(Option<&'a Text>, &'a str)>,
    /// Number of frames in code made at run time, and of those without a name.
    pub(crate) made: (u64, u64),
    /// Number of frames of V8's interpreter.
    pub(crate) interpreted: u64,
    /// Number of frames of CPython's.
    pub(crate) evaluated: u64,
    /// Whether V8 may have inlined JavaScript functions into it.
    pub(crate) hides_scripts: bool,
    /// Why the callers of the outermost frame are unknown, if they are.
    pub(crate) cut: Option<String>,
    /// The file in which the walk was cut, if the reason has a place; `Some(None)`: code without a file.
    pub(crate) ended_in: Option<Option<&'a Text>>,
}

/// All stacks that were seen, by number.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    placed: Vec<Option<PlacedStack>>,
    calls: Calls,
    /// Where several files were mapped, one after the other, by address space.
    reused: Vec<(u16, Range<u64>)>,
    made: MadeCode,
    /// Files that are not mapped any more, by address space.
    unloaded: HashMap<u16, BTreeSet<ModuleId>>,
    /// The names of their places.
    pub(crate) names: Names,
}

impl Stacks {
    /// Adds the frames of a stack. Returns false if an address is in nothing that the layout knows: the layout may be
    /// old.
    pub(crate) fn add(
        &mut self,
        number: u32,
        space: u16,
        walk: Walk<'_>,
        layout: &Layout,
        code: Code<'_>,
    ) -> bool {
        let mut frames = place(walk.addresses, layout);
        let known = frames.iter().all(|frame| frame.place != Place::Unmapped);
        // It may be in a library that was unloaded before the stack arrived.
        for frame in frames.iter_mut().filter(|frame| frame.place == Place::Unmapped) {
            frame.place = code.history.place(frame.code()).unwrap_or(Place::Unmapped);
        }
        for (_, reused) in self.reused.iter().filter(|(of, _)| *of == space) {
            make_ambiguous(&mut frames, reused);
        }
        let end = self.calls.cut(&mut frames, walk.guessed, layout, code).unwrap_or(walk.end);
        for frame in &frames {
            self.names.want(space, frame.code(), frame.place);
            if frame.place == Place::Made {
                self.made.see(space, frame.code(), layout);
            }
        }
        let index = number as usize;
        if self.placed.len() <= index {
            self.placed.resize(index + 1, None);
        }
        self.placed[index] = Some(PlacedStack { space, frames, end, guessed: walk.guessed });
        known
    }

    /// Records which runtime makes code in an address space.
    pub(crate) fn learn_maker(&mut self, space: u16, maker: Maker) {
        self.made.learn(space, maker);
    }

    /// Records which files are no longer mapped in an address space.
    pub(crate) fn learn_unloaded(&mut self, space: u16, unloaded: BTreeSet<ModuleId>) {
        self.unloaded.insert(space, unloaded);
    }

    /// Records that several files were mapped at these addresses, one after the other. A stack is identified by its
    /// addresses, which do not say through which of the files it leads.
    pub(crate) fn mark_reused(&mut self, space: u16, reused: &mut Vec<Range<u64>>) {
        for reused in reused.drain(..) {
            if self.reused.contains(&(space, reused.clone())) {
                continue;
            }
            for stack in self.placed.iter_mut().flatten().filter(|stack| stack.space == space) {
                make_ambiguous(&mut stack.frames, &reused);
            }
            self.reused.push((space, reused));
        }
    }

    /// One more than the highest number.
    pub(crate) fn len(&self) -> usize {
        self.placed.len()
    }

    /// A stack by number.
    pub(crate) fn get(&self, number: u32) -> Option<&PlacedStack> {
        self.placed.get(number as usize)?.as_ref()
    }

    /// A stack in the form of a report. Frames whose names were not looked up yet say so.
    pub(crate) fn report(
        &self,
        number: u32,
        pid: u32,
        modules: &Modules,
        frames: &mut Frames,
    ) -> Option<Stack> {
        let stack = self.get(number)?;
        let frame = |of: &PlacedFrame| frames.intern(self.frame(stack.space, *of, modules));
        let frames = self.believed(stack).iter().map(frame).collect();
        Some(Stack { pid, frames, incomplete: self.cut(stack, modules), ..Stack::default() })
    }

    /// The statistics of a stack's walk, whose names must have been resolved; `None` if its frames are unknown.
    pub(crate) fn walked<'a>(&'a self, number: u32, modules: &'a Modules) -> Option<Walked<'a>> {
        let stack = self.get(number)?;
        let cut = self.cut(stack, modules);
        let frames = self.believed(stack);
        let is_shortened = frames.len() < stack.frames.len();
        let has_place = is_shortened || (cut.is_some() && has_place(stack.end, frames.len()));
        let mut walked = Walked {
            space: stack.space,
            guessed: stack.guessed || stack.end == ENDED_SOMEHOW,
            frames: frames.len() as u64,
            unnamed: Vec::new(),
            made: (0, 0),
            interpreted: 0,
            evaluated: 0,
            hides_scripts: false,
            ended_in: frames
                .last()
                .filter(|frame| has_place && matches!(frame.place, Place::File(..) | Place::Made))
                .map(|frame| module(frame.place, modules)),
            cut,
        };
        let mut scripts = Scripts::default();
        for frame in frames {
            let place = frame.place;
            let resolved = self.names.of(stack.space, frame.code(), place);
            let is_made = u64::from(place == Place::Made);
            walked.made.0 += is_made;
            match resolved.and_then(|resolved| resolved.functions.last()) {
                Some(function) => {
                    walked.interpreted += u64::from(function.name.raw() == V8_INTERPRETER);
                    walked.evaluated += u64::from(function.name.raw() == CPYTHON_EVALUATOR);
                    if is_made > 0 {
                        scripts.add(&function.name);
                    }
                }
                None => {
                    walked.made.1 += is_made;
                    walked.unnamed.push((module(place, modules), unresolved(resolved, place)));
                }
            }
        }
        walked.hides_scripts = scripts.hide();
        Some(walked)
    }

    /// The frames of a stack that can be trusted: see [`MadeCode::believed`].
    fn believed<'s>(&self, stack: &'s PlacedStack) -> &'s [PlacedFrame] {
        let name = |frame: &PlacedFrame| {
            let resolved = self.names.of(stack.space, frame.code(), frame.place)?;
            resolved.functions.last().map(|function| &function.name)
        };
        let frames = stack.frames.iter().map(|frame| (frame.place == Place::Made, name(frame)));
        stack.frames.get(..self.made.believed(stack.space, frames)).unwrap_or(&stack.frames)
    }

    /// Why the callers of the outermost frame are unknown, if they are.
    fn cut(&self, stack: &PlacedStack, modules: &Modules) -> Option<String> {
        let frame = |of: &PlacedFrame| self.frame(stack.space, *of, modules);
        if self.believed(stack).len() < stack.frames.len() {
            return Some(self.made.why(stack.space).to_owned());
        }
        // A frame pointer of 0 marks the outermost frame, but no thread begins in code made at run time.
        let begins_nowhere = u64::from(stack.end) == End::ROOT
            && stack.frames.last().is_some_and(|frame| frame.place == Place::Made);
        if begins_nowhere {
            return cut_off(End::NO_TABLE as u8, stack.frames.len(), None);
        }
        // Only walks by frame pointers need a check of their names.
        let outermost = stack.frames.last().filter(|_| stack.end == ENDED_SOMEHOW).map(frame);
        cut_off(stack.end, stack.frames.len(), outermost.as_ref())
    }

    fn frame(&self, space: u16, of: PlacedFrame, modules: &Modules) -> Frame {
        let place = of.place;
        let resolved = self.names.of(space, of.code(), place);
        let functions = resolved.map_or_else(Vec::new, |resolved| resolved.functions.clone());
        let held = match place {
            Place::File(module, offset) => modules.get(module).map(|held| (held, offset)),
            _ => None,
        };
        let unloaded = match place {
            Place::File(module, _) => {
                self.unloaded.get(&space).is_some_and(|unloaded| unloaded.contains(&module))
            }
            _ => false,
        };
        Frame {
            address: of.address,
            module: held.map(|(held, _)| held.name.clone()),
            build_id: held.and_then(|(held, _)| held.build_id.clone()),
            file_offset: held.map(|(_, offset)| offset + of.back),
            file_address: held.and_then(|(held, offset)| held.address(offset)),
            function_address: resolved.and_then(|resolved| resolved.start),
            unloaded,
            made: if place == Place::Made { self.made.report(space, of.code()) } else { None },
            unresolved: functions.is_empty().then(|| unresolved(resolved, place).to_owned()),
            functions,
        }
    }
}

/// Marks the frames at these addresses as ambiguous.
fn make_ambiguous(frames: &mut [PlacedFrame], reused: &Range<u64>) {
    for frame in frames.iter_mut().filter(|frame| reused.contains(&frame.code())) {
        frame.place = Place::Shared;
    }
}

/// The file that a place is in, as the target sees it.
fn module(place: Place, modules: &Modules) -> Option<&Text> {
    match place {
        Place::File(module, _) => modules.get(module).map(|held| &held.name),
        Place::Made | Place::Kernel | Place::Unmapped | Place::Shared => None,
    }
}

/// Why a place has no name.
fn unresolved(resolved: Option<&Resolved>, place: Place) -> &str {
    match place {
        Place::File(..) | Place::Made => {
            resolved.and_then(|resolved| resolved.unresolved.as_deref()).unwrap_or("not looked up")
        }
        Place::Kernel => "code of the kernel (vdso)",
        Place::Unmapped => "nothing was mapped there when we looked",
        Place::Shared => "several libraries were mapped there, one after the other",
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::unwind::INTERRUPTED;

    use super::{super::Nowhere, *};
    use crate::{symbolize::Worker, target::history::History};

    #[inline(never)]
    fn seen_early() {}

    #[inline(never)]
    fn seen_late() {}

    /// Nine bytes of code that are not a call. Before a function of the compiler there may be a call of its neighbour.
    #[unsafe(naked)]
    extern "C" fn without_calls() {
        std::arch::naked_asm!(".skip 8, 0x90", "ret")
    }

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
    fn names_are_looked_up_early_and_none_is_missing_at_the_end() {
        let mut modules = Modules::default();
        let layout = Layout::read(std::process::id(), &mut modules).unwrap();
        let worker = Worker::start(crate::symbolize::Settings::default()).unwrap();
        let mut stacks = Stacks::default();
        let history = History::default();
        let code = Code { pid: std::process::id(), modules: &modules, history: &history };
        assert!(stacks.add(1, 0, walk(&[seen_early as fn() as usize as u64 | INTERRUPTED]), &layout, code));
        assert!(name(&stacks, 1, &modules).contains("not looked up"));
        stacks.names.look_up(&modules, &Nowhere, &worker);
        assert!(stacks.add(2, 0, walk(&[seen_late as fn() as usize as u64 | INTERRUPTED]), &layout, code));
        // Whether the first answer has arrived or not, the second must not be lost.
        stacks.names.look_up(&modules, &Nowhere, &worker);
        stacks.names.finish(&modules, &Nowhere, &worker);
        assert!(name(&stacks, 1, &modules).contains("seen_"), "{}", name(&stacks, 1, &modules));
        assert!(name(&stacks, 2, &modules).contains("seen_"), "{}", name(&stacks, 2, &modules));
    }

    #[test]
    fn a_library_unloaded_before_its_stack_arrived_keeps_its_names() {
        let mut modules = Modules::default();
        let layout = Layout::read(std::process::id(), &mut modules).unwrap();
        let worker = Worker::start(crate::symbolize::Settings::default()).unwrap();
        let mut history = History::default();
        history.add(&layout);
        let code = Code { pid: std::process::id(), modules: &modules, history: &history };
        let mut stacks = Stacks::default();
        let now = Layout::default();
        let address = seen_early as fn() as usize as u64;
        assert!(!stacks.add(1, 0, walk(&[address | INTERRUPTED]), &now, code), "the layout may be old");
        stacks.names.finish(&modules, &Nowhere, &worker);
        stacks.learn_unloaded(0, history.unloaded(&now));
        assert!(name(&stacks, 1, &modules).contains("seen_early"), "{}", name(&stacks, 1, &modules));
        let mut frames = Frames::default();
        stacks.report(1, 1, &modules, &mut frames).unwrap();
        assert!(frames.into_vec()[0].unloaded);
    }

    #[test]
    fn a_stack_ends_where_nothing_calls() {
        let mut modules = Modules::default();
        let layout = Layout::read(std::process::id(), &mut modules).unwrap();
        let worker = Worker::start(crate::symbolize::Settings::default()).unwrap();
        let mut stacks = Stacks::default();
        let history = History::default();
        let code = Code { pid: std::process::id(), modules: &modules, history: &history };
        let last = without_calls as extern "C" fn() as usize as u64 + 8;
        let (planted, guessed) = ([last, 0x1234, 0x5678], [last | INTERRUPTED, 0x1234, 0x5678]);
        assert!(
            !stacks.add(1, 0, walk(&planted), &layout, code),
            "an address outside of all mappings is looked up again"
        );
        stacks.add(2, 0, Walk { guessed: true, ..walk(&guessed) }, &layout, code);
        stacks.names.finish(&modules, &Nowhere, &worker);
        assert!(name(&stacks, 1, &modules).contains("without_calls"), "{}", name(&stacks, 1, &modules));
        for (number, end) in [(1, End::NOT_CALLED), (2, End::NO_TABLE)] {
            let found = stacks.report(number, 1, &modules, &mut Frames::default()).unwrap();
            let words = End::WORDS[end as usize];
            assert_eq!((found.frames.len(), found.incomplete.as_deref()), (1, Some(words)));
        }
    }
}

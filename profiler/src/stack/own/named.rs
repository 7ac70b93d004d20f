//! The stacks of all rows with the functions that name them.

use std::collections::HashMap;

use super::{
    Own, Wrappers, own, path,
    wrappers::{Path, says_so, wrappers},
};
use crate::{
    naming::{self, Call, Catalog, Kind},
    report::{Frame, Frames, Stack},
    text::Text,
};

/// The evidence that a stack gives about which of its functions are wrappers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Its number.
    pub(crate) stack: u32,
    /// How many things came by it: for an allocator, blocks.
    pub(crate) things: u64,
    /// The sum of their sizes; 0 if things have no size.
    pub(crate) size_sum: u64,
    /// How many of them were given back.
    pub(crate) gone: u64,
}

/// All stacks, by number, with their names.
#[derive(Debug, Default)]
pub(crate) struct Named {
    frames: Vec<Frame>,
    stacks: HashMap<u32, Stack>,
    owns: HashMap<u32, Own>,
    paths: HashMap<u32, Vec<Own>>,
}

impl Named {
    /// Names the stacks of `weights`; `stack_of` returns a stack in the form of a report. All names must have been
    /// looked up: which functions are wrappers follows from all stacks together.
    pub(crate) fn new(weights: &[Weight], stack_of: impl Fn(u32, &mut Frames) -> Option<Stack>) -> Named {
        let mut frames = Frames::default();
        let stacks: HashMap<u32, Stack> =
            weights.iter().filter_map(|of| Some((of.stack, stack_of(of.stack, &mut frames)?))).collect();
        let frames = frames.into_vec();
        let catalog = Catalog::new(&frames);
        let calls: HashMap<u32, Vec<Call<'_>>> =
            stacks.iter().map(|(number, stack)| (*number, catalog.calls(stack))).collect();
        let wrappers = by_data(weights, &calls);
        let owns =
            calls.iter().filter_map(|(number, calls)| Some((*number, own(calls, &wrappers)?))).collect();
        let paths = calls.iter().map(|(number, calls)| (*number, path(calls, &wrappers))).collect();
        Named { owns, paths, stacks, frames }
    }

    /// The function that names a stack; `None` if its frames are unknown.
    pub(crate) fn own(&self, stack: u32) -> Option<&Own> {
        self.owns.get(&stack)
    }

    /// The program's own functions in a stack, the innermost first, without duplicates.
    pub(crate) fn path(&self, stack: u32) -> &[Own] {
        self.paths.get(&stack).map_or(&[], |path| path)
    }

    /// The stacks with these numbers for a report, `None` where the frames are unknown; and their frames.
    pub(crate) fn report(&self, numbers: impl Iterator<Item = u32>) -> (Vec<Option<Stack>>, Vec<Frame>) {
        let mut frames = Frames::default();
        let stack = |number: u32| {
            let stack = self.stacks.get(&number)?;
            let own = stack.frames.iter().filter_map(|index| self.frames.get(*index));
            Some(Stack { frames: own.map(|frame| frames.intern(frame.clone())).collect(), ..stack.clone() })
        };
        let stacks = numbers.map(stack).collect();
        (stacks, frames.into_vec())
    }
}

/// The wrappers that follow from the data.
fn by_data(weights: &[Weight], calls: &HashMap<u32, Vec<Call<'_>>>) -> Wrappers {
    let mut numbers: HashMap<(Option<&Text>, &Text), u32> = HashMap::new();
    let mut names = Vec::new();
    let mut paths = Vec::with_capacity(weights.len());
    for weight in weights {
        let Some(calls) = calls.get(&weight.stack) else { continue };
        let own = calls.iter().filter(|call| call.kind == Kind::Own);
        let functions = own.map(|call| {
            let name = (call.frame.module.as_ref(), call.identity);
            *numbers.entry(name).or_insert_with(|| {
                names.push(name);
                names.len() as u32 - 1
            })
        });
        paths.push(Path {
            functions: functions.collect(),
            blocks: weight.things,
            bytes: weight.size_sum,
            freed: weight.gone,
        });
    }
    let of = |number: u32| names.get(number as usize);
    let says_so: Vec<bool> = names.iter().map(|(_, name)| says_so(&naming::bare(&name.terminal()))).collect();
    let found = wrappers(&paths, |number| says_so.get(number as usize).is_some_and(|says_so| *says_so));
    found.into_iter().filter_map(of).map(|(module, name)| (module.cloned(), (*name).clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Function;

    /// A program of which every allocation goes through `raw_alloc` and `engine_alloc`, with its stacks.
    fn program() -> (Vec<Weight>, Vec<Vec<&'static str>>) {
        let row = |stack, allocs, size, live| Weight {
            stack,
            things: allocs,
            size_sum: allocs * size,
            gone: allocs - live,
        };
        let rows =
            vec![row(0, 2_000, 96, 2_000), row(1, 2_000, 216, 400), row(2, 2_000, 1_016, 0), row(9, 1, 8, 1)];
        let callers = ["chat_push", "session_open", "path_find"];
        let stacks = callers.into_iter().map(|caller| vec!["raw_alloc", "engine_alloc", caller, "main"]);
        (rows, stacks.collect())
    }

    fn stack(number: u32, names: &[Vec<&str>], frames: &mut Frames) -> Option<Stack> {
        let functions = names.get(number as usize)?.iter().map(|name| Function {
            name: Text::from(*name),
            file: None,
            line: None,
            inlined: false,
        });
        let frame = |(depth, function): (usize, Function)| Frame {
            address: u64::from(number) * 100 + depth as u64,
            module: Some(Text::from("/srv/wrapper")),
            build_id: None,
            file_offset: None,
            file_address: None,
            function_address: None,
            unloaded: false,
            made: None,
            functions: vec![function],
            unresolved: None,
        };
        let frames = functions.enumerate().map(|frame_of| frames.intern(frame(frame_of))).collect();
        Some(Stack { pid: 1, frames, ..Stack::default() })
    }

    /// The wrapper `+0x1000` calls the allocator in three places. Its callers are `+0x2000`, `+0x2100` and so on.
    fn nameless(address: u64, function_address: Option<u64>) -> Frame {
        Frame {
            address: 0x5500_0000_0000 + address,
            module: Some(Text::from("/srv/stripped")),
            build_id: None,
            file_offset: None,
            file_address: Some(address),
            function_address,
            unloaded: false,
            made: None,
            functions: vec![],
            unresolved: None,
        }
    }

    #[test]
    fn an_unnamed_wrapper_is_one_function_wherever_it_calls_the_allocator() {
        let (rows, _) = program();
        let labels = |known: bool| {
            let named = Named::new(&rows, |number, frames| {
                let number = u64::from(number);
                let start = |address| Some(address).filter(|_| known);
                let wrapper = nameless(0x1010 + number, start(0x1000));
                let caller = nameless(0x2010 + 0x100 * number, start(0x2000 + 0x100 * number));
                Some(Stack {
                    pid: 1,
                    frames: [wrapper, caller].map(|frame| frames.intern(frame)).to_vec(),
                    ..Stack::default()
                })
            });
            [0, 1, 2].map(|number| named.own(number).unwrap().label.terminal())
        };
        assert_eq!(labels(true), ["stripped+0x2010", "stripped+0x2110", "stripped+0x2210"]);
        // Without unwind information each place could be a function of its own.
        assert_eq!(labels(false), ["stripped+0x1010", "stripped+0x1011", "stripped+0x1012"]);
    }

    #[test]
    fn rows_of_a_wrapped_allocator_are_named_by_its_callers() {
        let (rows, names) = program();
        let named = Named::new(&rows, |number, frames| stack(number, &names, frames));
        let label = |number| named.own(number).map(|own| own.label.terminal());
        assert_eq!(
            [0, 1, 2].map(label),
            ["chat_push", "session_open", "path_find"].map(|name| Some(name.to_owned()))
        );
        let skipped: Vec<String> = named.own(0).unwrap().skipped.iter().map(Text::terminal).collect();
        assert_eq!(skipped, ["raw_alloc", "engine_alloc"]);
        assert_eq!(named.own(9), None);
        let (stacks, frames) = named.report([9, 2].into_iter());
        assert_eq!(
            (stacks[0].is_none(), stacks[1].as_ref().unwrap().frames.len(), frames.len()),
            (true, 4, 4)
        );
    }
}

//! Code that targets make at run time: by which runtime, in which memory, and how far a walk through it can be trusted.

use std::{collections::HashMap, ops::Range};

use profiler_common::unwind::walk::End;

use crate::{
    elf::runtime::{FramePointers, Runtime},
    naming,
    report::Made,
    target::modules::Layout,
    text::Text,
};

/// Why the callers of compiled code are unknown, if other code of the runtime keeps a frame pointer.
const NO_POINTER: &str = "compiled code that keeps no frame pointer";
/// Functions that V8 has fully optimised, and into which it has inlined others.
const V8_OPTIMIZED: &[u8] = b"JS:*";
/// Functions of JavaScript of node itself.
const OF_NODE: &str = " node:";

/// What makes code in an address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maker {
    /// The runtime; `None` if none is known, or several.
    pub(crate) runtime: Option<Runtime>,
    /// Which of its code keeps a frame pointer.
    pub(crate) pointers: FramePointers,
}

/// The code that was made in all address spaces.
#[derive(Debug, Default)]
pub(crate) struct MadeCode(HashMap<u16, OfSpace>);

#[derive(Debug, Default)]
struct OfSpace {
    maker: Maker,
    /// Its mappings, each as it was when code in it was first seen.
    regions: Vec<Range<u64>>,
}

impl MadeCode {
    /// Records where a piece of code is.
    pub(crate) fn see(&mut self, space: u16, address: u64, layout: &Layout) {
        let regions = &mut self.0.entry(space).or_default().regions;
        if !regions.iter().any(|region| region.contains(&address)) {
            regions.extend(layout.mapping_around(address));
        }
    }

    /// Records by which runtime it was made.
    pub(crate) fn learn(&mut self, space: u16, maker: Maker) {
        self.0.entry(space).or_default().maker = maker;
    }

    /// The name of a piece of code in a report.
    pub(crate) fn report(&self, space: u16, address: u64) -> Option<Made> {
        let OfSpace { maker, regions } = self.0.get(&space)?;
        let region = regions.iter().find(|region| region.contains(&address))?;
        let by = maker.runtime.map(|runtime| runtime.short_name().to_owned());
        Some(Made { by, offset: address - region.start })
    }

    /// How many frames of a walk can be trusted, the innermost first. After code without frame pointer, the walk may
    /// have skipped callers. For each frame: whether it was made at run time, and its name.
    pub(crate) fn believed<'n>(
        &self,
        space: u16,
        frames: impl ExactSizeIterator<Item = (bool, Option<&'n Text>)>,
    ) -> usize {
        let all = frames.len();
        let pointers = self.pointers(space);
        if pointers == FramePointers::All {
            return all;
        }
        let mut inside = false;
        for (index, (made, name)) in frames.enumerate() {
            let entered = made && !std::mem::replace(&mut inside, made);
            if made && !(pointers == FramePointers::Few && keeps_pointer(name, entered)) {
                return index + 1;
            }
        }
        all
    }

    /// Why nothing after such a frame is trusted.
    pub(crate) fn why(&self, space: u16) -> &'static str {
        match self.pointers(space) {
            FramePointers::Few => NO_POINTER,
            FramePointers::All | FramePointers::None => End::WORDS[End::NO_TABLE as usize],
        }
    }

    fn pointers(&self, space: u16) -> FramePointers {
        self.0.get(&space).map_or(FramePointers::All, |of| of.maker.pointers)
    }
}

/// Whether a function that HotSpot has made keeps a frame pointer. `entered`: it has called other code. Native wrappers
/// and most stubs keep one; the stubs of the second compiler, whose names begin with `_`, do not.
fn keeps_pointer(name: Option<&Text>, entered: bool) -> bool {
    match name {
        Some(name) => naming::is_runtime_loop(&name.terminal()) || (entered && !name.raw().starts_with(b"_")),
        None => entered,
    }
}

/// What the JavaScript functions of a stack show about the program's own functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scripts {
    own: bool,
    optimized: bool,
}

impl Scripts {
    /// Adds the name of a function.
    pub(crate) fn add(&mut self, name: &Text) {
        let text = name.terminal();
        if text.starts_with("JS:") {
            self.own |= !text.contains(OF_NODE);
            self.optimized |= name.raw().starts_with(V8_OPTIMIZED);
        }
    }

    /// Whether functions of the program may be missing, because V8 has inlined them into functions of node that it
    /// optimised.
    pub(crate) fn hide(self) -> bool {
        self.optimized && !self.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: u16 = 3;

    /// How many frames are trusted. `+` marks code made at run time; alone it is such code without a name.
    fn believed(pointers: FramePointers, frames: &[&str]) -> usize {
        let frame = |written: &&str| match written.strip_prefix('+') {
            Some("") => (true, None),
            Some(name) => (true, Some(Text::from(name))),
            None => (false, Some(Text::from(*written))),
        };
        let frames: Vec<(bool, Option<Text>)> = frames.iter().map(frame).collect();
        let mut made = MadeCode::default();
        made.learn(SPACE, Maker { runtime: None, pointers });
        made.believed(SPACE, frames.iter().map(|(made, name)| (*made, name.as_ref())))
    }

    #[test]
    fn callers_of_compiled_java_are_not_believed() {
        let few = |frames: &[&str]| believed(FramePointers::Few, frames);
        // A native method, the compiled method that called it, and a frame that only seems to have called that.
        let compiled =
            ["Unsafe_AllocateMemory0", "+allocateMemory0", "+allocateMemory", "+Interpreter", "start_thread"];
        assert_eq!(few(&compiled), 3);
        assert_eq!(believed(FramePointers::All, &compiled), 5);
        // The interpreter keeps a frame pointer.
        let interpreted = [
            "Unsafe_AllocateMemory0",
            "+allocateMemory0",
            "+Interpreter",
            "+StubRoutines (1)",
            "call_helper",
            "main",
        ];
        assert_eq!(few(&interpreted), 6);
        assert_eq!(few(&["os::malloc", "+_new_array_Java", "+Chat.keep", "main"]), 2);
        // Without names it is unknown which of them is compiled.
        assert_eq!(few(&["Unsafe_AllocateMemory0", "+", "+", "+", "start_thread"]), 3);
        assert_eq!(few(&["main"]), 1);
        assert_eq!(few(&[]), 0);
    }

    #[test]
    fn luajit_keeps_no_pointer_anywhere() {
        let none = |frames: &[&str]| believed(FramePointers::None, frames);
        assert_eq!(none(&["+", "lj_BC_FUNCC", "main"]), 1);
        assert_eq!(none(&["lj_BC_FUNCC", "lua_pcall", "main"]), 3);
        assert_eq!(MadeCode::default().believed(SPACE, [(true, None), (false, None)].into_iter()), 2);
    }

    #[test]
    fn code_is_placed_in_its_mapping_as_first_seen() {
        let mut made = MadeCode::default();
        assert_eq!(made.report(SPACE, 0x1234), None);
        made.0.entry(SPACE).or_default().regions.push(0x1000..0x3000);
        made.learn(SPACE, Maker { runtime: Some(Runtime::LuaJit), pointers: FramePointers::None });
        let placed = made.report(SPACE, 0x1234).unwrap();
        assert_eq!((placed.by.as_deref(), placed.offset), (Some("LuaJIT"), 0x234));
        assert_eq!(made.report(SPACE, 0x3000), None);
    }

    #[test]
    fn functions_that_v8_inlined_are_missing() {
        let hide = |names: &[&str]| {
            let mut scripts = Scripts::default();
            names.iter().for_each(|name| scripts.add(&Text::from(*name)));
            scripts.hide()
        };
        assert!(hide(&["JS:^alloc node:buffer:391:30", "JS:*listOnTimeout node:internal/timers:524:25"]));
        assert!(!hide(&["JS:*onMessage /srv/chat.js:3:19", "JS:*listOnTimeout node:internal/timers:524:25"]));
        assert!(!hide(&["JS:^listOnTimeout node:internal/timers:524:25"]));
        assert!(!hide(&["main"]));
    }
}

//! Call stacks. A report keeps each frame once, because stacks share most of their frames.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// A call stack, innermost frame first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stack {
    /// Identifies the stack in every run and on every machine: 16 hex digits, the XXH64 (seed 0) of the places of its frames. A place is
    /// the build id of the file, or its name if it has none, and the offset in it. Of code made at run time it is the runtime, and
    /// the function or, if that is unknown, the offset.
    #[serde(default)]
    pub id: String,
    /// Identifies the stack across builds: 16 hex digits, the XXH64 (seed 0) of the names of its functions.
    #[serde(default)]
    pub key: String,
    /// The pid of the process it belongs to.
    pub pid: u32,
    /// The frames: indices into [`Report::frames`](super::Report::frames).
    pub frames: Vec<usize>,
    /// Why the end of the stack was not reached; absent if it was.
    pub incomplete: Option<String>,
}

/// One frame: a code address, and the function or functions (inlined ones first) that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Frame {
    /// Address in the target: where the call returns to, or where a signal interrupted the thread.
    pub address: u64,
    /// File that was mapped there, as the target sees it.
    pub module: Option<Text>,
    /// Build id of that file, in hex.
    pub build_id: Option<String>,
    /// Offset of the address in that file.
    pub file_offset: Option<u64>,
    /// Address of the frame's instruction in the address space of the file, for `nm`, `addr2line` and gdb. For a call it is the
    /// address of the last byte of the call instruction, so that these tools find the line of the call. Absent without a
    /// file, and in reports of earlier versions.
    #[serde(default)]
    pub file_address: Option<u64>,
    /// Start of the frame's function, in the same address space. Only for functions without a name whose unwind information has
    /// their start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_address: Option<u64>,
    /// Whether the process had unmapped that file when its mappings were last read. Names and offsets still refer to the file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unloaded: bool,
    /// What is known about code that was made at run time; absent for all other code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// Functions, innermost inlined first. Empty if unresolved.
    pub functions: Vec<Function>,
    /// Why there is no function.
    pub unresolved: Option<String>,
}

/// Code that a process made at run time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Made {
    /// The runtime that made the code, such as `LuaJIT`. Absent if the process has no known runtime, or several.
    pub by: Option<String>,
    /// Offset in bytes from the start of the mapping that contained the code when it was first seen.
    pub offset: u64,
}

/// A function name with its place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Function {
    /// Demangled name.
    pub name: Text,
    /// Source file, where there is DWARF.
    pub file: Option<Text>,
    /// Line in that file.
    pub line: Option<u32>,
    /// Whether it was inlined into the next function of the list.
    pub inlined: bool,
}

/// Collects the frames of a report and keeps each once.
#[derive(Debug, Default)]
pub struct Frames {
    index: HashMap<Frame, usize>,
    frames: Vec<Frame>,
}

impl Frames {
    /// The index of a frame in [`Report::frames`](super::Report::frames); the frame is added if it is new.
    pub fn intern(&mut self, frame: Frame) -> usize {
        if let Some(&index) = self.index.get(&frame) {
            return index;
        }
        let index = self.frames.len();
        self.frames.push(frame.clone());
        self.index.insert(frame, index);
        index
    }

    /// The frames, in the order in which they were first seen.
    pub fn into_vec(self) -> Vec<Frame> {
        self.frames
    }
}

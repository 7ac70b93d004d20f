//! Call stacks. Frames are kept once per report, because stacks share most of them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// A call stack, innermost frame first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stack {
    /// The same for the same stack in every run and on every machine: 16 hex digits, the XXH64 (seed 0) of the places of its
    /// frames. A place is the build id, or else the name of the file, with the offset in it; of code that was made at run time, the
    /// runtime with the function, or else the offset.
    #[serde(default)]
    pub id: String,
    /// The same for the same functions in another build: 16 hex digits, the XXH64 (seed 0) of their names.
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
    /// Address of the frame's instruction as the file itself counts: what `nm`, `addr2line` and gdb take. Of a call it is
    /// the address of the call's last byte, so that they find the line of the call; absent without a file, and in reports
    /// of earlier versions.
    #[serde(default)]
    pub file_address: Option<u64>,
    /// Where the function begins that the frame is in, in the same terms; only of functions without a name, and if unwind
    /// information says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_address: Option<u64>,
    /// Whether the process no longer mapped that file when its mappings were last read. Names and offsets are those of the file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unloaded: bool,
    /// What is known of code that the process made at run time; absent of all other.
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
    /// The runtime that makes such code in this process, `LuaJIT`; absent if it has none that is known, or several.
    pub by: Option<String>,
    /// Bytes from the beginning of the memory that the code lies in, as it was when it was first seen.
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
    /// Line in it.
    pub line: Option<u32>,
    /// Whether it was inlined into the next one.
    pub inlined: bool,
}

/// Collects the frames of a report, each once.
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

//! Which frames of a call stack say something: what is the program's own code, and what only lies between it and the
//! allocator, or between it and the system.
//!
//! Pure functions over [`Frame`]s, so that a report that was read from a file is treated as one that was just made.

mod files;
mod known;
mod spelling;

use crate::{
    report::{Frame, Function, Stack},
    text::Text,
};

pub use spelling::{bare, spelled};

/// What a call in a stack is to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The program's own code, named or not.
    Own,
    /// A function that allocates for whoever calls it: an allocator, or a wrapper around one that many programs have.
    Wrapper,
    /// Code of others that the program uses: system libraries, crates, runtimes and interpreters.
    Library,
    /// The standard library of the language, and code that a macro wrote.
    Plumbing,
    /// Where a process, a thread or a runtime begins.
    Startup,
}

/// One call in a stack: a function, whether it was inlined or not, or a frame without a name.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Index of the frame in the report.
    pub index: usize,
    /// The frame.
    pub frame: &'a Frame,
    /// Index of the function in [`Frame::functions`]; `None` if the frame has no name.
    pub nth: Option<usize>,
}

impl<'a> Call<'a> {
    /// The function; `None` if the frame has no name.
    pub fn function(&self) -> Option<&'a Function> {
        self.frame.functions.get(self.nth?)
    }

    /// The name, or what stands for it: see [`spelled`] and [`place`].
    pub fn name(&self) -> Text {
        self.nth.and_then(|nth| spelled(self.frame, nth)).unwrap_or_else(|| place(self.frame))
    }

    /// Whether it is in a library that stands between any program and the system.
    pub fn is_of_standard_file(&self) -> bool {
        let from = self.frame.module.as_ref().map(|module| files::from(&module.terminal()));
        from == Some(files::From::Standard)
    }

    /// What it is to the reader.
    pub fn kind(&self) -> Kind {
        kind(self.frame, self.function())
    }
}

/// The calls of a stack, innermost first; inlined ones are calls too.
pub fn calls<'a>(stack: &Stack, frames: &'a [Frame]) -> Vec<Call<'a>> {
    let frames = stack.frames.iter().filter_map(|index| Some((*index, frames.get(*index)?)));
    let calls = frames.flat_map(|(index, frame)| {
        let functions = (0..frame.functions.len()).map(move |nth| Call { index, frame, nth: Some(nth) });
        let nameless = frame.functions.is_empty().then_some(Call { index, frame, nth: None });
        functions.chain(nameless)
    });
    calls.collect()
}

/// What a frame without a name is called: `server+0x1eae98`. The number is the address that `addr2line -e server`, `nm`
/// and gdb take. Code without a file has only its address in the target.
pub fn place(frame: &Frame) -> Text {
    let Some(module) = &frame.module else {
        return Text::from(format!("code at {:#x}", frame.address));
    };
    let offset = match (frame.file_address, frame.file_offset) {
        (Some(address), _) => format!("+{address:#x}"),
        // Of a report that an earlier version wrote.
        (None, Some(offset)) => format!("+{offset:#x}"),
        (None, None) => format!(" at {:#x}", frame.address),
    };
    Text::new([files::base(module.raw()), offset.as_bytes()].concat())
}

fn kind(frame: &Frame, function: Option<&Function>) -> Kind {
    let from = frame.module.as_ref().map(|module| files::from(&module.terminal()));
    let Some(function) = function else {
        return match from {
            None | Some(files::From::Program) => Kind::Own,
            Some(files::From::Standard) => Kind::Plumbing,
            Some(files::From::Library | files::From::Interpreter) => Kind::Library,
        };
    };
    let name = function.name.terminal();
    let bare = &bare(&name);
    let source = function.file.as_ref().map(|file| files::source(&file.terminal()));
    if known::is_startup(bare) || (from == Some(files::From::Interpreter) && *bare == "main") {
        Kind::Startup
    } else if known::is_wrapper(bare) {
        Kind::Wrapper
    } else if from == Some(files::From::Standard)
        || source == Some(files::Source::Standard)
        || known::is_standard(&name)
    {
        Kind::Plumbing
    } else if matches!(from, Some(files::From::Library | files::From::Interpreter))
        || source == Some(files::Source::Foreign)
        || (from.is_none() && known::is_of_runtime(&name))
    {
        Kind::Library
    } else {
        Kind::Own
    }
}

/// Whether a name begins as the paths of the crate do that a Rust program is named after.
pub fn is_of_main_crate(frame: &Frame, name: &str) -> bool {
    let Some(module) = &frame.module else { return false };
    let krate = files::name(&module.terminal()).replace('-', "_");
    let path = name.trim_start_matches(['<', '&']);
    path.strip_prefix(&krate).is_some_and(|rest| rest.starts_with("::"))
}

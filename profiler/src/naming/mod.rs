//! Which frames of a call stack matter to the reader: the program's own code, as opposed to what lies between it and
//! the allocator or the system.
//!
//! Pure functions over [`Frame`]s, so that a report from a file is treated like a new one.

mod files;
mod known;
mod spelling;

use crate::{
    report::{Frame, Function, Made, Stack},
    text::Text,
};

/// Added to the name of a function in a row for everything that the function and its callees allocate.
pub const AND_BELOW: &str = " and what it calls";
/// Separates the name in the label of a row from what distinguishes the row from others of this name.
pub const BESIDE: &str = "  ";

/// The name in a label, and what distinguishes it from other rows of this name.
pub(crate) fn apart(label: &Text) -> (&[u8], Option<&[u8]>) {
    let raw = label.raw();
    let beside = raw.windows(BESIDE.len()).position(|window| window == BESIDE.as_bytes());
    match beside.and_then(|at| raw.split_at_checked(at)) {
        Some((name, rest)) => (name, rest.get(BESIDE.len()..)),
        None => (raw, None),
    }
}

/// A label as a part of a sentence: `push (chat.c:7)`.
pub fn in_prose(label: &Text) -> Text {
    match apart(label) {
        (name, Some(beside)) => Text::new([name, b" (", beside, b")"].concat()),
        (_, None) => label.clone(),
    }
}

pub use known::is_runtime_loop;
pub use spelling::{bare, is_nameless, short, spelled};

/// What a call in a stack is to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The program's own code, named or not.
    Own,
    /// A function that allocates on behalf of its caller: an allocator, or a well-known wrapper around one.
    Wrapper,
    /// Other people's code that the program uses: system libraries, crates, libraries of runtimes.
    Library,
    /// Code of the interpreter that runs the program.
    Interpreter,
    /// The standard library of the language, and code that a macro generated.
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
    /// The function; `None` if the frame has no name.
    pub function: Option<&'a Function>,
    /// The name, or what is shown in its place: see [`spelled`] and [`place`].
    pub name: &'a Text,
    /// Identity of the function within its file: its name, or where it begins if it has no name and that is known. One
    /// function may make calls in several places.
    pub identity: &'a Text,
    /// What it is to the reader.
    pub kind: Kind,
    /// Whether it is in a library that lies between any program and the system.
    pub in_standard_file: bool,
}

impl Call<'_> {
    /// Whether it is other people's code, of which a run of several calls need not be shown in full. A wrapper in the
    /// program itself is not: it is part of how the program allocates.
    pub fn is_foreign(&self) -> bool {
        match self.kind {
            Kind::Own => false,
            Kind::Wrapper => self.in_standard_file,
            Kind::Library | Kind::Interpreter | Kind::Plumbing | Kind::Startup => true,
        }
    }
}

/// What is known of each call of each frame of a report. Stacks share most of their frames.
#[derive(Debug)]
pub struct Catalog<'a> {
    frames: &'a [Frame],
    known: Vec<Vec<Known>>,
}

/// What is known of a call.
#[derive(Debug)]
struct Known {
    name: Text,
    /// Where the function begins, if it has no name.
    begins: Option<Text>,
    kind: Kind,
    in_standard_file: bool,
}

impl<'a> Catalog<'a> {
    /// The catalog of these frames.
    pub fn new(frames: &'a [Frame]) -> Catalog<'a> {
        Catalog { frames, known: frames.iter().map(known).collect() }
    }

    /// The calls of a stack, innermost first; inlined ones are calls too.
    pub fn calls(&self, stack: &Stack) -> Vec<Call<'_>> {
        let frames = stack
            .frames
            .iter()
            .filter_map(|index| Some((*index, self.frames.get(*index)?, self.known.get(*index)?)));
        let calls = frames.flat_map(|(index, frame, known)| {
            known.iter().enumerate().map(move |(nth, Known { name, begins, kind, in_standard_file })| Call {
                index,
                frame,
                function: frame.functions.get(nth),
                name,
                identity: begins.as_ref().unwrap_or(name),
                kind: *kind,
                in_standard_file: *in_standard_file,
            })
        });
        calls.collect()
    }
}

fn known(frame: &Frame) -> Vec<Known> {
    let from = frame.module.as_ref().map(|module| files::from(&module.terminal()));
    let in_standard_file = from == Some(files::From::Standard);
    let of = |nth: usize| Known {
        name: spelled(frame, nth).unwrap_or_else(|| place(frame)),
        begins: begins(frame),
        kind: kind(from, frame.functions.get(nth)),
        in_standard_file,
    };
    // A frame without a name is a call too.
    (0..frame.functions.len().max(1)).map(of).collect()
}

/// What a frame without a name is called: `server+0x1eae98`. The number is the address that `addr2line -e server`, `nm`
/// and gdb take. Code that was made at run time is named by its runtime and its offset in the memory that it lies in,
/// `LuaJIT code+0xff76`; other code without a file only by its address in the target.
pub fn place(frame: &Frame) -> Text {
    let Some(module) = &frame.module else {
        return Text::from(match &frame.made {
            Some(Made { by, offset }) => format!("{} code+{offset:#x}", by.as_deref().unwrap_or("JIT")),
            None => format!("code at {:#x}", frame.address),
        });
    };
    match (frame.file_address, frame.file_offset) {
        // Reports of earlier versions have only an offset.
        (Some(address), _) | (None, Some(address)) => in_file(module, address),
        (None, None) => {
            Text::new([files::base(module.raw()), format!(" at {:#x}", frame.address).as_bytes()].concat())
        }
    }
}

/// Where the function of a frame without a name begins, if that is known.
fn begins(frame: &Frame) -> Option<Text> {
    let (module, address) = frame.module.as_ref().zip(frame.function_address)?;
    frame.functions.is_empty().then(|| in_file(module, address))
}

fn in_file(module: &Text, address: u64) -> Text {
    Text::new([files::base(module.raw()), format!("+{address:#x}").as_bytes()].concat())
}

fn kind(from: Option<files::From>, function: Option<&Function>) -> Kind {
    let Some(function) = function else {
        return match from {
            None | Some(files::From::Program) => Kind::Own,
            Some(files::From::Standard) => Kind::Plumbing,
            Some(files::From::Library) => Kind::Library,
            Some(files::From::Interpreter) => Kind::Interpreter,
        };
    };
    let name = function.name.terminal();
    let bare = &bare(&name);
    let source = function.file.as_ref().map(|file| files::source(&file.terminal()));
    if known::is_startup(bare)
        || (from == Some(files::From::Interpreter) && *bare == "main")
        || (from.is_none() && is_runtime_loop(&name))
    {
        Kind::Startup
    } else if known::is_wrapper(bare) {
        Kind::Wrapper
    } else if from == Some(files::From::Standard)
        || source == Some(files::Source::Standard)
        || known::is_standard(&name)
    {
        Kind::Plumbing
    } else if from == Some(files::From::Interpreter) {
        Kind::Interpreter
    } else if from == Some(files::From::Library)
        || source == Some(files::Source::Foreign)
        || (from.is_none() && known::is_of_runtime(&name))
    {
        Kind::Library
    } else {
        Kind::Own
    }
}

/// Whether a name belongs to the crate that a Rust program is named after.
pub fn is_of_main_crate(frame: &Frame, name: &str) -> bool {
    let Some(module) = &frame.module else { return false };
    let krate = files::name(&module.terminal()).replace('-', "_");
    let path = name.trim_start_matches(['<', '&']);
    path.strip_prefix(&krate).is_some_and(|rest| rest.starts_with("::"))
}

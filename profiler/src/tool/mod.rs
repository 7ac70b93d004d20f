//! The tools, and the registry of them.

use crate::{
    capture::{cost::prices::Traps, uprobe::Method},
    error::{Error, Result},
    target::{modules::Modules, process::Process},
};

pub mod memleak;
pub mod syscalls;

/// Every tool: a new one takes a line here.
pub(crate) const TOOLS: &[Tool] = &[memleak::readiness::TOOL];

/// What is to be known of a tool without running it.
pub(crate) struct Tool {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// The question that it answers.
    pub(crate) question: &'static str,
    /// What it sees, wherever it can observe.
    pub(crate) sees: &'static [&'static str],
    /// What it never sees.
    pub(crate) cannot_see: &'static [&'static str],
    /// Whether it puts probes on functions of the target. One that does not can work where such probes cannot.
    pub(crate) has_uprobes: bool,
    /// Its BPF object.
    pub(crate) object: &'static [u8],
    /// Tries its programs on a process of our own under a seccomp filter. An error of the kind `Safety` is about such
    /// processes only.
    pub(crate) trial: fn(Method) -> Result<()>,
    /// What it would do with a process; nothing is attached.
    pub(crate) foresee: fn(Process, &mut Modules, Option<Method>) -> Result<Foresight>,
    /// What it would cost a process, from hits that are counted for a moment; `None` if that cannot be told here.
    pub(crate) predict: fn(Process, &mut Modules, Method, &Traps) -> Result<Option<memleak::Forecast>>,
}

/// What a tool would do with a process.
pub(crate) struct Foresight {
    /// The allocators that were found.
    pub(crate) allocators: Vec<memleak::AllocatorFound>,
    /// The functions that it would probe, and those that it would leave out.
    pub(crate) sites: Vec<memleak::Site>,
    /// Why it would refuse the process.
    pub(crate) refused: Option<Error>,
    /// What it would tell the user about the process.
    pub(crate) notes: Vec<String>,
}

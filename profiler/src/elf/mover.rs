//! Programs that copy their own code into huge pages when they start.
//!
//! A breakpoint that is in the code then is copied with it, into memory where the kernel knows of none: the first thread
//! that meets it ends the process by SIGTRAP.

use super::image::Image;

/// What in a file moves its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mover {
    /// Intel's iodlr, linked in: a section of its own holds the code that moves the rest. Node.js has it, and uses it if
    /// it is told to.
    Iodlr,
    /// What LLVM's BOLT puts in with `--hugify`.
    Bolt,
}

impl Mover {
    /// How it is known, for people.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Iodlr => "it has iodlr's section .lpstub",
            Self::Bolt => "BOLT has linked it with --hugify",
        }
    }
}

impl Image<'_> {
    /// What in the file moves its code when the program starts; `None` if nothing is known to.
    pub fn mover(&self) -> Option<Mover> {
        if [".lpstub", "lpstub"].iter().any(|name| self.section(name).is_some()) {
            return Some(Mover::Iodlr);
        }
        let mut bolt = false;
        self.each_defined(|defined| bolt |= defined.name.starts_with(b"__bolt_hugify_"));
        bolt.then_some(Mover::Bolt)
    }
}

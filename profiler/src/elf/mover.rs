//! Programs that copy their own code into huge pages when they start.
//!
//! A breakpoint in the code at that time is copied with it, to memory where the kernel knows of no breakpoint: the
//! first thread that reaches it ends the process by SIGTRAP.

use super::image::Image;

/// The part of a file that moves its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mover {
    /// Intel's iodlr, linked in: a section of its own contains the code that moves the rest. Node.js contains it, and
    /// uses it if an option asks for it.
    Iodlr,
    /// Code that LLVM's BOLT adds with `--hugify`.
    Bolt,
}

impl Mover {
    /// How it was recognised, for people.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Iodlr => "it has iodlr's section .lpstub",
            Self::Bolt => "BOLT has linked it with --hugify",
        }
    }
}

impl Image<'_> {
    /// The part of the file that moves its code when the program starts; `None` if none is known.
    pub fn mover(&self) -> Option<Mover> {
        if [".lpstub", "lpstub"].iter().any(|name| self.section(name).is_some()) {
            return Some(Mover::Iodlr);
        }
        let mut bolt = false;
        self.each_defined(|defined| bolt |= defined.name.starts_with(b"__bolt_hugify_"));
        bolt.then_some(Mover::Bolt)
    }
}

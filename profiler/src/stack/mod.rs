//! From the walks of the kernel side to frames with files, names and a check of their plausibility.

use std::collections::BTreeSet;

use crate::{elf::runtime::Runtime, symbolize::Location};

mod advice;
pub(crate) mod calls;
pub(crate) mod made;
pub(crate) mod names;
pub(crate) mod own;
pub(crate) mod stacks;
pub(crate) mod walks;

/// What stacks need to know of their address spaces, by number.
pub(crate) trait Spaces {
    /// Where the process writes the names of code that it makes; `None` if it ended too early.
    fn made_code(&self, space: u16) -> Option<Location>;

    /// The runtimes that are in it.
    fn runtimes(&self, space: u16) -> BTreeSet<Runtime>;
}

/// No address spaces, for tests.
#[cfg(test)]
struct Nowhere;

#[cfg(test)]
impl Spaces for Nowhere {
    fn made_code(&self, _: u16) -> Option<Location> {
        None
    }

    fn runtimes(&self, _: u16) -> BTreeSet<Runtime> {
        BTreeSet::new()
    }
}

//! From code addresses to names, once per place.
//!
//! Names are looked up by file and offset, not by path: the file has been held open since it was first seen. Code
//! without a file, which was made at run time, is looked up in the map file that its process writes (`perf_map`). A
//! place that cannot be resolved has a reason; no name is better than a wrong one.
//!
//! `files` has the order of sources: first debug information (`dwarf`, and `split` for parts in other files) of the
//! file or of the separate debug file that `search` finds, then symbol tables (`tables`). `merge` combines both.

mod blaze;
mod bytes;
mod cache;
mod dwarf;
mod files;
mod later;
mod mangled;
mod merge;
mod notes;
mod perf_map;
mod place;
mod search;
mod servers;
mod split;
mod tables;
mod worker;

use std::path::PathBuf;

pub use cache::DebugFileCache;
pub use files::has_debug_file;
pub use later::resolve_later;
pub use notes::Notes;
pub use perf_map::Location;
pub use place::Program;
pub use servers::Servers;
pub use worker::{Pending, Worker};

use crate::report::Function;

/// Where else to look for names.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Directories with debug files, searched before all others.
    pub debug_dirs: Vec<PathBuf>,
    /// Servers to ask for debug files that are not here. `None`: no server is asked.
    pub servers: Option<Servers>,
}

impl Settings {
    /// Whether they name places beside the usual ones.
    pub fn asks_for_more(&self) -> bool {
        !self.debug_dirs.is_empty() || self.servers.is_some()
    }
}

/// The answer for one place in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Functions, the innermost inlined one first; empty if unknown.
    pub functions: Vec<Function>,
    /// Why there are none.
    pub unresolved: Option<String>,
    /// Where a function without a name begins, as an address of the file, if it is known.
    pub start: Option<u64>,
}

impl Resolved {
    /// A place without a name.
    pub fn unknown(why: impl Into<String>) -> Resolved {
        Resolved { functions: Vec::new(), unresolved: Some(why.into()), start: None }
    }
}

/// What places belong to.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file. Places are offsets in it.
    File(Program),
    /// Code that a process made at run time: a number for the process, and the location of its map file. Places are
    /// addresses.
    MadeCode(u16, Location),
}

/// Places to look up.
#[derive(Clone, Debug)]
pub struct Request {
    /// What they belong to.
    pub source: Source,
    /// The places. For a return address, give the address before it, which is inside the call.
    pub places: Vec<u64>,
}

/// The answer to one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// One per place, in order.
    pub resolved: Vec<Resolved>,
    /// The sources of the file's names; empty for code that was made at run time.
    pub notes: Notes,
}

impl Answer {
    /// The same reason for all places.
    pub fn unknown(why: String, places: usize) -> Answer {
        Answer { resolved: vec![Resolved::unknown(why); places], ..Answer::default() }
    }
}

/// Looks up names in files.
pub trait Symbolize {
    /// Resolves offsets of one file.
    fn resolve(&mut self, program: &Program, offsets: &[u64]) -> Answer;
}

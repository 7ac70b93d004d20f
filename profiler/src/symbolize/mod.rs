//! From code addresses to names, once per place.
//!
//! Names are looked up by file and offset, never by path: the file is held open since it was first seen. Code that has
//! no file, because it was made at run time, is looked up in what its process writes of it (`perf_map`). What cannot be
//! resolved says why; a wrong name is worse than none.
//!
//! `files` has the order of sources: debug information (`dwarf`, with what is `split` off from it) of the file, else of
//! the separate debug file that `search` finds; then symbol tables (`tables`). `merge` makes one answer of both.

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
    /// Directories with debug files, looked through before all others.
    pub debug_dirs: Vec<PathBuf>,
    /// Servers that are asked for debug files that are not here. `None`: nobody is asked.
    pub servers: Option<Servers>,
}

impl Settings {
    /// Whether there is anywhere to look that is not looked through anyway.
    pub fn asks_for_more(&self) -> bool {
        !self.debug_dirs.is_empty() || self.servers.is_some()
    }
}

/// What is known of one place in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Functions, the innermost inlined first; empty if unknown.
    pub functions: Vec<Function>,
    /// Why there is none.
    pub unresolved: Option<String>,
    /// Where a function without a name begins, as the file counts, if it is known.
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
    /// Code that a process made at run time: a number for the process, and where it writes the names. Places are
    /// addresses.
    MadeCode(u16, Location),
}

/// Places to look up.
#[derive(Clone, Debug)]
pub struct Request {
    /// What they belong to.
    pub source: Source,
    /// The places. Return addresses are to be given less one, so that they lie inside the call.
    pub places: Vec<u64>,
}

/// What is known of the places of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// One per place, in order.
    pub resolved: Vec<Resolved>,
    /// What the names of the file were taken from; empty for code that was made at run time.
    pub notes: Notes,
}

impl Answer {
    /// Places of which nothing is known, for one reason.
    pub fn unknown(why: String, places: usize) -> Answer {
        Answer { resolved: vec![Resolved::unknown(why); places], ..Answer::default() }
    }
}

/// Looks up names in files.
pub trait Symbolize {
    /// Resolves offsets of one file.
    fn resolve(&mut self, program: &Program, offsets: &[u64]) -> Answer;
}

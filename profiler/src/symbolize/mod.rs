//! From code addresses to names, once per place.
//!
//! Names are looked up by file and offset, never by path: the file is held open since it was first seen. Code that has
//! no file, because it was made at run time, is looked up in what its process writes of it (`perf_map`). What cannot be
//! resolved says why; a wrong name is worse than none.

mod blaze;
mod perf_map;
mod worker;

use std::path::{Path, PathBuf};

pub use perf_map::Location;
pub use worker::{Pending, Worker};

use crate::report::Function;

/// What is known of one place in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Functions, the innermost inlined first; empty if unknown.
    pub functions: Vec<Function>,
    /// Why there is none.
    pub unresolved: Option<String>,
}

impl Resolved {
    /// A place without a name.
    pub fn unknown(why: impl Into<String>) -> Resolved {
        Resolved { functions: Vec::new(), unresolved: Some(why.into()) }
    }
}

/// What places belong to.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file; a path that leads to it. Places are offsets in it.
    File(PathBuf),
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

/// Looks up names in files.
pub trait Symbolize {
    /// Resolves offsets of one file: one answer per offset, in order.
    fn resolve(&mut self, file: &Path, offsets: &[u64]) -> Vec<Resolved>;
}

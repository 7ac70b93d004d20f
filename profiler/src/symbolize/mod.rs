//! From code addresses to names, once per place.
//!
//! Names are looked up by file and offset, never by path: the file is held open since it was first seen. What cannot
//! be resolved says why; a wrong name is worse than none.

mod blaze;
mod worker;

use std::path::PathBuf;

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

/// Places of one file to look up.
#[derive(Clone, Debug)]
pub struct Request {
    /// A path that leads to the file.
    pub file: PathBuf,
    /// Offsets in it. Return addresses are to be given less one, so that they lie inside the call.
    pub offsets: Vec<u64>,
}

/// Looks up names. One answer per offset, in order.
pub trait Symbolize {
    /// Resolves places of one file.
    fn resolve(&mut self, request: &Request) -> Vec<Resolved>;
}

//! The limit of open files: each map, program, probe and target takes descriptors. A command gets the limit that we
//! had.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit that we had; the inner `None` stands for no limit.
static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// Raises our limit of open files as far as we may.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _known_already = BEFORE.set(limit.current);
    // If this fails, we go on with fewer.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The original limit for processes that we start, as an argument; empty if it was not changed.
pub(super) fn of_command() -> String {
    BEFORE
        .get()
        .map(|limit| limit.map_or_else(|| "none".to_owned(), |files| files.to_string()))
        .unwrap_or_default()
}

/// Sets a limit that [`of_command`] has written.
pub(super) fn take(limit: &str) -> rustix::io::Result<()> {
    let current = match limit {
        "" => return Ok(()),
        "none" => None,
        files => Some(files.parse().map_err(|_not_ours| rustix::io::Errno::INVAL)?),
    };
    setrlimit(Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) })
}

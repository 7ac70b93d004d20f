//! Who gets the children of processes that end, here: the first process, or a service manager that asked for them
//! (`PR_SET_CHILD_SUBREAPER`). The kernel tells it to nobody but an orphan, so we make one.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::target::process::exe_name;

/// The hidden first argument that makes our executable an orphan which says whose it is.
pub const ORPHAN_ARGUMENT: &str = "__orphan";

/// How long a parent may take to end.
const MOST_TIME: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const PAUSE: Duration = Duration::from_millis(1);
/// A shell that is the first process of a container starts others itself: its children need not be orphans.
const SHELLS: [&[u8]; 6] = [b"sh", b"dash", b"bash", b"ash", b"busybox", b"zsh"];

/// The process that gets what a command of ours leaves behind; `None` if it is not known, or has children of its own.
pub(crate) fn parent_of_orphans() -> Option<u32> {
    let mut parent = Command::new("/proc/self/exe");
    parent.arg(ORPHAN_ARGUMENT).stdin(Stdio::null()).stderr(Stdio::null());
    let said = parent.output().ok()?.stdout;
    let pid: u32 = std::str::from_utf8(&said).ok()?.trim().parse().ok()?;
    let is_shell = exe_name(pid).is_some_and(|name| SHELLS.contains(&name.as_slice()));
    (pid > 0 && !is_shell).then_some(pid)
}

/// The side of the orphan, and before it of its parent, which ends at once.
///
/// # Errors
/// If a process cannot be started, or the answer not be written.
pub fn be_orphan(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let Some(parent) = arguments.next() else {
        let mut orphan = Command::new("/proc/self/exe");
        orphan.args([ORPHAN_ARGUMENT, &std::process::id().to_string()]);
        return orphan.spawn().map(drop);
    };
    let parent: u32 = parent.to_str().and_then(|pid| pid.parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
    let begun = Instant::now();
    while begun.elapsed() < MOST_TIME {
        let now = std::os::unix::process::parent_id();
        if now != parent {
            return writeln!(io::stdout(), "{now}");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

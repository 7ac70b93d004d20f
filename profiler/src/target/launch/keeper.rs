//! A process that outlives us if we are killed, and then ends what we launched.
//!
//! The kernel can end the command itself when we end (`PR_SET_PDEATHSIG`), but not processes that the command started,
//! nor a command that ignores SIGTERM or gained privileges by exec.

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::group::Group;

/// The hidden first argument that makes our executable a keeper.
pub const KEEP_ARGUMENT: &str = "__keep";

/// A running keeper.
#[derive(Debug)]
pub(super) struct Keeper(Child);

impl Keeper {
    /// Starts the keeper of a command. From now on the command ends when we do.
    pub(super) fn start(command: u32, grace: Duration) -> io::Result<Keeper> {
        Command::new("/proc/self/exe")
            .arg(KEEP_ARGUMENT)
            .args([command.to_string(), grace.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // A group of its own: a signal to our whole group must not end the keeper.
            .process_group(0)
            .spawn()
            .map(Keeper)
    }

    /// Ends the keeper without ending the command.
    pub(super) fn dismiss(mut self) {
        if let Some(mut ours) = self.0.stdin.take() {
            // If the keeper is gone, there is nothing to do.
            let _ = ours.write_all(b"d");
        }
        let _ = self.0.wait();
    }
}

/// The keeper's side: waits until we end, or until it is dismissed.
pub fn keep(mut arguments: impl Iterator<Item = OsString>) {
    let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
    let (Some(command), Some(grace_ms)) = (number(), number()) else { return };
    let Some(group) = u32::try_from(command).ok().and_then(Group::led_by) else { return };
    let mut word = [0_u8];
    // If profiler ends without dismissing the keeper, the pipe is closed.
    if io::stdin().read(&mut word).is_ok_and(|read| read == 0) {
        group.end(Duration::from_millis(grace_ms), || {});
    }
}

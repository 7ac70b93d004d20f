//! A process that outlives us if we are killed, and then ends what we launched.
//!
//! The kernel can end the command itself with us (`PR_SET_PDEATHSIG`), but not what the command started, nor one that
//! does not listen to SIGTERM, nor one that gained privileges by exec.

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
    /// Starts the keeper of a command. From now on the command ends with us.
    pub(super) fn start(command: u32, grace: Duration) -> io::Result<Keeper> {
        Command::new("/proc/self/exe")
            .arg(KEEP_ARGUMENT)
            .args([command.to_string(), grace.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Not in our group: whoever ends all of that must not end the keeper with it.
            .process_group(0)
            .spawn()
            .map(Keeper)
    }

    /// Nothing is left to keep.
    pub(super) fn dismiss(mut self) {
        if let Some(mut ours) = self.0.stdin.take() {
            // A keeper that is gone keeps nothing.
            let _ = ours.write_all(b"d");
        }
        let _ = self.0.wait();
    }
}

/// The keeper's side: waits for our end, or to be dismissed.
pub fn keep(mut arguments: impl Iterator<Item = OsString>) {
    let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
    let (Some(command), Some(grace_ms)) = (number(), number()) else { return };
    let Some(group) = u32::try_from(command).ok().and_then(Group::led_by) else { return };
    let mut word = [0_u8];
    // Without a word the pipe ends when profiler does, however that happens.
    if io::stdin().read(&mut word).is_ok_and(|read| read == 0) {
        group.end(Duration::from_millis(grace_ms), || {});
    }
}

//! Root, only where something has to run as root.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{self, command, on_path},
    workspace,
};

/// How this task gets root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// It has it.
    Root,
    /// It asks sudo for each command.
    Sudo,
}

impl Privilege {
    /// What this machine offers.
    ///
    /// # Errors
    /// Neither root nor sudo.
    pub(crate) fn find() -> Result<Self> {
        if rustix::process::geteuid().is_root() {
            Ok(Self::Root)
        } else if on_path("sudo") {
            Ok(Self::Sudo)
        } else {
            bail!("this needs root: run it as root, or install sudo");
        }
    }

    /// A command that runs as root. `variables` reach it also where sudo clears the environment.
    pub(crate) fn command(self, program: impl AsRef<OsStr>, variables: &[(&str, &OsStr)]) -> Command {
        match self {
            Self::Root => {
                let mut command = command(program);
                command.envs(variables.iter().copied());
                command
            }
            Self::Sudo => {
                // `sudo NAME=value` needs a permission of its own; `env` does not.
                let mut command = command("sudo");
                command.arg("env");
                for (name, value) in variables {
                    let mut assignment = std::ffi::OsString::from(name);
                    assignment.push("=");
                    assignment.push(value);
                    command.arg(assignment);
                }
                command.arg(program).stdin(Stdio::inherit());
                command
            }
        }
    }

    /// Gives the user what a command that ran as root left under `path`. Nothing to do for one who is root.
    pub(crate) fn hand_back(self, path: &Path) -> Result<()> {
        if self == Self::Root || !holds_files_of_root(path) {
            return Ok(());
        }
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        let owner = format!("{user}:{group}");
        process::run(self.command("chown", &[]).args(["-R", "--from=0", &owner]).arg(path))
    }
}

/// Refuses `sudo cargo xtask`: cargo would leave files in the user's `target/` that the user cannot replace.
///
/// Cargo built this program before it could refuse, so the files are given back to the user first. Root in its own checkout
/// (a container, a CI machine) is allowed.
///
/// # Errors
/// If it was run so, or the checkout cannot be looked at.
pub(crate) fn refuse_foreign_root() -> Result<()> {
    let sudo_uid = env::var("SUDO_UID").ok().and_then(|uid| uid.parse::<u32>().ok());
    let facts = workspace::root().metadata().context("cannot look at the checkout")?;
    let owner = facts.uid();
    if !rustix::process::geteuid().is_root() || owner == 0 || sudo_uid != Some(owner) {
        return Ok(());
    }
    let whose = format!("{owner}:{}", facts.gid());
    process::run(command("chown").args(["-R", "--from=0", &whose]).arg(workspace::target_dir()))?;
    bail!(
        "run `cargo xtask` as yourself, without sudo: it builds as you and asks for root where it needs it"
    );
}

fn holds_files_of_root(path: &Path) -> bool {
    let Ok(facts) = fs::symlink_metadata(path) else { return false };
    if facts.uid() == 0 {
        return true;
    }
    let entries = facts.is_dir().then(|| fs::read_dir(path).ok()).flatten();
    entries.is_some_and(|entries| entries.flatten().any(|entry| holds_files_of_root(&entry.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_carries_the_variables_through_env() {
        let command = Privilege::Sudo.command("/bin/true", &[("A", OsStr::new("1 2"))]);
        assert_eq!(process::show(&command), "sudo env 'A=1 2' /bin/true");
    }

    #[test]
    fn root_runs_the_program_itself() {
        let command = Privilege::Root.command("/bin/true", &[("A", OsStr::new("1"))]);
        assert_eq!(process::show(&command), "A=1 /bin/true");
    }
}

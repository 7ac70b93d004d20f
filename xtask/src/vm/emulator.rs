//! The emulator: the one on `PATH`, else Debian's, unpacked into the cache. It is not installed, because it may conflict
//! with packages of this machine: `qemu-utils` of another release, for one.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::sources::Sources;
use crate::{
    process::{self, command, on_path},
    setup,
};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// Where Debian's packages for this processor have their libraries, below the root.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
/// Where they have the firmware.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// An emulator that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Emulator {
    /// Installed.
    OnPath,
    /// Unpacked below this directory.
    Unpacked(PathBuf),
}

impl Emulator {
    /// Finds it, or downloads and unpacks it under `cache`, once.
    pub(super) fn find(cache: &Path) -> Result<Self> {
        if on_path(PROGRAM) {
            return Ok(Self::OnPath);
        }
        let root = cache.join("qemu");
        let emulator = Self::Unpacked(root.clone());
        if !process::succeeds(emulator.command().arg("--version")) {
            unpack(&root, cache).context("cannot get the emulator without installing it")?;
            if !process::succeeds(emulator.command().arg("--version")) {
                bail!("{PROGRAM} was unpacked to {}, and does not run", root.display());
            }
        }
        Ok(emulator)
    }

    /// The emulator, to be given arguments.
    pub(super) fn command(&self) -> Command {
        let Self::Unpacked(root) = self else { return command(PROGRAM) };
        let mut qemu = command(root.join("usr/bin").join(PROGRAM));
        qemu.env("LD_LIBRARY_PATH", joined(LIBRARIES.map(|folder| root.join(folder))));
        qemu.env("QEMU_MODULE_DIR", root.join(LIBRARIES[0]).join("qemu"));
        for folder in FIRMWARE {
            qemu.arg("-L").arg(root.join(folder));
        }
        qemu
    }
}

/// Directories as the value of a search path.
fn joined(folders: [PathBuf; 2]) -> OsString {
    folders.map(PathBuf::into_os_string).join(OsStr::new(":"))
}

fn unpack(root: &Path, cache: &Path) -> Result<()> {
    setup::update_package_lists()?;
    let sources = Sources::configured();
    let installed = installed();
    let wanted: Vec<String> =
        sources.with_dependencies(PACKAGE)?.into_iter().filter(|name| !installed.contains(name)).collect();
    println!("vm: unpacking {PACKAGE} and {} packages that it needs", wanted.len().saturating_sub(1));
    let archives = cache.join("qemu-packages");
    let _ = fs::remove_dir_all(&archives);
    let _ = fs::remove_dir_all(root);
    for folder in [&archives, &root.to_owned()] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    for archive in sources.download_all(&wanted, &archives)? {
        process::run(command("dpkg-deb").arg("--extract").arg(&archive).arg(root))?;
    }
    fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {}", archives.display()))
}

/// The packages that this machine has.
fn installed() -> BTreeSet<String> {
    let mut query = command("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]);
    let listed = process::ask(&mut query).unwrap_or_default();
    listed.lines().filter_map(|line| line.strip_suffix(" installed")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_emulator_uses_nothing_but_what_was_unpacked_beside_it() {
        let qemu = Emulator::Unpacked(PathBuf::from("/cache/qemu")).command();
        assert_eq!(qemu.get_program(), "/cache/qemu/usr/bin/qemu-system-x86_64");
        let variable = |name: &str| {
            qemu.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value).map(OsStr::to_owned)
        };
        let libraries = "/cache/qemu/usr/lib/x86_64-linux-gnu:/cache/qemu/lib/x86_64-linux-gnu";
        assert_eq!(variable("LD_LIBRARY_PATH"), Some(libraries.into()));
        assert_eq!(variable("QEMU_MODULE_DIR"), Some("/cache/qemu/usr/lib/x86_64-linux-gnu/qemu".into()));
        let arguments: Vec<&OsStr> = qemu.get_args().collect();
        assert_eq!(arguments, ["-L", "/cache/qemu/usr/share/qemu", "-L", "/cache/qemu/usr/share/seabios"]);
    }
}

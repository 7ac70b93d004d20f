//! Where things are, and whose they are.

use std::{
    env,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process::{self, command};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().map_or_else(|| package.to_owned(), Path::to_owned)
}

/// The directory that cargo builds into.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Refuses `sudo cargo xtask`: cargo would leave files in the user's `target/` that the user cannot replace.
///
/// Cargo built this very program before it could refuse, so what it left is handed back first. Root at work in its
/// own checkout (a container, a CI machine) is not concerned.
pub(crate) fn refuse_foreign_root() -> Result<()> {
    let sudo_uid = env::var("SUDO_UID").ok().and_then(|uid| uid.parse::<u32>().ok());
    let owner = root().metadata().context("cannot look at the workspace")?.uid();
    if !rustix::process::geteuid().is_root() || owner == 0 || sudo_uid != Some(owner) {
        return Ok(());
    }
    let group = root().metadata()?.gid();
    process::run(command("chown").args(["-R", "--from=0", &format!("{owner}:{group}")]).arg(target_dir()))?;
    bail!(
        "run `cargo xtask` as yourself, without sudo: it builds as you and asks for root where it needs it"
    );
}

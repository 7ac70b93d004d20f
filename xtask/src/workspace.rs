//! Where the checkout is.
//!
//! It is looked for when a task runs, not when it is built: a checkout that was moved or copied together with its `target/`
//! brings a task that was built at the old place, and cargo sees no reason to build it again.

use std::{
    env,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use anyhow::{Context as _, Result};

/// What the root of the workspace has, and no other directory above this package.
const MARK: &str = "xtask/Cargo.toml";

static ROOT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    root_from(env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from), env::current_dir().ok())
});

/// Checks that there is a checkout to work in.
///
/// # Errors
/// If neither `CARGO_MANIFEST_DIR`, which cargo sets, nor the current directory lies in one.
pub(crate) fn require() -> Result<()> {
    ROOT.as_ref()
        .context("cannot find the checkout: run this as `cargo xtask`, or anywhere below its root")
        .map(drop)
}

/// The root of the workspace; the current directory if there is none ([`require`]).
pub(crate) fn root() -> PathBuf {
    ROOT.clone().unwrap_or_else(|| PathBuf::from("."))
}

/// The directory that cargo builds into.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The root above the package that cargo runs, else above the current directory.
fn root_from(package: Option<PathBuf>, current: Option<PathBuf>) -> Option<PathBuf> {
    let above = |place: PathBuf| place.ancestors().find(|path| path.join(MARK).is_file()).map(Path::to_owned);
    package.and_then(above).or_else(|| current.and_then(above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_root_is_above_the_package_or_the_current_directory() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("checkout");
        fs::create_dir_all(root.join("xtask/src")).unwrap();
        fs::create_dir_all(folder.path().join("other")).unwrap();
        fs::write(root.join(MARK), "").unwrap();
        let other = folder.path().join("other");
        let found = Some(root.clone());
        assert_eq!(root_from(Some(root.join("xtask")), Some(other.clone())), found);
        assert_eq!(root_from(None, Some(root.join("xtask/src"))), found);
        // Cargo ran something else, from within the checkout.
        assert_eq!(root_from(Some(other.clone()), Some(root)), found);
        assert_eq!(root_from(Some(other.clone()), Some(other)), None);
    }
}

//! `cargo xtask dist`: one file that runs on any x86_64 Linux, with what its licences ask for.

mod notices;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    artifacts,
    process::{self, cargo, command},
    setup::{self, Need},
    workspace,
};

const MUSL: &str = "x86_64-unknown-linux-musl";
const GNU: &str = "x86_64-unknown-linux-gnu";

/// `cargo xtask dist`.
pub(crate) fn run() -> Result<()> {
    setup::ensure(&[Need::Build])?;
    let profiler = static_profiler("")?;
    let dist = workspace::target_dir().join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot create {}", dist.display()))?;
    copy(&profiler.path, &dist.join("profiler"))?;
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&workspace::root().join(license), &dist.join(license))?;
    }
    let notices = notices::of_dependencies(profiler.target)?;
    fs::write(dist.join("NOTICES.txt"), notices).context("cannot write NOTICES.txt")?;
    write_checksums(&dist)?;
    println!("dist: {}", dist.display());
    Ok(())
}

/// A profiler that needs no file beside it.
pub(crate) struct StaticProfiler {
    /// The file.
    pub(crate) path: PathBuf,
    /// What it was built for.
    target: &'static str,
}

/// Builds the profiler as it is released, with more `features`, separated by commas.
pub(crate) fn static_profiler(features: &str) -> Result<StaticProfiler> {
    let target = match missing_for_musl() {
        None => MUSL,
        Some(lacks) => {
            println!("{lacks}; linking glibc statically");
            GNU
        }
    };
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--package", "profiler", "--bin", "profiler"])
        .args(["--features", features])
        // Named even where it is the host's, so that the flags do not reach build scripts and macros.
        .args(["--target", target])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // Line tables would be most of the file, and a good part of the build. Function names stay.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    let built = artifacts::build(&mut build)?;
    Ok(StaticProfiler { path: artifacts::program(&built, "profiler")?.path.clone(), target })
}

/// What is missing here for a build for musl. Some crates hold C, for which the headers have to be musl's too.
fn missing_for_musl() -> Option<String> {
    let sysroot = process::ask(command("rustc").args(["--print", "sysroot"]));
    let is_there = |sysroot: String| Path::new(sysroot.trim()).join("lib/rustlib").join(MUSL).is_dir();
    if !sysroot.is_some_and(is_there) {
        return Some(format!("the target {MUSL} is not installed"));
    }
    (!process::on_path("musl-gcc")).then(|| "musl-gcc (package musl-tools) is not installed".to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // A running copy of the old file keeps its own; writing into it would fail.
    let _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Sums in the format of `sha256sum --check`.
fn write_checksums(dist: &Path) -> Result<()> {
    let files = ["profiler", "LICENSE-MIT", "LICENSE-APACHE", "NOTICES.txt"];
    let sums = process::ask(command("sha256sum").args(files).current_dir(dist));
    fs::write(dist.join("SHA256SUMS"), sums.context("sha256sum failed")?).context("cannot write SHA256SUMS")
}

//! The example servers, built so that their stacks can be walked.

use std::path::PathBuf;

use anyhow::Result;

use crate::{artifacts, process::cargo};

/// Builds pong as servers are built that want to be profiled: optimised, with frame pointers. It has a target
/// directory of its own, because the flag would otherwise rebuild everything else too.
pub(crate) fn pong() -> Result<PathBuf> {
    let mut build = cargo();
    // Either would take the place of the flags in that file.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    build.args(["build", "--config", "examples/frame-pointers.toml", "--release", "--package", "examples"]);
    let built = artifacts::build(&mut build)?;
    Ok(artifacts::program(&built, "pong")?.path.clone())
}

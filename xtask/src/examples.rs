//! The example servers, built as servers are: optimised, without frame pointers.

use std::path::PathBuf;

use anyhow::Result;

use crate::{artifacts, process::cargo};

/// Builds pong.
pub(crate) fn pong() -> Result<PathBuf> {
    let built = artifacts::build(cargo().args(["build", "--release", "--package", "examples"]))?;
    Ok(artifacts::program(&built, "pong")?.path.clone())
}

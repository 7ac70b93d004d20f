//! Building with cargo and learning where the executables are.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::show;

/// An executable that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The package's directory; cargo runs tests there.
    pub(crate) package_dir: PathBuf,
    /// The target: a test's, binary's or library's name.
    pub(crate) name: String,
    /// What kind of target: `lib`, `bin`, `test`, `example`.
    pub(crate) kind: String,
    /// Built as a test harness, not as the program itself.
    pub(crate) is_test: bool,
    /// The file.
    pub(crate) path: PathBuf,
}

/// Runs a cargo command that builds, and collects the executables in the order in which cargo finished them.
pub(crate) fn build(cargo: &mut Command) -> Result<Vec<Executable>> {
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    println!("$ {}", show(cargo));
    let mut child = cargo.spawn().context("cannot run cargo")?;
    let messages = child.stdout.take().context("cargo has no output")?;
    let mut executables = Vec::new();
    for line in BufReader::new(messages).lines() {
        executables.extend(executable(&line.context("cannot read the output of cargo")?));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status})", show(cargo));
    }
    Ok(executables)
}

/// The program of this name among `executables`.
pub(crate) fn program<'a>(executables: &'a [Executable], name: &str) -> Result<&'a Executable> {
    let is_it = |executable: &&Executable| executable.name == name && !executable.is_test;
    executables.iter().find(is_it).with_context(|| format!("cargo built no program `{name}`"))
}

/// The executable that one line of cargo's messages announces, if it announces one.
fn executable(message: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = message.get("target")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let manifest = PathBuf::from(message.get("manifest_path")?.as_str()?);
    Some(Executable {
        package_dir: manifest.parent()?.to_owned(),
        name: text(target.get("name")?)?,
        kind: text(target.get("kind")?.get(0)?)?,
        is_test: message.get("profile")?.get("test")?.as_bool()?,
        path: PathBuf::from(message.get("executable")?.as_str()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_read_from_an_artifact_message() {
        let message = r#"{"reason":"compiler-artifact","manifest_path":"/w/profiler/Cargo.toml",
            "target":{"kind":["test"],"name":"live_exact"},"profile":{"test":true},
            "executable":"/w/target/debug/deps/live_exact-1"}"#;
        let expected = Executable {
            package_dir: "/w/profiler".into(),
            name: "live_exact".into(),
            kind: "test".into(),
            is_test: true,
            path: "/w/target/debug/deps/live_exact-1".into(),
        };
        assert_eq!(executable(message), Some(expected));
    }

    #[test]
    fn libraries_and_other_words_are_passed_over() {
        let library = r#"{"manifest_path":"/w/Cargo.toml","target":{"kind":["lib"],"name":"x"},
            "profile":{"test":false},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(executable("warning: not JSON"), None);
    }
}

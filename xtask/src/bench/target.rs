//! The measured programs: workloads of the tests, compiled, running, and controlled line by line.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::workload::Workload;

use crate::{
    process::{self, command},
    workspace,
};

/// How long a workload may take for what is not the measurement itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Compiles a workload of the tests as the tests do: with frame pointers, and every call of an allocator a call.
pub(super) fn compile(source: &str, into: &Path) -> Result<PathBuf> {
    let program = into.join(source.trim_end_matches(".c"));
    let mut cc = command("cc");
    cc.args(["-std=c11", "-O2", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"])
        .args(["-fno-builtin", "-pthread", "-o"])
        .arg(&program)
        .arg(workspace::root().join("profiler/tests/workloads").join(source));
    process::run(&mut cc)?;
    Ok(program)
}

/// Whether a program keeps frame pointers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FramePointers {
    Yes,
    No,
}

/// Compiles a C++ workload of the tests, as servers are built, but for its frame pointers.
pub(super) fn compile_cpp(source: &str, frame_pointers: FramePointers, into: &Path) -> Result<PathBuf> {
    let (flag, suffix) = match frame_pointers {
        FramePointers::Yes => ("-fno-omit-frame-pointer", "with"),
        FramePointers::No => ("-fomit-frame-pointer", "without"),
    };
    let program = into.join(format!("{}-{suffix}", source.trim_end_matches(".cpp")));
    let mut compiler = command("c++");
    compiler
        .args(["-std=c++17", "-O2", "-g", flag, "-fno-optimize-sibling-calls", "-fno-builtin", "-o"])
        .arg(&program)
        .arg(workspace::root().join("profiler/tests/workloads").join(source));
    process::run(&mut compiler)?;
    Ok(program)
}

/// A running workload. Killed when dropped.
pub(super) struct Target(Workload);

impl Target {
    /// Starts a workload and waits until it is ready.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        Workload::start(command, PATIENCE).map(Self)
    }

    /// The rest of the line with this word that it printed before it was ready.
    pub(super) fn said(&self, word: &str) -> Result<String> {
        self.0.told(word)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a word.
    pub(super) fn say(&mut self, word: &str) -> Result<()> {
        self.0.say(word)
    }

    /// Waits for a line that begins so.
    pub(super) fn wait_for(&mut self, start: &str) -> Result<String> {
        self.0.line(start, PATIENCE)
    }

    /// Sends a word and reads the line of JSON that answers it.
    pub(super) fn ask(&mut self, word: &str) -> Result<Value> {
        self.0.ask(word, PATIENCE)
    }
}

/// A number of an answer.
pub(super) fn number(answer: &Value, name: &str) -> Result<f64> {
    answer.get(name).and_then(Value::as_f64).with_context(|| format!("no number `{name}` in {answer}"))
}

/// A directory with copies of the C library that a program uses. A program that runs with it shares no page of its
/// C library with any other process: a probe that cannot be told which process to look at hits this one alone.
pub(super) fn private_libc(program: &Path, into: &Path) -> Result<PathBuf> {
    let words = process::ask(command("ldd").arg(program)).context("cannot run ldd")?;
    let libc = words
        .lines()
        .filter(|line| line.trim_start().starts_with("libc.so"))
        .find_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .with_context(|| format!("{} has no dynamic C library", program.display()))?;
    let name = Path::new(libc).file_name().unwrap_or(OsStr::new("libc.so.6"));
    let directory = into.join("private");
    std::fs::create_dir_all(&directory)?;
    std::fs::copy(libc, directory.join(name)).with_context(|| format!("cannot copy {libc}"))?;
    Ok(directory)
}

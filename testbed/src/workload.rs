//! A workload: a program that prints `READY`, and then answers words with lines of JSON.

use std::{
    ops::{Deref, DerefMut},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::running::{Running, Stream};

/// What a workload prints when it is ready for words.
const READY: &str = "READY";

/// A running workload. Killed when dropped.
#[derive(Debug)]
pub struct Workload {
    running: Running,
}

impl Workload {
    /// Starts a workload and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or is not ready within `patience`.
    pub fn start(command: &mut Command, patience: Duration) -> Result<Self> {
        let running = Running::start(command, &[Stream::Stdin, Stream::Stdout])?;
        let mut workload = Self { running };
        workload.line(READY, patience)?;
        Ok(workload)
    }

    /// Waits for a line that begins with `start`, and returns it. Other lines before it are passed over.
    ///
    /// # Errors
    /// If there is none within `patience`.
    pub fn line(&mut self, start: &str, patience: Duration) -> Result<String> {
        Ok(self.running.wait_for(start, patience, |line| line.text.starts_with(start))?.text)
    }

    /// Its next line of JSON.
    ///
    /// # Errors
    /// If there is none within `patience`, or it is not JSON.
    pub fn json(&mut self, patience: Duration) -> Result<Value> {
        let line = self.line("{", patience)?;
        serde_json::from_str(&line).with_context(|| format!("the workload's answer is not JSON: {line}"))
    }

    /// Sends a word and returns the line of JSON that answers it.
    ///
    /// # Errors
    /// As [`Workload::json`], or if it does not read the word.
    pub fn ask(&mut self, word: &str, patience: Duration) -> Result<Value> {
        self.running.say(word)?;
        self.json(patience)
    }

    /// The rest of the line that it printed with this word at the start.
    ///
    /// # Errors
    /// If there is no such line.
    pub fn told(&self, word: &str) -> Result<String> {
        let rest = self.running.heard().iter().find_map(|line| line.text.strip_prefix(word));
        rest.map(|rest| rest.trim().to_owned())
            .with_context(|| format!("the workload did not print its {word}"))
    }
}

impl Deref for Workload {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl DerefMut for Workload {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_workload_says_what_it_is_and_answers() {
        let script = "echo offset 12; echo READY; read word; echo noise; echo \"{\\\"$word\\\": 3}\"";
        let mut workload = Workload::start(Command::new("sh").args(["-c", script]), PATIENCE).unwrap();
        assert_eq!(workload.told("offset").unwrap(), "12");
        assert_eq!(workload.ask("go", PATIENCE).unwrap(), serde_json::json!({"go": 3}));
        assert!(workload.told("size").is_err());
        assert!(workload.wait(PATIENCE).unwrap().unwrap().success());
    }

    #[test]
    fn one_that_ends_before_it_is_ready_is_an_error() {
        let error =
            Workload::start(Command::new("sh").args(["-c", "echo no; exit 1"]), PATIENCE).unwrap_err();
        assert_eq!(error.to_string(), "sh did not say READY: it has ended (exit status: 1); it said:\nno\n");
    }
}

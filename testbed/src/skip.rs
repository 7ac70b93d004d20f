//! Tests that find that they cannot run here. A skipped test is never silent and never counts as passed: `cargo xtask test`
//! lists it by its name with the reason, and with `CI=true` fails if the machine could have been set up for it.

use std::{
    io::{Write as _, stderr},
    thread,
};

/// Start of the line that reports a skipped test.
const SKIPPED: &str = "SKIPPED ";

/// Start of a reason that is accepted everywhere: nobody can install another kernel for a test.
const OF_THE_KERNEL: &str = "the kernel has no ";
/// The other accepted reason: tests that are not live may be run without root.
const OF_ROOT: &str = "only root can ";

/// Says that the running test, or a part of it, is skipped because the kernel lacks something.
pub fn kernel_has_no(what: &str) {
    skip(&format!("{OF_THE_KERNEL}{what}"));
}

/// Says that the running test, or a part of it, is skipped because it is not run by root, who alone can do this.
pub fn only_root_can(what: &str) {
    skip(&format!("{OF_ROOT}{what}"));
}

/// Says that the running test, or a part of it, is skipped because this machine is not set up for it.
///
/// It is written to standard error itself, which the test harness does not capture.
pub fn skip(why: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Without standard error, nobody would read it.
    let _ = writeln!(stderr(), "{SKIPPED}{test}: {why}");
}

/// A test that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Its name, with its modules.
    pub test: String,
    /// Why it could not run.
    pub why: String,
}

impl Skip {
    /// Reads a line of a test's standard error; `None` if it is any other line.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        let (test, why) = line.strip_prefix(SKIPPED)?.split_once(": ")?;
        Some(Self { test: test.to_owned(), why: why.to_owned() })
    }

    /// Whether setting up this machine could not have avoided it: the kernel lacks something, or the test is not run by root.
    #[must_use]
    pub fn is_unavoidable(&self) -> bool {
        self.why.starts_with(OF_THE_KERNEL) || self.why.starts_with(OF_ROOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let skip = Skip::read("SKIPPED a::b: go is not installed: no such file").unwrap();
        assert_eq!(skip, Skip { test: "a::b".into(), why: "go is not installed: no such file".into() });
        assert!(!skip.is_unavoidable());
        for why in ["the kernel has no sessions", "only root can give files away"] {
            assert!(Skip::read(&format!("SKIPPED x: {why}")).unwrap().is_unavoidable(), "{why}");
        }
        for other in ["it SKIPPED a: b", "SKIPPED", "SKIPPED x", "running 3 tests"] {
            assert_eq!(Skip::read(other), None, "{other}");
        }
    }
}

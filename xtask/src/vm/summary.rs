//! How the tests on other kernels went.

use std::time::Duration;

use anyhow::{Result, bail};
use testbed::skip::Skip;

use super::{log::complaints, verified::Verified, wire::Case};
use crate::ci;

/// How one test ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// And why.
    Skipped(Skip),
    /// And how.
    Failed(String),
}

impl Verdict {
    /// Judges by the exit status (`None`: ended because it took too long), the output, and the kernel's log.
    pub(super) fn of(status: Option<i32>, stdout: &str, stderr: &str, kernel: &[String]) -> Self {
        let complaints = complaints(kernel.iter().map(String::as_str));
        if !complaints.is_empty() {
            return Self::Failed(format!("the kernel complained:\n{}", kernel.join("\n")));
        }
        match status {
            None => return Self::Failed("it did not end".to_owned()),
            Some(0) => {}
            Some(code) => {
                return Self::Failed(panic_message(stdout).unwrap_or(format!("exit status {code}")));
            }
        }
        if let Some(skip) = stderr.lines().find_map(Skip::read) {
            return Self::Skipped(skip);
        }
        // A program without the test ends well too.
        if stdout.contains("test result: ok. 1 passed;") {
            Self::Passed
        } else {
            Self::Failed("it ran no test".to_owned())
        }
    }
}

/// The message of the first panic.
fn panic_message(stdout: &str) -> Option<String> {
    let mut lines = stdout.lines().skip_while(|line| !line.contains(" panicked at "));
    lines.nth(1).map(str::to_owned)
}

/// The count, of one kernel or over all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The kernel; shown before each line.
    kernel: String,
    /// Whether a skipped test is a failure, unless its reason is unavoidable ([`Skip::is_unavoidable`]).
    strict: bool,
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that were not run.
    pub(crate) skipped: u64,
    /// What failed.
    pub(crate) broken: Vec<String>,
    /// What was not run, and why.
    pub(crate) left_out: Vec<String>,
    /// What the verifier of this kernel looked at.
    verified: Verified,
}

impl Summary {
    /// That of all kernels.
    pub(super) fn new() -> Self {
        Self { strict: ci::is_strict(), ..Self::default() }
    }

    /// That of one kernel.
    pub(super) fn of(kernel: &str) -> Self {
        Self { kernel: kernel.to_owned(), ..Self::new() }
    }

    /// Shows lines with the name of the kernel: several run at the same time.
    pub(super) fn say(&self, lines: &str) {
        let name = format!("Linux {}", self.kernel);
        lines.lines().for_each(|line| println!("{name:<10} {line}"));
    }

    /// Adds another kernel's.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.broken.extend(other.broken);
        self.left_out.extend(other.left_out);
    }

    /// Tests of a kernel for which there is no machine, and why.
    pub(super) fn has_no_machine(&mut self, kernel: &str, tests: usize, why: &str) {
        if self.strict {
            self.fail(format!("Linux {kernel}: {tests} tests cannot be run: {why}"));
        } else {
            self.skipped += tests as u64;
            self.left_out.push(format!("Linux {kernel}: {tests} tests: {why}"));
        }
    }

    /// What kept the tests from being run, and should not have.
    pub(super) fn fail(&mut self, why: String) {
        self.failed += 1;
        self.broken.push(why);
    }

    /// The guest is up. Shows complaints of its kernel from the boot, which do not count as failures.
    pub(super) fn booted(&self, release: &str, took: Duration, kernel: &[String]) {
        self.say(&format!("booted {release} in {:.1} s", took.as_secs_f64()));
        for line in complaints(kernel.iter().map(String::as_str)) {
            self.say(&format!("while booting: {line}"));
        }
    }

    /// A test has ended.
    pub(super) fn ran(
        &mut self,
        case: &Case,
        took: Duration,
        verdict: &Verdict,
        [stdout, stderr]: [&str; 2],
    ) {
        let title = format!("{} {}", case.program, case.test);
        let took = took.as_secs_f64();
        let remarks = self.verified.take(stderr);
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                self.say(&format!("ok {title} ({took:.1} s)"));
                remarks.iter().for_each(|line| self.say(&format!("   {line}")));
            }
            Verdict::Skipped(skip) if self.strict && !skip.is_unavoidable() => {
                self.say(&format!("FAILED {title}: skipped, with CI=true: {}", skip.why));
                self.fail(format!("Linux {}: {title}: skipped: {}", self.kernel, skip.why));
            }
            Verdict::Skipped(Skip { why, .. }) => {
                self.say(&format!("skipped {title}: {why}"));
                self.skipped += 1;
                self.left_out.push(format!("Linux {}: {title}: {why}", self.kernel));
            }
            Verdict::Failed(how) => {
                self.failed += 1;
                self.say(&format!("FAILED {title} ({took:.1} s): {how}\n{stdout}\n{}", remarks.join("\n")));
                let how = how.lines().next().unwrap_or_default();
                self.broken.push(format!("Linux {}: {title}: {how}", self.kernel));
            }
        }
    }

    /// Shows how many instructions the verifier looked at for each program that the tests loaded.
    pub(super) fn say_verified(&self) {
        self.verified.lines().iter().for_each(|line| self.say(&format!("instructions verified: {line}")));
    }

    /// The machine ended before its time: the tests that it did not get to have failed.
    pub(super) fn broke(&mut self, missing: &[Case], why: &str) {
        self.say(&format!("FAILED: {why}"));
        self.failed += missing.len().max(1) as u64;
        let how = why.lines().next().unwrap_or_default();
        self.broken.push(format!("Linux {}: {} tests did not end: {how}", self.kernel, missing.len()));
    }

    /// Prints what failed, what was skipped, and the counts.
    ///
    /// # Errors
    /// If a test failed, or none ran.
    pub(super) fn conclude(self) -> Result<()> {
        println!();
        self.broken.iter().for_each(|title| println!("failed: {title}"));
        self.left_out.iter().for_each(|why| println!("skipped: {why}"));
        let Self { passed, failed, skipped, .. } = self;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} tests failed on other kernels");
        }
        if passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "test glibc ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";

    fn case() -> Case {
        Case { program: "live_x".into(), file: "/x".into(), directory: "/".into(), test: "y".into() }
    }

    #[test]
    fn a_test_is_judged_by_all_that_is_known() {
        let quiet = ["clocksource: Switched to clocksource tsc".to_owned()];
        let failed = |how: &str| Verdict::Failed(how.to_owned());
        assert_eq!(Verdict::of(Some(0), OK, "", &quiet), Verdict::Passed);
        assert_eq!(Verdict::of(Some(101), OK, "", &quiet), failed("exit status 101"));
        let panic = "---- y stdout ----\n\nthread 'y' (9) panicked at tests/x.rs:1:2:\n2 is not 3\nnote: run";
        assert_eq!(Verdict::of(Some(101), panic, "", &quiet), failed("2 is not 3"));
        assert_eq!(Verdict::of(None, OK, "", &quiet), failed("it did not end"));
        let none = "test result: ok. 0 passed; 0 failed; 9 filtered out\n";
        assert_eq!(Verdict::of(Some(0), none, "", &quiet), failed("it ran no test"));
        let skipped = Verdict::of(Some(0), OK, "SKIPPED y: no such tool\n", &quiet);
        assert_eq!(skipped, Verdict::Skipped(Skip { test: "y".into(), why: "no such tool".into() }));
        let complaint = ["BUG: unable to handle page fault".to_owned()];
        let harmed = Verdict::of(Some(0), OK, "", &complaint);
        assert_eq!(harmed, failed("the kernel complained:\nBUG: unable to handle page fault"));
    }

    #[test]
    fn what_the_machine_did_not_get_to_has_failed() {
        let mut summary = Summary::of("6.1");
        summary.broke(&[case(), case()], "panic\nlog");
        assert_eq!((summary.failed, summary.broken.len()), (2, 1));
        assert_eq!(summary.broken[0], "Linux 6.1: 2 tests did not end: panic");
        assert!(summary.conclude().is_err());
    }

    #[test]
    fn nothing_that_ran_is_no_success() {
        let mut summary = Summary::default();
        summary.has_no_machine("6.1", 3, "no emulator");
        assert_eq!((summary.skipped, summary.failed), (3, 0));
        assert_eq!(summary.left_out, ["Linux 6.1: 3 tests: no emulator"]);
        assert_eq!(summary.conclude().unwrap_err().to_string(), "no test ran");
    }

    #[test]
    fn in_ci_a_kernel_without_a_machine_is_a_failure() {
        let mut summary = Summary { strict: true, passed: 5, ..Summary::default() };
        summary.has_no_machine("6.1", 3, "no emulator");
        assert_eq!((summary.skipped, summary.failed), (0, 1));
        assert_eq!(summary.broken, ["Linux 6.1: 3 tests cannot be run: no emulator"]);
        assert!(summary.conclude().is_err());
    }

    #[test]
    fn in_ci_only_the_kernel_may_be_the_reason_of_a_skip() {
        let skip = |why: &str| Verdict::Skipped(Skip { test: "y".into(), why: why.into() });
        for (strict, counts) in [(false, (2, 0)), (true, (1, 1))] {
            let mut summary = Summary { strict, kernel: "6.1".into(), ..Summary::default() };
            for why in ["the kernel has no sessions", "no such tool"] {
                summary.ran(&case(), Duration::ZERO, &skip(why), ["", ""]);
            }
            assert_eq!((summary.skipped, summary.failed), counts, "{summary:?}");
            assert_eq!(summary.passed, 0);
        }
    }
}

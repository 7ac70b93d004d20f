//! The count of tests over all programs.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read, Write, stderr, stdout},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use testbed::skip::Skip;

use crate::vm;

/// How long we wait for the end of a test program's standard error after the program itself has ended: what a test left running
/// may hold it open for longer.
const REST: Duration = Duration::from_secs(1);

/// How tests went. Every test that did not run is named with its reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Whether a skipped test is a failure, unless its reason is unavoidable ([`Skip::is_unavoidable`]).
    strict: bool,
    passed: u64,
    failed: u64,
    skipped: u64,
    ignored: u64,
    /// What failed: test programs, tests that must not be skipped, tests on other kernels.
    broken: Vec<String>,
    /// What was skipped or is ignored, and why.
    left_out: Vec<String>,
}

impl Tally {
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// Runs one test program, shows what it prints and adds up its results.
    pub(super) fn run(&mut self, title: &str, program: &mut Command) -> Result<()> {
        println!("\n== {title}");
        self.follow(title, program, &mut stdout(), stderr())
    }

    fn follow(
        &mut self,
        title: &str,
        program: &mut Command,
        out: &mut impl Write,
        err: impl Write + Send + 'static,
    ) -> Result<()> {
        let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot run {title}"))?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("{title} has no pipes");
        };
        let skips = listen(errors, err);
        let mut results = Results::default();
        for line in BufReader::new(output).split(b'\n') {
            let mut line = line?;
            // What a test prints need not be UTF-8.
            results.add(&String::from_utf8_lossy(&line));
            // In one piece: emulated machines print at the same time.
            line.push(b'\n');
            out.write_all(&line)?;
        }
        let status = child.wait()?;
        let deadline = Instant::now() + REST;
        while let Ok(skip) = skips.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            results.skipped.insert(skip.test, skip.why);
        }
        self.add(title, results);
        if !status.success() {
            self.broken.push(format!("{title} ({status})"));
        }
        Ok(())
    }

    /// Adds the results of one test program. To the test harness, a test that was skipped has passed.
    fn add(&mut self, title: &str, results: Results) {
        self.passed += results.passed;
        self.failed += results.failed;
        self.ignored += results.ignored.len() as u64;
        self.left_out.extend(results.ignored.iter().map(|test| format!("ignored: {title}: {test}")));
        for (test, why) in results.skipped {
            if results.broken.contains(&test) {
                continue;
            }
            self.passed = self.passed.saturating_sub(1);
            let skip = Skip { test, why };
            let line = format!("{title}: {}: {}", skip.test, skip.why);
            if self.strict && !skip.is_unavoidable() {
                self.failed += 1;
                self.broken.push(format!("{line} (a test must not be skipped for this reason with CI=true)"));
            } else {
                self.skipped += 1;
                self.left_out.push(format!("skipped: {line}"));
            }
        }
    }

    /// Adds what was run on other kernels.
    pub(super) fn take(&mut self, other: vm::Summary) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.broken.extend(other.broken);
        self.left_out.extend(other.left_out.iter().map(|why| format!("skipped: {why}")));
    }

    /// Prints what did not run, what failed, and the counts.
    ///
    /// # Errors
    /// If something failed, or nothing ran.
    pub(super) fn conclude(self) -> Result<()> {
        let Self { passed, failed, skipped, ignored, broken, left_out, .. } = self;
        println!();
        left_out.iter().for_each(|line| println!("{line}"));
        broken.iter().for_each(|what| println!("failed: {what}"));
        let count = |count: u64, what: &str| {
            if count > 0 { format!(", {count} {what}") } else { String::new() }
        };
        println!(
            "{passed} passed, {failed} failed{}{}",
            count(skipped, "skipped"),
            count(ignored, "ignored")
        );
        if !broken.is_empty() {
            bail!("{} tests or test programs failed", broken.len());
        }
        if passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}

/// Shows a test program's standard error and passes on what says that a test is skipped. The channel ends with the stream.
fn listen(errors: impl Read + Send + 'static, mut shown: impl Write + Send + 'static) -> Receiver<Skip> {
    let (sender, skips) = channel();
    thread::spawn(move || {
        for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
            // If standard error is closed, there is nothing else to do.
            let _ = shown.write_all(&line).and_then(|()| shown.write_all(b"\n"));
            if let Some(skip) = Skip::read(&String::from_utf8_lossy(&line)) {
                let _ = sender.send(skip);
            }
        }
    });
    skips
}

/// The results of one test program.
#[derive(Debug, Default, PartialEq, Eq)]
struct Results {
    passed: u64,
    failed: u64,
    /// Names of tests that failed.
    broken: Vec<String>,
    /// Tests that are only run when they are asked for, with the reason in their attribute.
    ignored: Vec<String>,
    /// Tests that said that they are skipped, and why.
    skipped: BTreeMap<String, String>,
}

impl Results {
    /// Adds one line of the test harness: the result of a test, or the line with the counts.
    fn add(&mut self, line: &str) {
        if let Some((test, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            match result.split_once(", ").unwrap_or((result, "")) {
                ("ignored", "") => self.ignored.push(test.to_owned()),
                ("ignored", why) => self.ignored.push(format!("{test}: {why}")),
                ("FAILED", _) => self.broken.push(test.to_owned()),
                _ => {}
            }
        }
        let Some(result) = line.strip_prefix("test result:") else { return };
        let words = result.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect::<Vec<_>>();
        for pair in words.windows(2) {
            let &[count, what] = pair else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::command;

    /// A test program that prints these lines and ends so. They are not shown: whoever counts the results of this very program
    /// would count them too.
    fn follow(tally: &mut Tally, title: &str, script: &str) -> String {
        let mut shown = Vec::new();
        tally.follow(title, command("sh").args(["-c", script]), &mut shown, std::io::sink()).unwrap();
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn results_add_up_over_programs() {
        let mut tally = Tally::default();
        let said = follow(
            &mut tally,
            "a",
            "echo 'test b::c ... ignored, prints a table'; echo 'test d ... ignored'; echo running 99 tests; \
             echo 'test result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.02s'",
        );
        assert_eq!(said.lines().count(), 4, "{said}");
        follow(
            &mut tally,
            "b",
            "echo 'test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured'; exit 101",
        );
        let expected = Tally {
            passed: 16,
            failed: 2,
            ignored: 2,
            broken: vec!["b (exit status: 101)".into()],
            left_out: vec!["ignored: a: b::c: prints a table".into(), "ignored: a: d".into()],
            ..Tally::default()
        };
        assert_eq!(tally, expected);
    }

    /// One test lacks a feature of the kernel, one a program; a third says that it is skipped, and then fails.
    const SKIPS: &str = "echo 'SKIPPED x: the kernel has no sessions' >&2; echo 'SKIPPED y::z: go is not installed' >&2; \
        echo 'SKIPPED y::z: go is not installed' >&2; echo 'SKIPPED w: no' >&2; echo 'test w ... FAILED'; \
        echo 'test result: FAILED. 5 passed; 1 failed; 0 ignored'";

    #[test]
    fn a_skipped_test_has_not_passed_and_is_named() {
        let mut tally = Tally::default();
        follow(&mut tally, "p", SKIPS);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (3, 1, 2));
        let expected = ["skipped: p: x: the kernel has no sessions", "skipped: p: y::z: go is not installed"];
        assert_eq!(tally.left_out, expected);
        assert!(tally.broken.is_empty());
    }

    #[test]
    fn in_ci_a_test_that_could_have_run_must_run() {
        let mut tally = Tally::new(true);
        follow(&mut tally, "p", SKIPS);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (3, 2, 1));
        assert_eq!(tally.left_out, ["skipped: p: x: the kernel has no sessions"]);
        assert_eq!(tally.broken.len(), 1, "{:?}", tally.broken);
        assert!(tally.broken[0].starts_with("p: y::z: go is not installed"), "{:?}", tally.broken);
        assert!(tally.conclude().is_err());
    }

    #[test]
    fn a_program_that_dies_without_a_result_is_a_failure() {
        let mut tally = Tally::default();
        let said = follow(&mut tally, "good", "echo 'test result: ok. 1 passed; 0 failed'");
        assert_eq!(said, "test result: ok. 1 passed; 0 failed\n");
        follow(&mut tally, "crash", "kill -SEGV $$");
        assert_eq!(tally.passed, 1);
        assert_eq!(tally.broken.len(), 1);
        assert!(tally.broken[0].starts_with("crash (signal: 11"), "{:?}", tally.broken);
        assert!(tally.conclude().is_err());
    }

    #[test]
    fn what_a_test_leaves_running_is_not_waited_for() {
        let mut tally = Tally::default();
        let began = Instant::now();
        let said =
            follow(&mut tally, "a", "sleep 60 >&- & echo $!; echo 'test result: ok. 1 passed; 0 failed'");
        assert!(began.elapsed() < Duration::from_secs(30));
        let pid =
            said.lines().next().and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
        assert_eq!(tally.passed, 1);
    }

    #[test]
    fn nothing_that_ran_is_no_success() {
        assert_eq!(Tally::default().conclude().unwrap_err().to_string(), "no test ran");
    }
}

//! `cargo xtask test`: every test, built as the user, the live ones run as root.
//!
//! A live test is one in a file `profiler/tests/live_*.rs`. It attaches probes, so it needs root, and it measures,
//! so it runs alone.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead as _, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    artifacts::{self, Executable},
    examples,
    privilege::Privilege,
    process::{cargo, command, die_of_ctrl_c},
    setup::{self, Need},
    vm, workspace,
};

/// What a live test needs of the user's environment, which sudo clears: where compilers are.
const PASSED_TO_ROOT: [&str; 5] = ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "RUST_BACKTRACE"];

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the long versions of the tests too (sets PROFILER_SOAK=1 for them)
    #[arg(long)]
    soak: bool,
    /// Leave out the live tests, which need root
    #[arg(long)]
    no_root: bool,
    /// Run only tests whose name, or whose program's name, contains this
    filter: Option<String>,
}

/// `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<()> {
    die_of_ctrl_c()?;
    // Before anything is built: nobody should wait minutes for this answer.
    let privilege = if args.no_root {
        None
    } else {
        Some(Privilege::find().context("the live tests cannot run (--no-root leaves them out)")?)
    };
    setup::ensure(&[Need::Build])?;
    match setup::ensure(&[Need::Test]) {
        // Who has no root cannot install either. What a test misses then, it says itself.
        Err(error) if args.no_root => println!("note: {error:#}"),
        outcome => outcome?,
    }
    let built = artifacts::build(cargo().args(["test", "--workspace", "--no-run"]))?;

    let mut tally = Tally::default();
    let (live, local): (Vec<_>, Vec<_>) =
        built.iter().filter(|executable| executable.is_test).partition(|executable| is_live(executable));
    for test in local {
        let mut run = command(&test.path);
        run.envs(variables(test, args)).args(filter(test, args));
        tally.run(&title(test), run.current_dir(&test.package_dir))?;
    }
    tally
        .run("documentation", cargo().args(["test", "--workspace", "--doc", "--quiet"]).args(&args.filter))?;
    match privilege {
        Some(privilege) => run_live(privilege, &live, args, &mut tally)?,
        None => println!("\nleft out by --no-root: {} live test programs", live.len()),
    }
    // An emulated machine needs no root.
    tally.take(vm::run_in_tests(&built, args.filter.as_deref())?);
    tally.conclude()
}

fn run_live(privilege: Privilege, live: &[&Executable], args: &Args, tally: &mut Tally) -> Result<()> {
    let pong = examples::pong()?;
    for test in live {
        let passed = PASSED_TO_ROOT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut variables = variables(test, args);
        variables.extend(passed);
        variables.push(("PROFILER_PONG", pong.clone().into_os_string()));
        let variables = variables.iter().map(|(name, value)| (*name, value.as_os_str())).collect::<Vec<_>>();
        let mut run = privilege.command(&test.path, &variables);
        run.arg("--test-threads=1").args(filter(test, args)).current_dir(&test.package_dir);
        tally.run(&title(test), &mut run)?;
    }
    privilege.hand_back(&workspace::target_dir())
}

/// What a test program is to be asked for: everything, if it is the program that was named.
fn filter<'a>(test: &Executable, args: &'a Args) -> Option<&'a String> {
    args.filter.as_ref().filter(|filter| !test.name.contains(*filter))
}

fn is_live(test: &Executable) -> bool {
    test.kind == "test" && test.name.starts_with("live_")
}

fn title(test: &Executable) -> String {
    let package = test.package_dir.file_name().unwrap_or_else(|| OsStr::new("?"));
    format!("{} {} {}", Path::new(package).display(), test.kind, test.name)
}

/// What cargo would set, and what the tests ask for.
fn variables(test: &Executable, args: &Args) -> Vec<(&'static str, OsString)> {
    let mut variables = vec![("CARGO_MANIFEST_DIR", test.package_dir.clone().into_os_string())];
    let wishes = [(args.soak, "PROFILER_SOAK"), (args.no_root, "PROFILER_NO_ROOT")];
    variables.extend(wishes.into_iter().filter(|(on, _)| *on).map(|(_, name)| (name, "1".into())));
    variables
}

/// The count of tests over all programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    /// By their own attribute, or because this machine cannot run them.
    skipped: u64,
    /// What failed, by title: programs, and tests on other kernels.
    broken: Vec<String>,
    /// What this machine cannot run, and why.
    left_out: Vec<String>,
}

impl Tally {
    /// Runs one test program, shows what it prints and adds up its results.
    fn run(&mut self, title: &str, program: &mut Command) -> Result<()> {
        println!("\n== {title}");
        self.follow(title, program, &mut std::io::stdout().lock())
    }

    fn follow(&mut self, title: &str, program: &mut Command, out: &mut impl Write) -> Result<()> {
        let mut child =
            program.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {title}"))?;
        let output = child.stdout.take().context("a test program without output")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            // What a test prints need not be UTF-8.
            out.write_all(&line)?;
            out.write_all(b"\n")?;
            self.add(&String::from_utf8_lossy(&line));
        }
        let status = child.wait()?;
        if !status.success() {
            self.broken.push(format!("{title} ({status})"));
        }
        Ok(())
    }

    /// Adds one line of a test program's output, if it is the line with the result.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result:") else { return };
        let words = result.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect::<Vec<_>>();
        for pair in words.windows(2) {
            let &[count, what] = pair else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }

    /// Adds what was run on other kernels.
    fn take(&mut self, other: vm::Summary) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.broken.extend(other.broken);
        self.left_out.extend(other.left_out);
    }

    fn conclude(self) -> Result<()> {
        let Self { passed, failed, skipped, broken, left_out } = self;
        println!();
        left_out.iter().for_each(|why| println!("skipped: {why}"));
        broken.iter().for_each(|title| println!("failed: {title}"));
        let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        println!("{passed} passed, {failed} failed{skipped}");
        if !broken.is_empty() {
            bail!("{} tests or test programs failed", broken.len());
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

    #[test]
    fn results_add_up_over_programs() {
        let mut tally = Tally::default();
        tally.add(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s",
        );
        tally.add("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.add("running 99 tests");
        assert_eq!(tally, Tally { passed: 16, failed: 2, skipped: 1, ..Tally::default() });
    }

    #[test]
    fn a_program_that_dies_without_a_result_is_a_failure() {
        let mut tally = Tally::default();
        // Not shown: whoever counts the results of this very program would count that one too.
        let mut shown = Vec::new();
        tally.follow("good", command("echo").arg("test result: ok. 1 passed; 0 failed"), &mut shown).unwrap();
        tally.follow("crash", command("sh").args(["-c", "kill -SEGV $$"]), &mut shown).unwrap();
        assert_eq!(shown, b"test result: ok. 1 passed; 0 failed\n");
        assert_eq!(tally.passed, 1);
        assert_eq!(tally.broken.len(), 1);
        assert!(tally.broken[0].starts_with("crash (signal: 11"), "{:?}", tally.broken);
        assert!(tally.conclude().is_err());
    }

    #[test]
    fn nothing_that_ran_is_no_success() {
        assert_eq!(Tally::default().conclude().unwrap_err().to_string(), "no test ran");
    }

    #[test]
    fn live_tests_are_known_by_their_file() {
        let test = |kind: &str, name: &str| Executable {
            package_dir: "/w/profiler".into(),
            name: name.into(),
            kind: kind.into(),
            is_test: true,
            path: "/w/t".into(),
        };
        assert!(is_live(&test("test", "live_exact")));
        assert!(!is_live(&test("test", "cli")));
        assert!(!is_live(&test("bin", "live_view")));
    }
}

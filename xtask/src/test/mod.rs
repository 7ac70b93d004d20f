//! `cargo xtask test`: every test, built as the user, the live ones run as root.
//!
//! A live test is one in a file `profiler/tests/live_*.rs`. It attaches probes, so it needs root, and it measures,
//! so it runs alone.

mod tally;

use std::{
    ffi::{OsStr, OsString},
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result};

use self::tally::Tally;
use crate::{
    artifacts::{self, Executable},
    ci, dist, examples,
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
    // Before the build, so that the answer comes at once.
    let privilege = if args.no_root {
        None
    } else {
        Some(Privilege::find().context("the live tests cannot run (--no-root leaves them out)")?)
    };
    setup::ensure(&[Need::Build])?;
    match setup::ensure(&[Need::Test]) {
        // Without root nothing can be installed. A test that lacks a package says so itself.
        Err(error) if args.no_root => println!("note: {error:#}"),
        outcome => outcome?,
    }
    let (built, observed) = build(args)?;

    let mut tally = Tally::new(ci::is_strict());
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
        Some(privilege) => {
            let observed = observed.map_or_else(|| Observed::of_tests(&built), Ok)?;
            run_live(privilege, &live, &observed, args, &mut tally)?;
        }
        None => println!("\nleft out by --no-root: {} live test programs", live.len()),
    }
    // An emulated machine needs no root.
    tally.take(vm::run_in_tests(&built, args.filter.as_deref())?);
    tally.conclude()
}

/// What the live tests observe with, and a server that they observe.
struct Observed {
    profiler: PathBuf,
    pong: PathBuf,
}

impl Observed {
    /// The profiler that users get.
    fn released() -> Result<Self> {
        Ok(Self { profiler: dist::static_profiler("lab")?.path, pong: examples::pong()? })
    }

    /// The profiler that was built with the tests.
    fn of_tests(built: &[Executable]) -> Result<Self> {
        Ok(Self { profiler: artifacts::program(built, "profiler")?.path.clone(), pong: examples::pong()? })
    }
}

/// Builds the tests, and what the live ones need. A filter asks for a quick answer, so the profiler that users get is built only
/// without one, and at the same time as the tests: either build leaves processors idle while one large crate is compiled. No test
/// runs yet, so none is disturbed.
fn build(args: &Args) -> Result<(Vec<Executable>, Option<Observed>)> {
    let tests = || artifacts::build(cargo().args(["test", "--workspace", "--no-run"]));
    if args.no_root || args.filter.is_some() {
        return Ok((tests()?, None));
    }
    thread::scope(|scope| {
        let released = scope.spawn(Observed::released);
        let tests = tests();
        let released = released.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok((tests?, Some(released?)))
    })
}

fn run_live(
    privilege: Privilege,
    live: &[&Executable],
    Observed { profiler, pong }: &Observed,
    args: &Args,
    tally: &mut Tally,
) -> Result<()> {
    println!("\nprofiler under test: {}", profiler.display());
    for test in live {
        let passed = PASSED_TO_ROOT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut variables = variables(test, args);
        variables.extend(passed);
        variables.push(("PROFILER_PONG", pong.as_os_str().to_owned()));
        variables.push(("PROFILER_PROGRAM", profiler.as_os_str().to_owned()));
        let variables = variables.iter().map(|(name, value)| (*name, value.as_os_str())).collect::<Vec<_>>();
        let mut run = privilege.command(&test.path, &variables);
        run.arg("--test-threads=1").args(filter(test, args)).current_dir(&test.package_dir);
        tally.run(&title(test), &mut run)?;
    }
    privilege.hand_back(&workspace::target_dir())
}

/// The filter to pass to a test program: none if the filter names the program itself.
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

#[cfg(test)]
mod tests {
    use super::*;

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

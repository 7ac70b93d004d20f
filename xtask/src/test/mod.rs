//! `cargo xtask test`: every test, built as the user, the live ones run as root.
//!
//! A live test is one in a file `profiler/tests/live_*.rs`. It attaches probes, so it needs root, and it counts what
//! happens, so no other runs at the same time. Those in `live_*cost.rs` measure, so they have the machine to themselves;
//! beside the others, other kernels are emulated on what these leave of the processors.

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
    // An emulated machine needs no root. What it boots is built before anything is measured.
    let few = vm::Few::prepare(&built, args.filter.as_deref())?;
    match privilege {
        Some(privilege) => {
            let observed = observed.map_or_else(|| Observed::of_tests(&built), Ok)?;
            println!("\nprofiler under test: {}", observed.profiler.display());
            let (measuring, others): (Vec<_>, Vec<_>) = live.into_iter().partition(|test| measures(test));
            run_live(privilege, &measuring, &observed, args, &mut tally)?;
            thread::scope(|scope| {
                let emulated = scope.spawn(|| few.run());
                run_live(privilege, &others, &observed, args, &mut tally)?;
                tally.take(emulated.join().unwrap_or_else(|panic| resume_unwind(panic)));
                privilege.hand_back(&workspace::target_dir())
            })?;
        }
        None => {
            println!("\nleft out by --no-root: {} live test programs", live.len());
            tally.take(few.run());
        }
    }
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
    for test in live {
        let passed = PASSED_TO_ROOT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut variables = variables(test, args);
        variables.extend(passed);
        variables.push(("PROFILER_PONG", pong.as_os_str().to_owned()));
        variables.push(("PROFILER_PROGRAM", profiler.as_os_str().to_owned()));
        let variables = variables.iter().map(|(name, value)| (*name, value.as_os_str())).collect::<Vec<_>>();
        let mut run = privilege.command(&test.path, &variables);
        // Those that need the machine for themselves wait for each other.
        run.arg("--test-threads=4").args(filter(test, args)).current_dir(&test.package_dir);
        tally.run(&title(test), &mut run)?;
    }
    Ok(())
}

/// The filter to pass to a test program: none if the filter names the program itself.
fn filter<'a>(test: &Executable, args: &'a Args) -> Option<&'a String> {
    args.filter.as_ref().filter(|filter| !test.name.contains(*filter))
}

fn is_live(test: &Executable) -> bool {
    test.kind == "test" && test.name.starts_with("live_")
}

/// Whether a live test compares costs, which other work on the machine would change.
fn measures(test: &Executable) -> bool {
    test.name.ends_with("cost")
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
        assert!(measures(&test("test", "live_io_cost")));
        assert!(!measures(&test("test", "live_exact")));
    }
}

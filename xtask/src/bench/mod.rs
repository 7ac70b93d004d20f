//! `cargo xtask bench`: what profiler costs, compared with empty programs and with other tools.
//!
//! A bench builds as the user and measures as root. It prints what it does on the way; its last line on stdout is
//! one JSON object, which is what is kept and compared.

mod footprint;
mod io;
mod large;
mod memleak;
pub(crate) mod observer;
mod syscalls;
mod target;
mod unwind;

pub(crate) use memleak::median;

use std::{ffi::OsStr, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches, Subcommand, error::ErrorKind};
use serde_json::{Map, Value};

use crate::{
    artifacts,
    privilege::Privilege,
    process::cargo,
    setup::{self, Need},
    workspace,
};

/// Every bench, by name: a new one takes a line here.
const BENCHES: &[Bench] = &[
    Bench::new(
        "footprint",
        "Time to attach and detach, stalls of the target, our CPU and memory",
        footprint::run,
    )
    .or(
        "busy",
        "Only attaching and detaching, beside four threads that want all processors",
        footprint::run_busy,
    ),
    Bench::new(
        "io",
        "What observing files and sockets adds to an operation and what redis loses, against bpftrace",
        io::run,
    ),
    Bench::new("memleak", "Nanoseconds that memleak adds to a malloc and its free", memleak::run).or(
        "without-frame-pointers",
        "On a C++ program without frame pointers, whose stacks have 16 frames",
        memleak::run_without_frame_pointers,
    ),
    Bench::new(
        "syscalls",
        "Nanoseconds that counting adds to a system call, against empty programs and what others add",
        syscalls::run,
    ),
    Bench::new(
        "unwind",
        "Nanoseconds that a stack costs, against the kernel's walk by frame pointers",
        unwind::run,
    ),
];

/// What a bench does.
type Run = fn(&Rig) -> Result<Figures>;

/// A bench, and with a flag another one of the same subject.
struct Bench {
    name: &'static str,
    about: &'static str,
    run: Run,
    /// The flag, what it changes, and what is done then.
    other: Option<(&'static str, &'static str, Run)>,
}

impl Bench {
    const fn new(name: &'static str, about: &'static str, run: Run) -> Self {
        Self { name, about, run, other: None }
    }

    /// With `--flag`, another bench is run.
    const fn or(self, flag: &'static str, help: &'static str, run: Run) -> Self {
        Self { other: Some((flag, help, run)), ..self }
    }

    fn command(&self) -> clap::Command {
        let command = clap::Command::new(self.name).about(self.about);
        match self.other {
            Some((flag, help, _)) => {
                command.arg(Arg::new(flag).long(flag).help(help).action(ArgAction::SetTrue))
            }
            None => command,
        }
    }

    /// The bench to run with these options.
    fn chosen(&self, options: &ArgMatches) -> Run {
        match self.other {
            Some((flag, _, other)) if options.get_flag(flag) => other,
            _ => self.run,
        }
    }
}

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    choice: Choice,
}

/// The bench that was chosen.
struct Choice(Run);

impl FromArgMatches for Choice {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let chosen = matches.subcommand().and_then(|(name, options)| {
            let bench = BENCHES.iter().find(|bench| bench.name == name)?;
            Some(Self(bench.chosen(options)))
        });
        chosen.ok_or_else(|| clap::Error::new(ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Choice {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        command.subcommands(BENCHES.iter().map(Bench::command)).subcommand_required(true)
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        BENCHES.iter().any(|bench| bench.name == name)
    }
}

/// `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let privilege = Privilege::find()?;
    setup::ensure(&[Need::Build, Need::Bench])?;
    let rig = Rig::build(privilege)?;
    let figures = (args.choice.0)(&rig);
    privilege.hand_back(&rig.scratch)?;
    println!("{}", Value::Object(figures?));
    Ok(())
}

/// What a bench prints on its last line. Names carry their unit.
type Figures = Map<String, Value>;

/// Release builds of the measured programs, and root to run them.
struct Rig {
    privilege: Privilege,
    profiler: PathBuf,
    /// Where a bench may write; the user's again after the run.
    scratch: PathBuf,
}

impl Rig {
    fn build(privilege: Privilege) -> Result<Self> {
        let built = artifacts::build(cargo().args([
            "build",
            "--release",
            "--package",
            "profiler",
            "--bins",
            "--features",
            "lab",
        ]))?;
        let scratch = workspace::target_dir().join("bench");
        std::fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        Ok(Self { privilege, profiler: artifacts::program(&built, "profiler")?.path.clone(), scratch })
    }

    /// profiler, to be run as root.
    fn profiler(&self) -> Command {
        self.privilege.command(&self.profiler, &[])
    }

    /// A command that is run as root and finds tracefs where it expects it.
    fn with_tracefs(&self, words: &[&str]) -> Command {
        const MOUNT: &str = "mount -t tracefs tracefs /sys/kernel/tracing && exec \"$@\"";
        let mut command = self.privilege.command("unshare", &[("LC_ALL", OsStr::new("C"))]);
        command.args(["--mount", "sh", "-c", MOUNT, "sh"]).args(words);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(words: &[&str]) -> Result<Run, ErrorKind> {
        let command = Choice::augment_subcommands(clap::Command::new("bench").no_binary_name(true));
        let matches = command.try_get_matches_from(words).map_err(|error| error.kind())?;
        Choice::from_arg_matches(&matches).map(|choice| choice.0).map_err(|error| error.kind())
    }

    #[test]
    fn each_bench_and_its_flag_choose_what_is_done() {
        for bench in BENCHES {
            assert_eq!(chosen(&[bench.name]).unwrap() as usize, bench.run as usize, "{}", bench.name);
            if let Some((flag, _, other)) = bench.other {
                let words = [bench.name, &format!("--{flag}")];
                assert_eq!(chosen(&words).unwrap() as usize, other as usize, "{words:?}");
            }
        }
        assert_eq!(chosen(&[]).unwrap_err(), ErrorKind::MissingSubcommand);
        assert_eq!(chosen(&["no-such"]).unwrap_err(), ErrorKind::InvalidSubcommand);
        assert_eq!(chosen(&["unwind", "--busy"]).unwrap_err(), ErrorKind::UnknownArgument);
    }
}

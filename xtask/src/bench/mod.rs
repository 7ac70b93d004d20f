//! `cargo xtask bench`: what profiler costs, against what nobody can go below and against what others do.
//!
//! A bench builds as the user and measures as root. It prints what it does on the way; its last line on stdout is
//! one JSON object, which is what is kept and compared.

mod footprint;
mod large;
mod memleak;
pub(crate) mod observer;
mod syscalls;
mod target;
mod unwind;

pub(crate) use memleak::median;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Map, Value};

use crate::{
    artifacts,
    privilege::Privilege,
    process::cargo,
    setup::{self, Need},
    workspace,
};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Clone, Copy, Subcommand)]
enum Bench {
    /// Nanoseconds that memleak adds to a malloc and its free
    Memleak {
        /// On a C++ program without frame pointers, whose stacks have 16 frames
        #[arg(long)]
        without_frame_pointers: bool,
    },
    /// Time to attach and detach, stalls of the target, our CPU and memory
    Footprint {
        /// Only attaching and detaching, beside four threads that want all processors
        #[arg(long)]
        busy: bool,
    },
    /// Nanoseconds that counting adds to a system call, against empty programs and what others add
    Syscalls,
    /// Nanoseconds that a stack costs, against the kernel's walk by frame pointers
    Unwind,
}

/// `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let privilege = Privilege::find()?;
    setup::ensure(&[Need::Build, Need::Bench])?;
    let rig = Rig::build(privilege)?;
    let figures = match args.bench {
        Bench::Memleak { without_frame_pointers: false } => memleak::run(&rig),
        Bench::Memleak { without_frame_pointers: true } => memleak::run_without_frame_pointers(&rig),
        Bench::Syscalls => syscalls::run(&rig),
        Bench::Unwind => unwind::run(&rig),
        Bench::Footprint { busy: false } => footprint::run(&rig),
        Bench::Footprint { busy: true } => footprint::run_busy(&rig),
    };
    privilege.hand_back(&rig.scratch)?;
    println!("{}", Value::Object(figures?));
    Ok(())
}

/// What a bench prints on its last line. Names carry their unit.
type Figures = Map<String, Value>;

/// Release builds of what is measured, and root to run them.
struct Rig {
    privilege: Privilege,
    profiler: PathBuf,
    /// Where a bench may write; the user's again after the run.
    scratch: PathBuf,
}

impl Rig {
    fn build(privilege: Privilege) -> Result<Self> {
        let built =
            artifacts::build(cargo().args(["build", "--release", "--package", "profiler", "--bins"]))?;
        let scratch = workspace::target_dir().join("bench");
        std::fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        Ok(Self { privilege, profiler: artifacts::program(&built, "profiler")?.path.clone(), scratch })
    }

    /// profiler, to be run as root.
    fn profiler(&self) -> Command {
        self.privilege.command(&self.profiler, &[])
    }
}

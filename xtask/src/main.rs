//! Everything around the code: set-up, demo, tests, lints, benches, releases.
//!
//! Each task builds as the user and asks for root only to run what needs it. Each calls [`setup`] for what it
//! needs, so that a fresh clone knows no other step.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the person who started it")]

mod artifacts;
mod bench;
mod ci;
mod demo;
mod dist;
mod examples;
mod field;
mod lint;
mod privilege;
mod process;
mod setup;
mod test;
#[path = "../../profiler/build/toolchain.rs"]
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of this workspace", version = None)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing to build, and with options to test, lint and measure
    Setup(setup::Args),
    /// Start a game server that leaks, and let profiler find the leak
    Demo(demo::Args),
    /// Run every test; the live ones as root
    Test(test::Args),
    /// Run the live tests on other kernels, in emulated machines
    Vm(vm::Args),
    /// Check format, lints, documentation, licences and the tree itself
    Lint,
    /// Check the tree itself: lengths of files, links, who names a tool (the first step of lint)
    Tidy,
    /// Measure what profiler costs; the last line is one JSON object
    Bench(bench::Args),
    /// Observe real servers, and check what the first line says about them and what that cost them
    Field(field::Args),
    /// Build a static release into target/dist
    Dist,
    /// Be process 1 of a machine of `vm`
    #[command(hide = true)]
    VmGuest,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = run(cli.task);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    // The machine that it is process 1 of has no checkout.
    if !matches!(task, Task::VmGuest) {
        workspace::require()?;
        privilege::refuse_foreign_root()?;
    }
    match task {
        Task::Setup(args) => setup::run(args),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Lint => lint::run(),
        Task::Tidy => lint::tidy::run(),
        Task::Bench(args) => bench::run(&args),
        Task::Field(args) => field::run(&args),
        Task::Dist => dist::run(),
        Task::VmGuest => vm::be_guest(),
    }
}

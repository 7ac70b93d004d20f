//! `cargo xtask lint`: what can be judged without running anything.

pub(crate) mod tidy;

use std::{panic::resume_unwind, process::Command, thread};

use anyhow::{Result, anyhow, bail};

use crate::{
    process::{self, cargo, of_toolchain},
    setup::{self, Need},
    toolchain::Toolchain,
    workspace,
};

/// A name for the person who reads, and what it does.
type Step = (&'static str, fn() -> Result<()>);
/// The same for one that runs beside others: it returns what it has to say.
type StepAside = (&'static str, fn() -> Result<Command>);

const STEPS: [Step; 5] = [
    ("tidy", tidy::run),
    ("format", format),
    ("clippy", clippy),
    ("documentation", documentation),
    ("licences and sources", deny),
];
/// They have a target folder of their own, and use the processors that the others leave idle: each of these ends with one large crate.
const STEPS_OF_BPF: [StepAside; 2] =
    [("clippy for BPF", bpf_clippy), ("documentation for BPF", bpf_documentation)];

/// `cargo xtask lint`. Every step runs, so that one run shows everything there is to mend.
pub(crate) fn run() -> Result<()> {
    setup::ensure(&[Need::Build, Need::Lint])?;
    let failed = thread::scope(|scope| {
        let of_bpf = scope.spawn(|| STEPS_OF_BPF.map(|(name, step)| (name, step_aside(step))));
        let mut failed = Vec::new();
        let mut judge = |name, outcome: Result<()>| {
            if let Err(error) = outcome {
                println!("{error:#}");
                failed.push(name);
            }
        };
        for (name, step) in STEPS {
            println!("\n== {name}");
            judge(name, step());
        }
        for (name, (said, outcome)) in of_bpf.join().unwrap_or_else(|panic| resume_unwind(panic)) {
            println!("\n== {name}\n{said}");
            judge(name, outcome);
        }
        failed
    });
    println!();
    if !failed.is_empty() {
        bail!("lint: {}", failed.join(", "));
    }
    println!("lint: all {} steps are clean", STEPS.len() + STEPS_OF_BPF.len());
    Ok(())
}

fn step_aside(step: fn() -> Result<Command>) -> (String, Result<()>) {
    match step() {
        Ok(mut command) => process::run_aside(&mut command),
        Err(error) => (String::new(), Err(error)),
    }
}

fn format() -> Result<()> {
    process::run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    process::run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // As it is shipped: without what the tests turn on.
    process::run(cargo().args(["clippy", "--workspace", "--lib", "--bins", "--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut doc)
}

fn deny() -> Result<()> {
    process::run(cargo().args([
        "deny",
        "--workspace",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}

/// The code that only exists for the BPF target, which the host's clippy never sees. A toolchain without clippy has the lints of its
/// compiler only.
fn bpf_clippy() -> Result<Command> {
    let toolchain = bpf_toolchain()?;
    let task = if setup::has_clippy(&toolchain) { "clippy" } else { "check" };
    Ok(bpf_cargo(&toolchain, &[task, "--lib", "--bins"]))
}

fn bpf_documentation() -> Result<Command> {
    Ok(bpf_cargo(&bpf_toolchain()?, &["doc", "--lib", "--no-deps", "--document-private-items"]))
}

fn bpf_toolchain() -> Result<Toolchain> {
    Toolchain::find().map_err(|lacking| anyhow!("no BPF toolchain: {}", lacking.join("; ")))
}

/// Cargo of the BPF toolchain on the BPF crate, with warnings as errors, as aya-build calls it.
fn bpf_cargo(toolchain: &Toolchain, task: &[&str]) -> Command {
    let mut cargo = of_toolchain(toolchain.name.as_deref(), "cargo");
    let flags = format!("--cfg=bpf_target_arch=\"{}\" -Dwarnings", std::env::consts::ARCH);
    cargo
        .args(task)
        .args(["--package", "profiler-ebpf", "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(workspace::target_dir().join("bpf-lint"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", &flags)
        .env("RUSTDOCFLAGS", &flags)
        .env_remove("RUSTC");
    cargo
}

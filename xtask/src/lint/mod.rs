//! `cargo xtask lint`: what can be judged without running anything.

pub(crate) mod tidy;

use anyhow::{Result, anyhow, bail};

use crate::{
    process::{self, cargo, of_toolchain},
    setup::{self, Need},
    toolchain::Toolchain,
    workspace,
};

/// A name for the person who reads, and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// `cargo xtask lint`. Every step runs, so that one run shows everything there is to mend.
pub(crate) fn run() -> Result<()> {
    setup::ensure(&[Need::Build, Need::Lint])?;
    let steps: [Step; 7] = [
        ("tidy", tidy::run),
        ("format", format),
        ("clippy", clippy),
        ("clippy for BPF", bpf_clippy),
        ("documentation", documentation),
        ("documentation for BPF", bpf_documentation),
        ("licences and sources", deny),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        if let Err(error) = step() {
            println!("{error:#}");
            failed.push(name);
        }
    }
    println!();
    if !failed.is_empty() {
        bail!("lint: {}", failed.join(", "));
    }
    println!("lint: all {} steps are clean", steps.len());
    Ok(())
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

/// The code that only exists for the BPF target, which the host's clippy never sees.
fn bpf_clippy() -> Result<()> {
    let toolchain = bpf_toolchain()?;
    if setup::has_clippy(&toolchain) {
        return process::run(&mut bpf_cargo(&toolchain, &["clippy", "--lib", "--bins"]));
    }
    println!("note: the BPF toolchain has no clippy; its compiler's own lints have to do");
    process::run(&mut bpf_cargo(&toolchain, &["check", "--lib", "--bins"]))
}

fn bpf_documentation() -> Result<()> {
    process::run(&mut bpf_cargo(
        &bpf_toolchain()?,
        &["doc", "--lib", "--no-deps", "--document-private-items"],
    ))
}

fn bpf_toolchain() -> Result<Toolchain> {
    Toolchain::find().map_err(|lacking| anyhow!("no BPF toolchain: {}", lacking.join("; ")))
}

/// Cargo of the BPF toolchain on the BPF crate, with warnings as errors, as aya-build calls it.
fn bpf_cargo(toolchain: &Toolchain, task: &[&str]) -> std::process::Command {
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

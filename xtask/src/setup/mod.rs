//! Installs what is missing. Running it again changes nothing.
//!
//! Whatever is there and works is used, whoever installed it. What setup cannot do itself (no root, no apt, no
//! network) it prints as commands, and fails.

mod apt;
mod compiler;
mod linker;
mod packages;

use std::{panic::resume_unwind, thread};

use anyhow::{Result, bail};

pub(crate) use self::packages::Package;

use crate::{
    process::{self, cargo, of_toolchain},
    toolchain::{DEBIAN_TOOLCHAIN, Toolchain},
};

/// The release of cargo-deny that reads our deny.toml.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// What a task needs beyond stable Rust and a C linker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A compiler and a linker for the BPF objects.
    Build,
    /// What the tests build and observe: compilers, allocators, servers.
    Test,
    /// Clippy for the BPF objects, and cargo-deny.
    Lint,
    /// What the benches compare with. Wanted, not needed.
    Bench,
}

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also what `test`, `lint` and `bench` need
    #[arg(long)]
    all: bool,
    /// Also what `test` needs: compilers, allocators and servers to observe
    #[arg(long)]
    test: bool,
    /// Also what `lint` needs
    #[arg(long)]
    lint: bool,
    /// Also what `bench` compares with
    #[arg(long)]
    bench: bool,
}

/// `cargo xtask setup`.
pub(crate) fn run(args: Args) -> Result<()> {
    let Args { all, test, lint, bench } = args;
    let wanted = [(true, Need::Build), (test, Need::Test), (lint, Need::Lint), (bench, Need::Bench)];
    let needs = wanted.into_iter().filter(|(on, _)| *on || all).map(|(_, need)| need).collect::<Vec<_>>();
    ensure(&needs)
}

/// Installs what is missing for `needs`, and prints one line for each. Packages are fetched and unpacked while programs are built:
/// the one waits for the network and the disk, the other for the processors.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let needs_it = |need| needs.contains(&need);
    // These may take packages too, and apt does one thing at a time.
    let compiler = needs_it(Need::Build).then(compiler::ensure).transpose()?;
    if needs_it(Need::Lint) {
        ensure_bpf_clippy()?;
    }
    thread::scope(|scope| {
        let installed = scope.spawn(|| {
            if needs_it(Need::Test) {
                packages::ensure(packages::TEST, "the tests")?;
            }
            if needs_it(Need::Bench)
                && let Err(error) = packages::ensure(packages::BENCH, "comparisons in the benches")
            {
                say(&format!("the benches will run without a comparison: {error:#}"));
            }
            Ok(())
        });
        let linker = compiler.as_ref().map_or(Ok(()), linker::ensure);
        let deny = if needs_it(Need::Lint) { ensure_deny() } else { Ok(()) };
        let installed = installed.join().unwrap_or_else(|panic| resume_unwind(panic));
        linker.and(deny).and(installed)
    })
}

/// Makes sure of these packages, for the purpose that the user reads.
pub(crate) fn ensure_packages(wanted: &[&Package], purpose: &str) -> Result<()> {
    packages::ensure(wanted.iter().copied(), purpose)
}

/// True if the toolchain has clippy. The BPF objects can be built, not linted, without it.
pub(crate) fn has_clippy(toolchain: &Toolchain) -> bool {
    process::succeeds(of_toolchain(toolchain.name.as_deref(), "cargo-clippy").arg("--version"))
}

fn ensure_bpf_clippy() -> Result<()> {
    let toolchain = Toolchain::find().or_else(|_| compiler::ensure())?;
    if !has_clippy(&toolchain) {
        let installed = match toolchain.name.as_deref() {
            Some(name) if name != DEBIAN_TOOLCHAIN => {
                compiler::rustup(&["component", "add", "clippy", "--toolchain", name])
            }
            _ => apt::install(&["rust-web-clippy"]),
        };
        if let Err(error) = installed {
            say(&format!("no clippy for the BPF target: {error:#}"));
        }
    }
    Ok(())
}

fn ensure_deny() -> Result<()> {
    if process::succeeds(cargo().args(["deny", "--version"])) {
        return Ok(());
    }
    say("cargo-deny: building it, this takes minutes");
    // Its speed does not matter here, the time to build it does.
    let mut install = cargo();
    install.args(["install", "--locked", "--debug", CARGO_DENY]).env("CARGO_PROFILE_DEV_DEBUG", "0");
    if process::run(&mut install).is_err() {
        bail!("cargo-deny is missing; install it by hand: {}", process::show(&install));
    }
    Ok(())
}

/// Fetches the lists of Debian's packages. Old lists name files that the mirrors no longer have.
pub(crate) fn update_package_lists() -> Result<()> {
    apt::update()
}

/// One line of what setup does or found.
fn say(line: &str) {
    println!("setup: {line}");
}

//! Programs and libraries that the tests and benches build with or observe.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::{apt, say};
use crate::process::{command, on_path};

/// Something to have, the package that brings it on Debian, and how to see that it is there.
pub(crate) struct Package {
    debian: &'static str,
    proof: Proof,
}

enum Proof {
    /// A program on `PATH`.
    Program(&'static str),
    /// A program that is not on everybody's `PATH`.
    File(&'static str),
    /// A library that a C program links with.
    Library(&'static str),
    /// What it takes to build a C program with this option of the compiler, headers of the C library included.
    Option(&'static str),
}

impl Package {
    /// Brings a program on `PATH`.
    pub(crate) const fn program(debian: &'static str, program: &'static str) -> Self {
        Self { debian, proof: Proof::Program(program) }
    }

    /// Brings this file.
    pub(crate) const fn file(debian: &'static str, path: &'static str) -> Self {
        Self { debian, proof: Proof::File(path) }
    }

    /// Brings a library that a C program links with.
    const fn library(debian: &'static str, library: &'static str) -> Self {
        Self { debian, proof: Proof::Library(library) }
    }

    /// Brings what the compiler lacks for this option.
    const fn option(debian: &'static str, option: &'static str) -> Self {
        Self { debian, proof: Proof::Option(option) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.debian
    }
}

/// What the tests need.
pub(super) const TEST: &[Package] = &[
    Package::program("g++", "g++"),
    Package::option("gcc-multilib", "-m32"),
    Package::program("musl-tools", "musl-gcc"),
    Package::library("libjemalloc-dev", "jemalloc"),
    Package::library("libgoogle-perftools-dev", "tcmalloc"),
    Package::library("libmimalloc-dev", "mimalloc"),
    Package::program("redis-server", "redis-server"),
    Package::file("teeworlds-server", "/usr/games/teeworlds-server"),
    Package::program("openssl", "openssl"),
    Package::program("xz-utils", "xz"),
    Package::program("dwz", "dwz"),
    Package::program("gdb", "gdb"),
    Package::program("python3", "python3"),
    Package::program("golang-go", "go"),
    Package::program("strace", "strace"),
    Package::program("iproute2", "ss"),
    Package::file("e2fsprogs", "/usr/sbin/mkfs.ext4"),
    Package::program("nodejs", "node"),
    Package::program("default-jdk-headless", "jcmd"),
    Package::program("luajit", "luajit"),
];

/// What the benches compare with.
pub(super) const BENCH: &[Package] = &[
    Package::program("g++", "g++"),
    Package::program("bpftrace", "bpftrace"),
    Package::program("libbpf-tools", "syscount"),
    Package::program("strace", "strace"),
    Package::program("redis-server", "redis-server"),
    Package::program("redis-tools", "redis-benchmark"),
];

/// Of these, the ones that Debian starts at every boot.
const SERVICES: [&str; 4] = ["redis-server", "teeworlds-server", "mariadb-server", "nginx-light"];

/// Installs what is missing of `wanted`, for the purpose that the user reads.
pub(super) fn ensure<'p>(wanted: impl IntoIterator<Item = &'p Package>, purpose: &str) -> Result<()> {
    let wanted: Vec<&Package> = wanted.into_iter().collect();
    let missing = missing(&wanted);
    if missing.is_empty() {
        say(&format!("packages for {purpose}: all there"));
        return Ok(());
    }
    let services: Vec<&str> = missing.iter().copied().filter(|package| SERVICES.contains(package)).collect();
    if !services.is_empty() {
        let services = services.join(" ");
        say(&format!(
            "note: from the next boot on Debian starts {services}; `systemctl disable` prevents it"
        ));
    }
    apt::install(&missing).with_context(|| format!("missing for {purpose}: {}", missing.join(" ")))?;
    let still = self::missing(&wanted);
    if !still.is_empty() {
        bail!("installed, but not to be found: {}", still.join(" "));
    }
    Ok(())
}

fn missing(wanted: &[&Package]) -> Vec<&'static str> {
    // What a program is built with is proved by building one: without a compiler it counts as missing.
    let missing = wanted.iter().filter(|package| !package.proof.holds());
    let mut names: Vec<_> = missing.map(|package| package.name()).collect();
    names.dedup();
    names
}

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::Program(name) => on_path(name),
            Self::File(path) => Path::new(path).is_file(),
            Self::Library(name) => builds(&["-Wl,--no-as-needed", &format!("-l{name}")]),
            // Files of one package do not prove it: others bring the start files and libraries of 32 bits, but not the headers.
            Self::Option(option) => builds(&[option]),
        }
    }
}

/// Whether a C program is built with these arguments.
fn builds(arguments: &[&str]) -> bool {
    let mut cc = command("cc");
    cc.args(["-x", "c", "-", "-o", "/dev/null"]).args(arguments);
    cc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = cc.spawn() else { return false };
    if let Some(mut source) = child.stdin.take() {
        // A compiler that does not read its input says so by its status.
        let _ = source.write_all(b"#include <errno.h>\nint main(void) { return errno; }\n");
    }
    child.wait().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_from_what_is_not() {
        assert!(Proof::Program("sh").holds());
        assert!(!Proof::Program("no-such-program-of-ours").holds());
        assert!(Proof::Library("c").holds());
        assert!(!Proof::Library("no-such-library-of-ours").holds());
        assert!(Proof::Option("-O1").holds());
        assert!(!Proof::Option("-mno-such-option-of-ours").holds());
    }
}

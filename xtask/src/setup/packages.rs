//! Programs and libraries that the tests and benches build with or observe.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::{apt, say};
use crate::process::{command, on_path};

/// Something to have, the package that brings it on Debian, and how to see that it is there.
pub(super) struct Package {
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
}

/// What the tests need.
pub(super) const TEST: &[Package] = &[
    Package { debian: "g++", proof: Proof::Program("g++") },
    Package { debian: "musl-tools", proof: Proof::Program("musl-gcc") },
    Package { debian: "libjemalloc-dev", proof: Proof::Library("jemalloc") },
    Package { debian: "libgoogle-perftools-dev", proof: Proof::Library("tcmalloc") },
    Package { debian: "libmimalloc-dev", proof: Proof::Library("mimalloc") },
    Package { debian: "redis-server", proof: Proof::Program("redis-server") },
    Package { debian: "teeworlds-server", proof: Proof::File("/usr/games/teeworlds-server") },
    Package { debian: "openssl", proof: Proof::Program("openssl") },
    Package { debian: "xz-utils", proof: Proof::Program("xz") },
    Package { debian: "dwz", proof: Proof::Program("dwz") },
    Package { debian: "gdb", proof: Proof::Program("gdb") },
    Package { debian: "python3", proof: Proof::Program("python3") },
    Package { debian: "golang-go", proof: Proof::Program("go") },
    Package { debian: "strace", proof: Proof::Program("strace") },
    Package { debian: "nodejs", proof: Proof::Program("node") },
    Package { debian: "default-jdk-headless", proof: Proof::Program("jcmd") },
    Package { debian: "luajit", proof: Proof::Program("luajit") },
];

/// What the benches compare with.
pub(super) const BENCH: &[Package] = &[
    Package { debian: "g++", proof: Proof::Program("g++") },
    Package { debian: "bpftrace", proof: Proof::Program("bpftrace") },
];

/// Installs what is missing of `wanted`, for the purpose that the user reads.
pub(super) fn ensure(wanted: &[Package], purpose: &str) -> Result<()> {
    let missing = missing(wanted);
    if missing.is_empty() {
        say(&format!("packages for {purpose}: all there"));
        return Ok(());
    }
    if missing.contains(&"redis-server") {
        say("note: Debian starts redis-server as a service; `systemctl disable --now redis-server` stops it");
    }
    apt::install(&missing).with_context(|| format!("missing for {purpose}: {}", missing.join(" ")))?;
    let still = self::missing(wanted);
    if !still.is_empty() {
        bail!("installed, but not to be found: {}", still.join(" "));
    }
    Ok(())
}

fn missing(wanted: &[Package]) -> Vec<&'static str> {
    // Libraries are proved by linking, which needs a compiler: without one they count as missing.
    wanted.iter().filter(|package| !package.proof.holds()).map(|package| package.debian).collect()
}

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::Program(name) => on_path(name),
            Self::File(path) => Path::new(path).is_file(),
            Self::Library(name) => links(name),
        }
    }
}

fn links(library: &str) -> bool {
    let mut cc = command("cc");
    cc.args(["-x", "c", "-", "-shared", "-o", "/dev/null", "-Wl,--no-as-needed"]).arg(format!("-l{library}"));
    cc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = cc.spawn() else { return false };
    if let Some(mut source) = child.stdin.take() {
        // A compiler that does not read its input says so by its status.
        let _ = source.write_all(b"int proof;\n");
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
    }
}

//! Which compiler and which linker build the BPF objects.
//!
//! Shared by the build script, which uses what it finds, and by `cargo xtask setup`, which installs what is
//! missing: one answer, computed from the machine each time, so that nothing recorded can go stale.
//!
//! A usable toolchain has the sources of `core` (the BPF target comes without a built one) and an LLVM that
//! bpf-linker can be built against. `RUSTC_BOOTSTRAP` opens `-Z build-std` on a stable compiler, so nightly is
//! one candidate among others.

use std::{
    env,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

/// Names the rustup toolchain to use, in place of the search.
pub(crate) const TOOLCHAIN_VARIABLE: &str = "PROFILER_BPF_TOOLCHAIN";

/// Cargo's own variable for the linker of the BPF target. Whoever sets it has the last word.
pub(crate) const LINKER_VARIABLE: &str = "CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER";

/// The name under which `cargo xtask setup` links the compiler of Debian's packages into rustup.
pub(crate) const DEBIAN_TOOLCHAIN: &str = "bpf-debian";

/// The release of bpf-linker that the objects are tested with.
pub(crate) const LINKER_RELEASE: &str = "0.13.0";

/// The LLVM majors that this release of bpf-linker can be built against, first and last.
const LLVM_MAJORS: (u32, u32) = (21, 23);

/// A compiler that can build the BPF objects.
pub(crate) struct Toolchain {
    /// The rustup name; `None` on a machine without rustup, where it is the `cargo` and `rustc` on `PATH`.
    pub(crate) name: Option<String>,
    /// Where the compiler is installed.
    pub(crate) sysroot: PathBuf,
    /// The version of its LLVM, for example `22.1.8`.
    pub(crate) llvm: String,
}

impl Toolchain {
    /// The first usable toolchain: the named one if [`TOOLCHAIN_VARIABLE`] is set; without rustup the `rustc` on
    /// `PATH`; else the active toolchain, nightly, Debian's.
    ///
    /// # Errors
    /// One line per candidate, saying what it lacks.
    pub(crate) fn find() -> Result<Self, Vec<String>> {
        let mut lacking = Vec::new();
        for name in candidates() {
            match Self::inspect(name) {
                Ok(toolchain) => return Ok(toolchain),
                Err(reason) => lacking.push(reason),
            }
        }
        Err(lacking)
    }

    fn inspect(name: Option<String>) -> Result<Self, String> {
        let shown = name.as_deref().unwrap_or("the rustc on PATH").to_owned();
        let lacks = |what: &str| format!("{shown}: {what}");
        let sysroot =
            PathBuf::from(ask(&name, &["--print", "sysroot"]).ok_or_else(|| lacks("not installed"))?.trim());
        if !sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file() {
            return Err(lacks("has no sources of core (component rust-src)"));
        }
        let version = ask(&name, &["-vV"]).ok_or_else(|| lacks("does not print its version"))?;
        let llvm = version
            .lines()
            .find_map(|line| line.strip_prefix("LLVM version: "))
            .ok_or_else(|| lacks("does not print its LLVM version"))?
            .to_owned();
        let (first, last) = LLVM_MAJORS;
        match major(&llvm) {
            Some(major) if (first..=last).contains(&major) => Ok(Self { name, sysroot, llvm }),
            _ => Err(lacks(&format!("has LLVM {llvm}; bpf-linker {LINKER_RELEASE} needs {first} to {last}"))),
        }
    }

    /// Where `cargo xtask setup` puts the linker for this toolchain; the file may be missing. `None` without a
    /// home directory.
    ///
    /// It is a place of our own, not cargo's `bin`: linkers for several LLVMs live side by side, and one that the
    /// user installed for another project stays as it is.
    pub(crate) fn linker_prefix(&self) -> Option<PathBuf> {
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join("profiler-build").join(format!("bpf-linker-{LINKER_RELEASE}-llvm-{}", self.llvm)))
    }
}

/// True if `rustup` can be run.
pub(crate) fn has_rustup() -> bool {
    let probe = Command::new("rustup").arg("--version").output();
    !matches!(probe, Err(error) if error.kind() == ErrorKind::NotFound)
}

/// The toolchain that runs this build, as rustup tells its children.
pub(crate) fn active_toolchain() -> String {
    env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned())
}

fn candidates() -> Vec<Option<String>> {
    if let Some(name) = env::var(TOOLCHAIN_VARIABLE).ok().filter(|name| !name.is_empty()) {
        return vec![Some(name)];
    }
    if !has_rustup() {
        return vec![None];
    }
    let mut names = vec![active_toolchain(), "nightly".to_owned(), DEBIAN_TOOLCHAIN.to_owned()];
    names.dedup();
    names.into_iter().map(Some).collect()
}

/// The standard output of a toolchain's rustc, if it ran well.
fn ask(toolchain: &Option<String>, args: &[&str]) -> Option<String> {
    let mut command = match toolchain {
        Some(name) => {
            let mut command = Command::new("rustup");
            command.args(["run", name, "rustc"]);
            command
        }
        None => Command::new("rustc"),
    };
    let output = command.args(args).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// The first number of a version.
pub(crate) fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

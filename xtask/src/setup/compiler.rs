//! A compiler for the BPF objects.

use anyhow::{Result, anyhow};

use super::{apt, say};
use crate::{
    process::{self, command},
    toolchain::{DEBIAN_TOOLCHAIN, TOOLCHAIN_VARIABLE, Toolchain, active_toolchain, has_rustup},
};

/// The compiler and the sources of `core` in Debian's names: what follows the browsers' needs first, as it is the
/// newer one in stable releases.
const DEBIAN_SETS: [[&str; 3]; 2] =
    [["rustc-web", "cargo-web", "rust-web-src"], ["rustc", "cargo", "rust-src"]];

/// The oldest rustc with an LLVM that bpf-linker can use.
const OLDEST_RUSTC: (u32, u32) = (1, 91);

/// A usable toolchain, installed if there is none.
///
/// In this order: sources for the toolchain that is active, which is small and changes nothing else; the same for
/// nightly, or nightly itself; Debian's compiler beside rustup's.
pub(super) fn ensure() -> Result<Toolchain> {
    let lacking = match Toolchain::find() {
        Ok(toolchain) => return Ok(found(toolchain)),
        Err(lacking) => lacking,
    };
    say("no compiler that can build the BPF objects:");
    lacking.iter().for_each(|line| say(&format!("  {line}")));
    if std::env::var_os(TOOLCHAIN_VARIABLE).is_some_and(|name| !name.is_empty()) {
        return Err(anyhow!(
            "{TOOLCHAIN_VARIABLE} names a toolchain that cannot be used; unset it or mend it"
        ));
    }
    for route in routes() {
        match route.take().and_then(|()| Toolchain::find().map_err(|lacking| anyhow!(lacking.join("; ")))) {
            Ok(toolchain) => return Ok(found(toolchain)),
            Err(error) => say(&format!("{}: {error:#}", route.name())),
        }
    }
    Err(anyhow!("no route to a BPF compiler worked. By hand, one of:\n{}", by_hand()))
}

/// Runs rustup with our output.
pub(super) fn rustup(args: &[&str]) -> Result<()> {
    process::run(command("rustup").args(args))
}

fn found(toolchain: Toolchain) -> Toolchain {
    let name = toolchain.name.as_deref().unwrap_or("rustc on PATH");
    say(&format!("compiler: {name}, LLVM {}", toolchain.llvm));
    toolchain
}

/// One way to a compiler.
#[derive(Clone, Copy)]
enum Route {
    Active,
    Nightly,
    Debian,
}

fn routes() -> &'static [Route] {
    if has_rustup() { &[Route::Active, Route::Nightly, Route::Debian] } else { &[Route::Debian] }
}

impl Route {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "sources for the active toolchain",
            Self::Nightly => "nightly by rustup",
            Self::Debian => "Debian's packages",
        }
    }

    fn take(self) -> Result<()> {
        match self {
            Self::Active => rustup(&["component", "add", "rust-src", "--toolchain", &active_toolchain()]),
            // An installed nightly is not updated: it may be pinned for a reason of the user's.
            Self::Nightly if process::succeeds(command("rustup").args(["run", "nightly", "rustc", "-V"])) => {
                rustup(&["component", "add", "rust-src", "--toolchain", "nightly"])
            }
            Self::Nightly => {
                let components = ["--component", "rust-src", "--component", "clippy"];
                let install = ["toolchain", "install", "nightly", "--profile", "minimal", "--no-self-update"];
                rustup(&[&install[..], &components[..]].concat())
            }
            Self::Debian => debian(),
        }
    }
}

fn debian() -> Result<()> {
    apt::available()?;
    let new_enough = |set: &&[&str; 3]| apt::candidate(set[0]).is_some_and(|version| version >= OLDEST_RUSTC);
    let set = DEBIAN_SETS.iter().find(new_enough).or_else(|| {
        apt::update().ok()?;
        DEBIAN_SETS.iter().find(new_enough)
    });
    let (major, minor) = OLDEST_RUSTC;
    let set = set.ok_or_else(|| anyhow!("apt offers no rustc {major}.{minor} or newer"))?;
    apt::install(set)?;
    if has_rustup() { rustup(&["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"]) } else { Ok(()) }
}

fn by_hand() -> String {
    format!(
        "  rustup component add rust-src\n  \
         rustup toolchain install nightly --component rust-src\n  \
         sudo apt-get install {} && rustup toolchain link {DEBIAN_TOOLCHAIN} /usr\n\
         then run `cargo xtask setup` again",
        DEBIAN_SETS[0].join(" ")
    )
}

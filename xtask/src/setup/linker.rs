//! bpf-linker, built against the very LLVM that the BPF compiler uses.
//!
//! The compiler hands the linker bitcode, which only the same LLVM is sure to read. Both kinds of toolchain come
//! with that LLVM as a shared library, so no LLVM development packages are needed: a directory with one link
//! named `libLLVM.so` is all that the build of bpf-linker asks for.

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::{
    process::{self, cargo, command},
    toolchain::{self, LINKER_RELEASE, LINKER_VARIABLE, Toolchain},
};

/// A linker for this toolchain, built if there is none.
pub(super) fn ensure(toolchain: &Toolchain) -> Result<()> {
    if let Some(linker) = env::var_os(LINKER_VARIABLE) {
        say(&format!("linker: {}, by {LINKER_VARIABLE}", Path::new(&linker).display()));
        return Ok(());
    }
    let prefix = toolchain.linker_prefix().context("HOME is not set: no place for bpf-linker")?;
    let ours = prefix.join("bin/bpf-linker");
    if works(&ours) {
        say(&format!("linker: {}", ours.display()));
        return Ok(());
    }
    if let Some(linker) = fitting_linker_on_path(toolchain) {
        say(&format!("linker: {}", linker.display()));
        return Ok(());
    }
    install(toolchain, &prefix)?;
    if !works(&ours) {
        bail!("{} was built but does not run", ours.display());
    }
    say(&format!("linker: {}", ours.display()));
    Ok(())
}

fn install(toolchain: &Toolchain, prefix: &Path) -> Result<()> {
    let major = toolchain::major(&toolchain.llvm).context("the compiler's LLVM has no version")?;
    let rustc = toolchain.sysroot.join("bin/rustc");
    let library = shared_llvm(&rustc).with_context(|| {
        format!(
            "{} has its LLVM built in; build bpf-linker {LINKER_RELEASE} against LLVM {major} by hand \
             and name it in {LINKER_VARIABLE}",
            rustc.display()
        )
    })?;
    say(&format!("building bpf-linker {LINKER_RELEASE} against {}, a minute or two", library.path.display()));
    let lib = prefix.join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("cannot create {}", lib.display()))?;
    // The linker looks for the first name, the program that it makes for the second.
    for name in ["libLLVM.so", library.name.as_str()] {
        replace_link(&library.path, &lib.join(name))?;
    }
    let mut install = cargo();
    install
        .args([
            "install",
            "--locked",
            "--force",
            "--no-default-features",
            "--features",
            &format!("llvm-{major}"),
        ])
        .arg("--root")
        .arg(prefix)
        .arg(format!("bpf-linker@{LINKER_RELEASE}"))
        .env("LLVM_PREFIX", prefix)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env_remove("CARGO_BUILD_TARGET");
    process::run(&mut install)
        .with_context(|| format!("bpf-linker is missing; by hand: {}", process::show(&install)))
}

fn replace_link(target: &Path, link: &Path) -> Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace {}", link.display()))
        }
        _ => symlink(target, link).with_context(|| format!("cannot create {}", link.display())),
    }
}

fn works(linker: &Path) -> bool {
    linker.is_file() && process::succeeds(command(linker).arg("--version"))
}

/// A bpf-linker that the user installed, if it runs and links the LLVM of the compiler. One that has LLVM linked in is not
/// used: its version cannot be seen.
fn fitting_linker_on_path(toolchain: &Toolchain) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let linker = env::split_paths(&path).map(|dir| dir.join("bpf-linker")).find(|file| file.is_file())?;
    let library = shared_llvm(&linker)?;
    let fits = major_of(&library.name) == toolchain::major(&toolchain.llvm);
    (fits && works(&linker)).then_some(linker)
}

/// A shared library as a program asks for it.
struct Library {
    name: String,
    path: PathBuf,
}

/// The LLVM that a program loads, if it loads one.
fn shared_llvm(program: &Path) -> Option<Library> {
    let listing = process::ask(command("ldd").arg(program))?;
    listing.lines().find_map(llvm_line)
}

fn llvm_line(line: &str) -> Option<Library> {
    let (name, rest) = line.trim().split_once(" => ")?;
    let path = rest.split(" (").next()?;
    (name.starts_with("libLLVM") && path.starts_with('/'))
        .then(|| Library { name: name.to_owned(), path: path.into() })
}

/// The major version in a library's name: `libLLVM.so.22.1-rust-1.95.0-stable`, or `libLLVM-19.so.1` before LLVM 20.
fn major_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("libLLVM.so.").or_else(|| name.strip_prefix("libLLVM-"))?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_is_found_in_the_loaders_listing() {
        let debian = llvm_line("\tlibLLVM.so.22.1 => /lib/x86_64-linux-gnu/libLLVM.so.22.1 (0x00007f1)");
        let debian = debian.expect("a library with a path");
        assert_eq!(debian.name, "libLLVM.so.22.1");
        assert_eq!(debian.path, Path::new("/lib/x86_64-linux-gnu/libLLVM.so.22.1"));
        assert!(llvm_line("\tlibLLVM.so.22.1 => not found").is_none());
        assert!(llvm_line("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)").is_none());
    }

    #[test]
    fn the_major_version_is_read_from_the_name() {
        assert_eq!(major_of("libLLVM.so.22.1-rust-1.95.0-stable"), Some(22));
        assert_eq!(major_of("libLLVM.so.22.1"), Some(22));
        assert_eq!(major_of("libLLVM-19.so.1"), Some(19));
        assert_eq!(major_of("libLLVM.so"), None);
    }
}

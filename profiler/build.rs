//! Compiles the BPF objects, one per bin of the crate `profiler-ebpf`, into `OUT_DIR/<bin>`. All builds of a target directory, whatever
//! their profile, features and target, share what they compile: the objects are the same.
//!
//! `PROFILER_EBPF=skip` writes empty files in their place, so that everything type-checks, lints and links on a
//! machine without the BPF toolchain. A profiler built so can render reports but cannot observe.
#![allow(clippy::print_stdout, reason = "a build script talks to cargo on stdout")]

#[path = "build/shared.rs"]
mod shared;
#[path = "build/toolchain.rs"]
mod toolchain;

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use shared::Shared;
use toolchain::{LINKER_VARIABLE, TOOLCHAIN_VARIABLE, Toolchain};

const SKIP_VARIABLE: &str = "PROFILER_EBPF";

fn main() -> anyhow::Result<()> {
    for variable in [SKIP_VARIABLE, TOOLCHAIN_VARIABLE, LINKER_VARIABLE] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    // Relative to this package, where cargo runs build scripts: the checkout may be moved after this one was built.
    let workspace = Path::new("..");
    let ebpf = workspace.join("profiler-ebpf");
    match env::var(SKIP_VARIABLE).as_deref() {
        Ok("skip") => write_stubs(&ebpf),
        Ok("") | Err(_) => build_objects(workspace, &ebpf),
        Ok(other) => bail!("{SKIP_VARIABLE}={other}: the only value it takes is `skip`"),
    }
}

fn build_objects(workspace: &Path, ebpf: &Path) -> anyhow::Result<()> {
    // What the objects are made of besides the crate itself, which aya-build watches.
    for input in ["profiler-common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    let toolchain = Toolchain::find().map_err(|lacking| {
        anyhow!(
            "no toolchain that can build the BPF objects\n  {}\n\
             hint: run `cargo xtask setup`, or set {SKIP_VARIABLE}=skip to build without them",
            lacking.join("\n  ")
        )
    })?;
    // A compiler that was updated makes other objects.
    println!("cargo::rerun-if-changed={}", toolchain.sysroot.join("bin/rustc").display());
    let root_dir = ebpf.to_str().context("the path of the workspace is not UTF-8")?;
    let out_dir = out_dir()?;
    let linker = prepare_environment(&toolchain);
    let shared = Shared::lock(&out_dir, linker.as_deref())?;
    // SAFETY: the build script has one thread, so nobody reads the environment meanwhile.
    unsafe { env::set_var("OUT_DIR", shared.directory()) };
    aya_build::build_ebpf(
        [aya_build::Package { name: "profiler-ebpf", root_dir, ..Default::default() }],
        aya_build::Toolchain::Custom(toolchain.name.as_deref().unwrap_or_default()),
    )
    .context(
        "the BPF objects could not be built (the compiler's words stand in the warnings above)\n\
         hint: if the linker or the compiler is what fails, run `cargo xtask setup`",
    )?;
    shared.copy(&bins(ebpf)?, &out_dir)
}

/// Sets what the nested cargo inherits, and returns the linker, if it is known. Only that cargo sees it: this process builds nothing
/// else.
fn prepare_environment(toolchain: &Toolchain) -> Option<PathBuf> {
    let named = env::var_os(LINKER_VARIABLE).map(PathBuf::from);
    let ours = toolchain.linker_prefix().map(|prefix| prefix.join("bin/bpf-linker"));
    let ours = ours.filter(|linker| linker.is_file() && named.is_none());
    // How the profiler itself is built makes no difference to the objects: `debug` and `strip` of a release are for its own file.
    let is_of_profile = |name: &str| name.starts_with("CARGO_PROFILE_");
    let profile = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_of_profile));
    let profile: Vec<_> = profile.collect();
    // SAFETY: the build script has one thread, so nobody reads the environment meanwhile.
    unsafe {
        profile.iter().for_each(|(name, _)| env::remove_var(name));
        // Makes aya-build pass `-Z build-std=core`, and any compiler accept it.
        env::set_var("RUSTC_BOOTSTRAP", "1");
        // aya-build turns every line of the nested cargo into a warning: progress would read as trouble.
        env::set_var("CARGO_TERM_QUIET", "true");
        if let Some(linker) = &ours {
            env::set_var(LINKER_VARIABLE, linker);
        }
    }
    named.or(ours)
}

fn out_dir() -> anyhow::Result<PathBuf> {
    Ok(env::var_os("OUT_DIR").context("OUT_DIR is not set")?.into())
}

/// Writes an empty file for every object that a full build would make.
fn write_stubs(ebpf: &Path) -> anyhow::Result<()> {
    let out_dir = out_dir()?;
    for name in bins(ebpf)? {
        fs::write(out_dir.join(name), []).context("cannot write a stub object")?;
    }
    println!("cargo::warning={SKIP_VARIABLE}=skip: the BPF objects are empty, this build cannot observe");
    Ok(())
}

/// The names of the objects.
fn bins(ebpf: &Path) -> anyhow::Result<Vec<OsString>> {
    let bins = ebpf.join("src/bin");
    println!("cargo::rerun-if-changed={}", bins.display());
    let entries = fs::read_dir(&bins).with_context(|| format!("cannot list {}", bins.display()))?;
    let name = |entry: io::Result<fs::DirEntry>| {
        Ok(entry?.path().file_stem().context("a bin without a name")?.to_owned())
    };
    entries.map(name).collect()
}

//! Compiles workloads, once per content: the result is kept under cargo's directory for test files.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};
use testbed::place;

/// What every C and C++ workload is built with: frames that a frame pointer walk can follow, no call turned into a
/// jump, and no call to an allocation function optimised away.
const NATIVE: [&str; 7] = [
    "-O2",
    "-g",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-fno-builtin",
    "-Wall",
    "-pthread",
];

/// What the line begins with that says where a workload is.
const BUILT: &str = "BUILT ";

/// A workload to build: a source file of `tests/workloads`, a compiler and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    source: PathBuf,
    name: String,
    compiler: OsString,
    package: &'static str,
    before: Vec<String>,
    after: Vec<String>,
    output: &'static str,
}

impl Build {
    fn new(source: &str, compiler: impl Into<OsString>, package: &'static str) -> Build {
        let source = place::package().join("tests/workloads").join(source);
        let name = source.file_stem().expect("a file name").to_string_lossy().into_owned();
        let (before, after) = (Vec::new(), Vec::new());
        Build { source, name, compiler: compiler.into(), package, before, after, output: "-o" }
    }

    /// A C program for glibc.
    pub(crate) fn c(source: &str) -> Build {
        Build::new(source, "gcc", "gcc").flags(&NATIVE).flags(&["-std=c11"])
    }

    /// A static C program for musl.
    pub(crate) fn musl(source: &str) -> Build {
        Build::new(source, "musl-gcc", "musl-tools").flags(&NATIVE).flags(&["-std=c11", "-static"])
    }

    /// A C++ program.
    pub(crate) fn cpp(source: &str) -> Build {
        Build::new(source, "g++", "g++").flags(&NATIVE).flags(&["-std=c++17"])
    }

    /// A C program with none of the usual flags.
    pub(crate) fn plain_c(source: &str) -> Build {
        Build::new(source, "gcc", "gcc")
    }

    /// A Rust program, built by the toolchain that built this test.
    pub(crate) fn rust(source: &str) -> Build {
        let beside_cargo = Path::new(env!("CARGO")).with_file_name("rustc");
        let compiler = if beside_cargo.is_file() { beside_cargo.into() } else { OsString::from("rustc") };
        Build::new(source, compiler, "rustc").flags(&[
            "--edition=2024",
            "-O",
            "-g",
            "-Cforce-frame-pointers=yes",
        ])
    }

    /// A Go program; `None` without a Go compiler.
    pub(crate) fn go(source: &str) -> Option<Build> {
        Command::new("go").arg("version").output().ok()?;
        Some(Build::new(source, "go", "golang-go").flags(&["build"]))
    }

    /// Adds arguments in front of the source file.
    #[must_use]
    pub(crate) fn flags(mut self, flags: &[&str]) -> Build {
        self.before.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// Adds arguments behind the source file: libraries, in the order the linker wants.
    #[must_use]
    pub(crate) fn link(mut self, libraries: &[&str]) -> Build {
        self.after.extend(libraries.iter().map(ToString::to_string));
        self
    }

    /// Gives the result another name. The first 15 bytes become the name of the process.
    #[must_use]
    pub(crate) fn named(mut self, name: &str) -> Build {
        name.clone_into(&mut self.name);
        self
    }

    /// Builds it, or finds what was built from the same content. Says where it is if nothing else is to be done.
    ///
    /// # Panics
    /// If the compiler is missing or fails: a test that cannot run has failed.
    pub(crate) fn build(&self) -> PathBuf {
        let result = self.built();
        if super::only_building() {
            super::remark(&format!("{BUILT}{}", result.display()));
        }
        result
    }

    fn built(&self) -> PathBuf {
        let folder = cache().join(format!("{:016x}", self.content_hash()));
        let result = folder.join(&self.name);
        if result.is_file() {
            return result;
        }
        fs::create_dir_all(&folder).expect("to make a directory for workloads");
        // Under a name of our own first: another test may be building the same.
        let unfinished = folder.join(format!("{}.{:?}", self.name, std::thread::current().id()));
        let mut command = Command::new(&self.compiler);
        if self.compiler == "go" {
            command.args(&self.before).arg(self.output).arg(&unfinished).arg(&self.source);
            command.env("GOCACHE", cache().join("go")).env("GOFLAGS", "-mod=mod");
        } else {
            command.args(&self.before).arg(&self.source).args(&self.after).arg(self.output).arg(&unfinished);
        }
        let done = command.output().unwrap_or_else(|error| {
            panic!("cannot run {}: {error}; install {}", self.compiler.display(), self.package)
        });
        let words = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command:?} failed, {}:\n{words}", done.status);
        fs::rename(&unfinished, &result).expect("to give the workload its name");
        result
    }

    fn content_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        fs::read(&self.source).expect("to read a workload's source").hash(&mut hasher);
        let folder = self.source.parent().expect("a folder");
        let mut headers: Vec<PathBuf> = fs::read_dir(folder)
            .expect("to list the workloads")
            .map(|entry| entry.expect("to list the workloads").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "h"))
            .collect();
        headers.sort();
        for header in headers {
            fs::read(header).expect("to read a header").hash(&mut hasher);
        }
        // Not the path of the compiler, which a machine that only runs what was built does not have; the toolchain's
        // own is in every Rust program.
        (&self.source, self.package, env!("CARGO"), &self.before, &self.after).hash(&mut hasher);
        hasher.finish()
    }
}

/// Directory of what was built: named by `PROFILER_WORKLOADS`, else one per user, because what root leaves there, others
/// could not replace.
pub(crate) fn cache() -> PathBuf {
    if let Some(named) = env::var_os("PROFILER_WORKLOADS") {
        return PathBuf::from(named);
    }
    let user = rustix::process::geteuid().as_raw();
    place::kept_files().join(format!("workloads-{user}"))
}

/// Debian's jemalloc with a prefix before its public names, as programs link it that keep the C library's malloc.
pub(crate) fn prefixed_jemalloc(prefix: &str) -> PathBuf {
    const PUBLIC: [&str; 8] =
        ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign", "valloc", "free"];
    let result = cache().join(format!("lib{prefix}jemalloc.a"));
    if !result.is_file() {
        fs::create_dir_all(cache()).expect("to make a directory for workloads");
        let unfinished = cache().join(format!("{prefix}{:?}.a", std::thread::current().id()));
        let renames = PUBLIC.map(|name| format!("--redefine-sym={name}={prefix}{name}"));
        let done = Command::new("objcopy")
            .args(renames)
            .arg(static_library("libjemalloc_pic.a"))
            .arg(&unfinished)
            .status()
            .expect("to run objcopy; install binutils");
        assert!(done.success(), "objcopy failed, {done}");
        fs::rename(&unfinished, &result).expect("to give the library its name");
    }
    result
}

/// Path of a static library that the C compiler finds.
pub(crate) fn static_library(name: &str) -> PathBuf {
    let asked = Command::new("gcc").arg(format!("-print-file-name={name}")).output().expect("to run gcc");
    let path = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    assert!(path.is_absolute(), "gcc does not find {name}; install the allocator's -dev package");
    path
}

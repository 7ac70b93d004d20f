//! Whose code a file contains: program files by their names, source files by their paths.

/// How a program file belongs to the program that is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The program itself, or a part of it.
    Program,
    /// The standard library of a language, or an allocator.
    Standard,
    /// A library of the system, or the library of a runtime.
    Library,
    /// An interpreter: it runs the user's code and contains none of it.
    Interpreter,
}

/// Libraries that lie between any program and the system, by the beginning of their names.
const STANDARD: &[&str] = &[
    "libc.so",
    "libc-",
    "ld-",
    "libm.so",
    "libpthread",
    "libstdc++",
    "libc++",
    "libgcc_s",
    "libjemalloc",
    "libtcmalloc",
    "libmimalloc",
    "libsnmalloc",
    "librpmalloc",
    "[",
];
/// Libraries of runtimes, wherever they are installed.
const RUNTIMES: &[&str] = &[
    "libnode.so",
    "libjvm.so",
    "libjava.so",
    "libjli.so",
    "libjimage.so",
    "libnio.so",
    "libnet.so",
    "libzip.so",
    "libcoreclr.so",
    "libclrjit.so",
    "libhostfxr.so",
    "libhostpolicy.so",
    "libSystem.Native.so",
    "libmono",
    "libluajit-",
    "liblua5",
    "libpython",
    "libruby",
    "libperl",
    "libphp",
    "libv8",
    "libuv.so",
];
/// Interpreters, without the version at the end.
const INTERPRETERS: &[&str] = &[
    "node",
    "nodejs",
    "deno",
    "bun",
    "java",
    "dotnet",
    "luajit",
    "lua",
    "beam.smp",
    "erlexec",
    "python",
    "pypy",
    "ruby",
    "perl",
    "php",
    "php-fpm",
    "php-cgi",
    "mono",
    "mono-sgen",
    "tclsh",
    "guile",
    "gjs",
    "qjs",
    "wasmtime",
];
/// Directories of the system's libraries. Directories below them belong to single programs.
const SYSTEM: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// The last part of a path, without the ` (deleted)` that the kernel adds.
pub(super) fn base(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    path.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// The file name of a path, also of a file that was deleted.
pub(super) fn name(path: &str) -> &str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

/// Whose code a program file contains.
pub(super) fn from(path: &str) -> From {
    let name = name(path);
    if STANDARD.iter().any(|start| name.starts_with(start)) {
        From::Standard
    } else if INTERPRETERS.contains(&without_version(name)) {
        From::Interpreter
    } else if RUNTIMES.iter().any(|start| name.starts_with(start)) || is_of_system(path, name) {
        From::Library
    } else {
        From::Program
    }
}

/// `python3.11`, `luajit-2.1.0-beta3` and `php-fpm8.2` without their versions.
fn without_version(name: &str) -> &str {
    let digit = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    name.get(..digit).unwrap_or(name).trim_end_matches('-')
}

/// Whether a library is one of those that all programs of the system share.
fn is_of_system(path: &str, name: &str) -> bool {
    let folder = path.split_once(name).map_or("", |(folder, _)| folder).trim_end_matches('/');
    let folder =
        folder.rsplit_once('/').filter(|(_, last)| last.ends_with("-linux-gnu")).map_or(folder, |(up, _)| up);
    name.starts_with("lib") && name.contains(".so") && SYSTEM.contains(&folder)
}

/// Whose code a source file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The program's: nothing in the path says otherwise.
    Program,
    /// The standard library's, or the compiler's.
    Standard,
    /// A package's.
    Foreign,
}

/// Parts of the paths of sources of standard libraries: Rust's, and system headers.
const STANDARD_SOURCES: &[&str] =
    &["/rustc/", "/rust/deps/", "/rustlib/src/", "/usr/include/", "/usr/lib/gcc/"];
/// Parts of the paths of sources of packages.
const FOREIGN_SOURCES: &[&str] = &["/.cargo/registry/", "/.cargo/git/", "/usr/src/", "/go/pkg/mod/"];

/// Whose code a source file contains.
pub(super) fn source(path: &str) -> Source {
    let any = |parts: &[&str]| parts.iter().any(|part| path.contains(part));
    if any(STANDARD_SOURCES) {
        Source::Standard
    } else if any(FOREIGN_SOURCES) {
        Source::Foreign
    } else {
        Source::Program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name_and_folder() {
        for (path, whose) in [
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", From::Standard),
            ("[vdso]", From::Standard),
            ("/usr/bin/python3.11", From::Interpreter),
            ("/usr/bin/luajit-2.1.0-beta3 (deleted)", From::Interpreter),
            ("/usr/sbin/php-fpm8.2", From::Interpreter),
            ("/srv/node-server", From::Program),
            ("/srv/javad", From::Program),
            ("/usr/lib/x86_64-linux-gnu/libssl.so.3", From::Library),
            ("/lib64/libglib-2.0.so.0", From::Library),
            ("/usr/lib/jvm/java-17/lib/server/libjvm.so", From::Library),
            ("/usr/lib/nginx/modules/ngx_stream_module.so", From::Program),
            ("/usr/lib/mysql/plugin/libaudit.so", From::Program),
            ("/opt/game/lib/libengine.so", From::Program),
            ("/usr/bin/redis-server", From::Program),
        ] {
            assert_eq!(from(path), whose, "{path}");
        }
    }

    #[test]
    fn a_source_is_known_by_its_path() {
        assert_eq!(source("/rustc/4d91de4/library/alloc/src/vec/mod.rs"), Source::Standard);
        assert_eq!(source("/home/a/.cargo/registry/src/index/tokio-1.0/src/lib.rs"), Source::Foreign);
        assert_eq!(source("/home/a/game/src/room.rs"), Source::Program);
    }
}

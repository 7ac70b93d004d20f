//! The libraries of this machine, whatever their version.

use std::path::PathBuf;

use super::super::forwarding::{Callee, Callees};
use super::super::placement::{ArgUse, SiteReason};
use super::super::{Image, SymbolKind};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
pub(super) const LIBSTDCXX: &str = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6";

/// The file; `None`, with a notice that the test is skipped, if it is not installed.
pub(super) fn read_or_say(path: &str) -> Option<Vec<u8>> {
    match std::fs::read(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            testbed::skip::skip(&format!("{path} is not installed"));
            None
        }
        Err(error) => panic!("{path}: {error}"),
    }
}

/// The C library that this test runs on.
fn own_libc() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let paths = maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")));
    paths.map(PathBuf::from).find(|path| path.file_name().is_some_and(|name| name == "libc.so.6"))
}

#[test]
fn the_own_c_library() {
    let Some(path) = own_libc() else {
        return testbed::skip::skip("this test program does not use a shared glibc");
    };
    let file = std::fs::read(&path).unwrap();
    let image = Image::parse(&file).unwrap();
    for (name, arguments) in
        [("malloc", 1), ("free", 1), ("calloc", 2), ("realloc", 2), ("posix_memalign", 3)]
    {
        let functions = image.functions(&|symbol| symbol == name);
        let function = functions.first().unwrap_or_else(|| panic!("{name} is not defined"));
        assert_eq!(function.kind, SymbolKind::Function);
        let site = image.site(function, ArgUse::first(arguments));
        println!("{name} +{:#x}, emulated: {}: {}", site.offset, site.emulated, site.reason);
        assert!(site.emulated, "{name}: {}", site.reason);
        assert_eq!(image.file_offset(function.address), Some(function.file_offset));
        assert_eq!(image.address(function.file_offset), Some(function.address));
    }
    let resolvers = image.functions(&|name| name == "memcpy");
    assert!(resolvers.iter().any(|symbol| symbol.kind == SymbolKind::Resolver), "{resolvers:?}");
    assert!(image.build_id().is_some_and(|id| id.len() == 40) && !image.is_go());
}

#[test]
fn the_allocators_that_are_installed() {
    let known = ["malloc", "free", "calloc", "realloc", "aligned_alloc", "memalign", "posix_memalign"];
    for library in ["libjemalloc.so.2", "libtcmalloc.so.4", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"] {
        let Some(file) = read_or_say(&format!("{LIBRARIES}/{library}")) else { continue };
        let image = Image::parse(&file).unwrap();
        let functions = image.functions(&|name| known.contains(&name));
        assert_eq!(functions.len(), known.len(), "{library}");
        for function in functions {
            let site = image.site(&function, ArgUse::first(1));
            let entry_only = matches!(site.reason, SiteReason::EntryOnly(_));
            assert_eq!(site.emulated, !entry_only, "{library} {}: {}", function.name, site.reason);
        }
    }
}

#[test]
fn operators_of_libstdcxx_go_through_malloc_and_free() {
    let Some(file) = read_or_say(LIBSTDCXX) else { return };
    let image = Image::parse(&file).unwrap();
    let operators = image.functions(&|name| name.starts_with("_Znwm") || name.starts_with("_Zna"));
    assert!(operators.len() >= 8, "{operators:?}");
    let names = ["malloc", "aligned_alloc", "_Znwm", "_ZnwmSt11align_val_t", "_Znam", "_ZnamSt11align_val_t"];
    for operator in operators {
        let found = image.forwards_to(&operator, &Callees { addresses: &[], names: &names });
        let found = found.unwrap_or_else(|| panic!("{} forwards to nothing", operator.name));
        assert!(found.every_call, "{} {found:?}", operator.name);
        let to = match operator.name.as_str() {
            "_Znwm" => "malloc",
            "_Znam" => "_Znwm",
            _ => continue,
        };
        assert_eq!(found.to, Callee::Name(to.to_owned()));
    }
    for operator in image.functions(&|name| name.starts_with("_ZdlP") || name.starts_with("_ZdaP")) {
        let names = ["free", "_ZdlPv", "_ZdaPv", "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t"];
        let found = image.forwards_to(&operator, &Callees { addresses: &[], names: &names });
        assert!(found.as_ref().is_some_and(|found| found.every_call), "{} {found:?}", operator.name);
    }
}

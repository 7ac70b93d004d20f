//! Which frame of a stack to name it by: the innermost that the user's own code has.

use crate::{
    report::{Frame, Stack},
    text::Text,
};

/// File names of libraries that never are what the user looks for, by their beginning.
const LIBRARIES: &[&str] = &[
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
    "ld-musl",
    "[",
];
/// Beginnings of names from standard libraries that are compiled into the program itself.
const STANDARD: &[&str] = &[
    "std::",
    "core::",
    "alloc::",
    "hashbrown::",
    "<std::",
    "<core::",
    "<alloc::",
    "<hashbrown::",
    "__gnu_cxx::",
    "void std::",
    "operator new",
    "operator delete",
    "__rust_",
    "__rdl_",
    "__rg_",
    "__cxxabiv1::",
    "_rjem_",
    "je_",
    "mi_",
    "tc_",
    "bool std::",
    "auto std::",
];
/// Allocator functions, which a static program contains.
const ALLOCATORS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
    "__libc_malloc",
    "strdup",
    "strndup",
    "__strdup",
    "mallocx",
    "rallocx",
];
/// Parts of source paths that mark code of others: Rust's library and registry, system headers.
const FOREIGN_SOURCES: &[&str] =
    &["/rustc/", "/.cargo/registry/", "/.cargo/git/", "/rustlib/src/", "/usr/include/", "/usr/src/"];

/// The innermost function of the user's own code, else the innermost that has a name.
pub(super) fn own_function(stack: &Stack, frames: &[Frame]) -> Option<Text> {
    let named = || {
        stack.frames.iter().filter_map(|i| frames.get(*i)).flat_map(|frame| {
            let library = frame.module.as_ref().is_some_and(is_library);
            frame.functions.iter().map(move |function| (library, function))
        })
    };
    let is_own = |(library, function): &(bool, &crate::report::Function)| {
        let name = function.name.terminal().to_string();
        let foreign = function.file.as_ref().is_some_and(|file| {
            let file = file.terminal().to_string();
            FOREIGN_SOURCES.iter().any(|part| file.contains(part))
        });
        !library
            && !foreign
            && !ALLOCATORS.contains(&name.as_str())
            && !STANDARD.iter().any(|start| name.starts_with(start))
    };
    named().find(is_own).or_else(|| named().next()).map(|(_, function)| function.name.clone())
}

fn is_library(module: &Text) -> bool {
    let path = module.terminal().to_string();
    let name = path.rsplit('/').next().unwrap_or(&path);
    LIBRARIES.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Function;

    fn frame(module: &str, name: &str, file: Option<&str>) -> Frame {
        Frame {
            address: 1,
            module: Some(Text::from(module)),
            build_id: None,
            file_offset: Some(1),
            functions: vec![Function {
                name: Text::from(name),
                file: file.map(Text::from),
                line: None,
                inlined: false,
            }],
            unresolved: None,
        }
    }

    #[test]
    fn the_users_function_is_named_not_the_library_below_it() {
        let frames = [
            frame("/usr/lib/libstdc++.so.6", "operator new(unsigned long)", None),
            frame("/srv/pong", "alloc::raw_vec::finish_grow", None),
            frame(
                "/srv/pong",
                "serde_json::to_vec",
                Some("/home/x/.cargo/registry/src/serde_json/src/ser.rs"),
            ),
            frame("/srv/pong", "pong::chat::ChatHistory::push", Some("/src/chat.rs")),
            frame("/srv/pong", "pong::main", None),
        ];
        let stack = Stack { pid: 1, frames: (0..frames.len()).collect(), incomplete: None };
        assert_eq!(own_function(&stack, &frames), Some(Text::from("pong::chat::ChatHistory::push")));
        let only_libraries = Stack { pid: 1, frames: vec![0], incomplete: None };
        assert_eq!(own_function(&only_libraries, &frames), Some(Text::from("operator new(unsigned long)")));
    }
}

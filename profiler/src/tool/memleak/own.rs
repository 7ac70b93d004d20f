//! Which frame of a stack to name it by: the innermost that the user's own code has.

use crate::{
    report::{Frame, Function, Stack},
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
    "libnode.so",
    "libjvm.so",
    "libjava.so",
    "libjli.so",
    "libnio.so",
    "libcoreclr.so",
    "libclrjit.so",
    "libSystem.Native.so",
    "libmono",
    "libluajit-",
    "[",
];
/// Programs that run the user's code and have none of it.
const INTERPRETERS: &[&str] = &["node", "nodejs", "deno", "bun", "java", "dotnet", "luajit", "beam.smp"];
/// Beginnings of the names that runtimes give to code which they make for themselves: V8, HotSpot.
const RUNTIME_CODE: &[&str] =
    &["Builtin:", "BytecodeHandler:", "RegExp:", "Stub:", "Interpreter", "StubRoutines", "vtable stub"];
/// Parts of the names, before the arguments, of functions of a runtime's own library: modules of Node.js, assemblies of
/// .NET, packages of Java (behind the type of the result).
const RUNTIME_LIBRARY: &[&str] = &[" node:", "[System.", " java.", " javax.", " jdk.", " sun."];
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
const FOREIGN_SOURCES: &[&str] = &[
    "/rustc/",
    "/rust/deps/",
    "/.cargo/registry/",
    "/.cargo/git/",
    "/rustlib/src/",
    "/usr/include/",
    "/usr/src/",
];
/// Part of the names of functions that a derive macro wrote: `server::_::<impl Serialize for server::Room>::serialize`.
/// Their file is the user's, but who called them says more.
const DERIVED: &str = "::_::<impl ";

/// The innermost function of the user's own code, else the innermost that has a name.
pub(super) fn own_function(stack: &Stack, frames: &[Frame]) -> Option<Text> {
    let named = || {
        let frames = stack.frames.iter().filter_map(|i| frames.get(*i));
        frames.flat_map(|frame| frame.functions.iter().map(move |function| (frame, function)))
    };
    let own = || named().filter(|(frame, function)| is_own(frame, function));
    let innermost = own().next();
    // Without debug information nothing tells the crates apart that make up a Rust program, except their names: its
    // own is called as its file is.
    let by_crate = innermost
        .filter(|(_, function)| function.file.is_none())
        .and_then(|_| own().find(|(frame, function)| is_of_main_crate(frame, &function.name.terminal())));
    let (frame, function) = by_crate.or(innermost).or_else(|| named().next())?;
    // An inlined closure or `async fn` has only a number: the function it was compiled into has a name.
    let compiled = frame.functions.last().filter(|compiled| is_own(frame, compiled));
    let nameless = function.inlined && function.name.terminal().starts_with('{');
    Some(compiled.filter(|_| nameless).unwrap_or(function).name.clone())
}

fn is_own(frame: &Frame, function: &Function) -> bool {
    let name = function.name.terminal();
    let foreign = function.file.as_ref().is_some_and(|file| {
        let file = file.terminal();
        FOREIGN_SOURCES.iter().any(|part| file.contains(part))
    });
    let of_others = frame.module.as_ref().map_or_else(|| is_of_runtime(&name), is_library);
    !of_others
        && !foreign
        && !name.contains(DERIVED)
        && !ALLOCATORS.contains(&name.as_str())
        && !STANDARD.iter().any(|start| name.starts_with(start))
}

/// Whether a name begins as the paths of the crate do that a Rust program is named after.
fn is_of_main_crate(frame: &Frame, name: &str) -> bool {
    let Some(module) = &frame.module else { return false };
    let module = module.terminal();
    let file = module.rsplit('/').next().unwrap_or(&module);
    let krate = file.strip_suffix(" (deleted)").unwrap_or(file).replace('-', "_");
    let path = name.trim_start_matches(['<', '&']);
    path.strip_prefix(&krate).is_some_and(|rest| rest.starts_with("::"))
}

fn is_library(module: &Text) -> bool {
    let path = module.terminal();
    let name = path.rsplit('/').next().unwrap_or(&path);
    LIBRARIES.iter().any(|start| name.starts_with(start)) || INTERPRETERS.contains(&name)
}

/// Whether code that was made at run time is the runtime's own, by its name.
fn is_of_runtime(name: &str) -> bool {
    RUNTIME_CODE.iter().any(|start| name.starts_with(start))
        || RUNTIME_LIBRARY.iter().any(|part| name.split('(').next().is_some_and(|own| own.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn named(frames: &[Frame]) -> String {
        let stack = Stack { pid: 1, frames: (0..frames.len()).collect(), incomplete: None };
        own_function(&stack, frames).unwrap().terminal()
    }

    #[test]
    fn code_that_a_macro_derived_is_passed_over_for_its_caller() {
        let own = Some("/src/protocol.rs");
        let frames = [
            frame("/srv/pong", "serde_json::ser::format_escaped", Some("/.cargo/registry/src/x/ser.rs")),
            frame("/srv/pong", "pong::protocol::_::<impl serde::Serialize for pong::Hello>::serialize", own),
            frame("/srv/pong", "pong::protocol::encode", own),
        ];
        assert_eq!(named(&frames), "pong::protocol::encode");
    }

    #[test]
    fn an_inlined_closure_is_named_by_what_it_was_inlined_into() {
        let mut outer = frame("/srv/pong", "pong::server::host::{{closure}}", Some("/src/server.rs"));
        let inner =
            Function { name: Text::from("{async_fn#0}"), inlined: true, ..outer.functions[0].clone() };
        outer.functions.insert(0, inner);
        assert_eq!(named(&[outer.clone()]), "pong::server::host::{{closure}}");
        outer.functions[1].file = Some(Text::from("/.cargo/registry/src/tokio/poll.rs"));
        assert_eq!(named(&[outer]), "{async_fn#0}");
    }

    #[test]
    fn a_script_is_named_not_the_runtime_that_runs_it() {
        let made = |name| Frame { module: None, file_offset: None, ..frame("", name, None) };
        let frames = [
            frame("/usr/bin/node", "node::Buffer::New(v8::Isolate*, unsigned long)", None),
            made("Builtin:CallFunction"),
            made("JS:^allocUnsafeSlow node:buffer:414:50"),
            made("JS:^keepFrames /srv/chat.js:2:20"),
        ];
        assert_eq!(named(&frames), "JS:^keepFrames /srv/chat.js:2:20");
        let frames = [
            frame("/usr/lib/jvm/lib/server/libjvm.so", "Unsafe_AllocateMemory0", None),
            made("long jdk.internal.misc.Unsafe.allocateMemory0(long)"),
            made("java.lang.String game.Chat.keep(int, java.lang.String)"),
            made("StubRoutines (1)"),
        ];
        assert_eq!(named(&frames), "java.lang.String game.Chat.keep(int, java.lang.String)");
        // A server of one's own that has a runtime in it.
        let frames =
            [frame("/srv/node-server", "Chat::keep()", None), made("JS:^onMessage /srv/chat.js:9:1")];
        assert_eq!(named(&frames), "Chat::keep()");
    }

    #[test]
    fn without_debug_information_the_crate_of_the_program_is_preferred() {
        let mut frames = vec![
            frame("/srv/game-server (deleted)", "alloc::raw_vec::finish_grow", None),
            frame("/srv/game-server (deleted)", "tungstenite::protocol::read", None),
            frame("/srv/game-server (deleted)", "<game_server::Room as tower::Service>::call", None),
            frame("/srv/game-server (deleted)", "game_server::main", None),
        ];
        assert_eq!(named(&frames), "<game_server::Room as tower::Service>::call");
        // Debug information outweighs names: `tungstenite` is not from the registry here, but the user's own.
        frames[1] = frame("/srv/game-server (deleted)", "tungstenite::protocol::read", Some("/src/read.rs"));
        assert_eq!(named(&frames), "tungstenite::protocol::read");
        // A C program: there are no crates.
        let frames = [frame("/srv/server", "pool_grow", None), frame("/srv/server", "Server::tick()", None)];
        assert_eq!(named(&frames), "pool_grow");
    }
}

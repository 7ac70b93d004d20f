//! Functions that are known by name: allocators and wrappers, where programs and threads begin, functions of a language
//! or a runtime.
//!
//! Names are compared without arguments, type parameters and result: see [`bare`](super::bare).

use std::{collections::HashSet, sync::LazyLock};

/// Allocators and wrappers around them, by origin.
static WRAPPERS: LazyLock<Known> = LazyLock::new(|| Known::read(include_str!("wrappers.txt")));
/// Where processes, threads and runtimes begin.
static STARTUP: LazyLock<Known> = LazyLock::new(|| Known::read(include_str!("startup.txt")));

/// A list of names.
struct Known {
    /// Whole names.
    names: HashSet<&'static str>,
    /// Prefixes of names.
    starts: Vec<&'static str>,
}

impl Known {
    /// Reads one name a line; `*` at its end matches any rest, `#` begins a comment.
    fn read(list: &'static str) -> Known {
        let mut known = Known { names: HashSet::new(), starts: Vec::new() };
        for line in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_suffix('*') {
                Some(start) => known.starts.push(start),
                None => {
                    known.names.insert(line);
                }
            }
        }
        known
    }

    fn has(&self, bare: &str) -> bool {
        self.names.contains(bare) || self.starts.iter().any(|start| bare.starts_with(start))
    }
}

/// Prefixes of names from standard libraries that are compiled into the program itself.
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
    "__cxxabiv1::",
    "void std::",
    "bool std::",
    "auto std::",
    "operator delete",
    "__rust_",
    "_Unwind_",
];
/// Part of the names of functions that a derive macro wrote: `server::_::<impl Serialize for server::Room>::serialize`.
/// Their source file is the user's, but their callers tell the reader more.
const DERIVED: &str = "::_::<impl ";
/// Prefixes of the names that runtimes give to code of their own (V8, HotSpot), and of names in packages of Java in the
/// form in which agents write them.
const RUNTIME_CODE: &[&str] = &[
    "Builtin:",
    "BytecodeHandler:",
    "RegExp:",
    "Stub:",
    "vtable stub",
    "itable stub",
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "Ljava/",
    "Ljavax/",
    "Ljdk/",
    "Lsun/",
];
/// Prefixes of the names of HotSpot's own code that calls the program's: its interpreter and its stubs.
const RUNTIME_LOOPS: &[&str] = &["Interpreter", "StubRoutines"];
/// Parts of the names, before the arguments, of functions of a runtime's own library: modules of Node.js, assemblies of
/// .NET, packages of Java (after the type of the result), parts of HotSpot's compilers.
const RUNTIME_LIBRARY: &[&str] =
    &[" node:", "[System.", " java.", " javax.", " jdk.", " sun.", " Runtime1 stub"];

/// Whether a function allocates for whoever calls it, by its bare name.
pub(super) fn is_wrapper(bare: &str) -> bool {
    WRAPPERS.has(bare)
}

/// Whether a process, a thread or a runtime begins in a function, by its bare name.
pub(super) fn is_startup(bare: &str) -> bool {
    STARTUP.has(bare)
}

/// Whether a function is of a standard library, or was written by a macro, by its whole name. Inlined functions of
/// serde's macros have no path; they are known by serde's types in their parameters.
pub(super) fn is_standard(name: &str) -> bool {
    let of_serde = name.split_once('<').is_some_and(|(before, parameters)| {
        let written = ["serialize", "deserialize", "visit_"].iter().any(|start| before.starts_with(start));
        written && parameters.contains("serde")
    });
    of_serde || name.contains(DERIVED) || STANDARD.iter().any(|start| name.starts_with(start))
}

/// Whether code that was made at run time belongs to the runtime and calls the program's code, by its whole name.
pub fn is_runtime_loop(name: &str) -> bool {
    RUNTIME_LOOPS.iter().any(|start| name.starts_with(start))
}

/// Whether a function of Python, named as its trampolines are (`py::NAME:FILE`), is of Python's own library. Installed
/// packages lie below that library, and are not part of it.
fn is_of_python(name: &str) -> bool {
    let file = name.strip_prefix("py::").and_then(|rest| rest.split_once(':')).map(|(_, file)| file);
    file.is_some_and(|file| {
        let installed = file.contains("/site-packages/") || file.contains("/dist-packages/");
        file.starts_with("<frozen ") || (file.contains("/lib/python3") && !installed)
    })
}

/// Whether code that was made at run time belongs to the runtime, by its whole name.
pub(super) fn is_of_runtime(name: &str) -> bool {
    is_of_python(name)
        || RUNTIME_CODE.iter().any(|start| name.starts_with(start))
        || RUNTIME_LIBRARY.iter().any(|part| name.split('(').next().is_some_and(|own| own.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::{super::bare, *};

    #[test]
    fn wrappers_are_known_whatever_their_arguments_are() {
        for name in [
            "zmalloc_usable",
            "my_malloc",
            "os::malloc(unsigned long, MemTag, NativeCallStack const&)",
            "palloc0",
            "ngx_palloc",
            "g_malloc",
            "Memory::alloc_static(unsigned long, bool)",
            "operator new[](unsigned long)",
            "std::__new_allocator<game::Room>::allocate(unsigned long, void const*)",
            "CRYPTO_malloc",
            "PyMem_RawMalloc",
            "PyObject_Malloc",
            "sqlite3Malloc.constprop.0",
            "lua_newuserdatauv",
            "SDL_malloc_REAL",
            "MemoryContextAllocZero",
            "_rjem_malloc",
            "char* MallocT<char>(unsigned long)",
            "__rust_alloc",
        ] {
            assert!(is_wrapper(&bare(name)), "{name} is {}", bare(name));
        }
    }

    #[test]
    fn code_of_macros_is_known_also_where_it_was_inlined() {
        assert!(is_standard(
            "visit_map<&mut serde::private::de::content::MapDeserializer<serde_json::Error>>"
        ));
        assert!(is_standard("pong::protocol::_::<impl serde::Serialize for pong::Hello>::serialize"));
        assert!(!is_standard("serialize<pong::Hello>") && !is_standard("serialize"));
    }

    #[test]
    fn similar_names_are_not_wrappers() {
        for name in [
            "chat_push",
            "session_alloc",
            "Room::operator new_room()",
            "xmalloc_test",
            "operator_new_shift",
            "palloc_report",
        ] {
            assert!(!is_wrapper(&bare(name)), "{name}");
        }
        assert!(is_startup(&bare("__libc_start_call_main")) && !is_startup("start_match"));
    }
}

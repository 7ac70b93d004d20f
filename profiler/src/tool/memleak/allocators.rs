//! The functions that hand out and take back memory, of every allocator that is known by name.
//!
//! Sources: malloc(3), posix_memalign(3), reallocarray(3), jemalloc(3), the headers of gperftools and mimalloc, and
//! the Itanium C++ ABI for the names of `operator new` and `operator delete`.

use profiler_common::memleak::cookie::From;

/// What a call of a function means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Requested size in bytes.
    pub size: From,
    /// Factor of the size.
    pub count: From,
    /// The block that is handed out or taken back.
    pub block: From,
    /// The block that the call takes over.
    pub old: From,
    /// Size if no argument has it.
    pub fixed_size: u32,
    /// Whether the function hands memory out or takes it back.
    pub role: Role,
    /// Whether it is one of the C++ operators, which mostly call another allocator.
    pub operator: bool,
}

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes memory back.
    Free,
    /// Hands memory out.
    Alloc,
}

impl Meaning {
    const fn alloc(size: u8) -> Meaning {
        Meaning {
            size: From::Arg(size),
            count: From::None,
            block: From::Return,
            old: From::None,
            fixed_size: 0,
            role: Role::Alloc,
            operator: false,
        }
    }

    const fn array(count: u8, size: u8) -> Meaning {
        Meaning { count: From::Arg(count), ..Meaning::alloc(size) }
    }

    const fn realloc(old: u8, size: u8) -> Meaning {
        Meaning { old: From::Arg(old), ..Meaning::alloc(size) }
    }

    const fn reallocarray(old: u8, count: u8, size: u8) -> Meaning {
        Meaning { old: From::Arg(old), ..Meaning::array(count, size) }
    }

    const fn behind(block: u8, size: u8) -> Meaning {
        Meaning { block: From::Behind(block), ..Meaning::alloc(size) }
    }

    const fn free(block: u8) -> Meaning {
        Meaning {
            size: From::None,
            count: From::None,
            block: From::Arg(block),
            old: From::None,
            fixed_size: 0,
            role: Role::Free,
            operator: false,
        }
    }

    const fn operator(self) -> Meaning {
        Meaning { operator: true, ..self }
    }

    /// How many of the first arguments the probe reads.
    pub fn arguments(&self) -> impl Iterator<Item = u32> {
        [self.size, self.count, self.block, self.old].into_iter().filter_map(|from| match from {
            From::Arg(n) | From::Behind(n) => Some(u32::from(n)),
            From::None | From::Return => None,
        })
    }
}

/// The functions of C, with the prefixes under which allocators also export them.
const C: &[(&str, Meaning)] = &[
    ("malloc", Meaning::alloc(0)),
    ("calloc", Meaning::array(0, 1)),
    ("realloc", Meaning::realloc(0, 1)),
    ("reallocarray", Meaning::reallocarray(0, 1, 2)),
    ("posix_memalign", Meaning::behind(0, 2)),
    ("aligned_alloc", Meaning::alloc(1)),
    ("memalign", Meaning::alloc(1)),
    ("valloc", Meaning::alloc(0)),
    ("pvalloc", Meaning::alloc(0)),
    ("free", Meaning::free(0)),
    ("cfree", Meaning::free(0)),
    ("free_sized", Meaning::free(0)),
    ("free_aligned_sized", Meaning::free(0)),
];
/// Plain; jemalloc's, configured or through Rust's tikv-jemallocator; gperftools'; mimalloc's.
const C_PREFIXES: &[&str] = &["", "je_", "_rjem_", "tc_", "mi_"];

/// Further functions of jemalloc.
const JEMALLOC: &[(&str, Meaning)] = &[
    ("mallocx", Meaning::alloc(0)),
    ("rallocx", Meaning::realloc(0, 1)),
    ("dallocx", Meaning::free(0)),
    ("sdallocx", Meaning::free(0)),
];
const JEMALLOC_PREFIXES: &[&str] = &["", "je_", "_rjem_"];

/// Further functions of mimalloc.
const MIMALLOC: &[(&str, Meaning)] = &[
    ("mi_malloc_small", Meaning::alloc(0)),
    ("mi_zalloc", Meaning::alloc(0)),
    ("mi_zalloc_small", Meaning::alloc(0)),
    ("mi_mallocn", Meaning::array(0, 1)),
    ("mi_reallocn", Meaning::reallocarray(0, 1, 2)),
    ("mi_reallocf", Meaning::realloc(0, 1)),
    ("mi_rezalloc", Meaning::realloc(0, 1)),
    ("mi_recalloc", Meaning::reallocarray(0, 1, 2)),
    ("mi_malloc_aligned", Meaning::alloc(0)),
    ("mi_malloc_aligned_at", Meaning::alloc(0)),
    ("mi_zalloc_aligned", Meaning::alloc(0)),
    ("mi_zalloc_aligned_at", Meaning::alloc(0)),
    ("mi_calloc_aligned", Meaning::array(0, 1)),
    ("mi_realloc_aligned", Meaning::realloc(0, 1)),
    ("mi_realloc_aligned_at", Meaning::realloc(0, 1)),
    ("mi_rezalloc_aligned", Meaning::realloc(0, 1)),
    ("mi_recalloc_aligned", Meaning::reallocarray(0, 1, 2)),
    ("mi_new", Meaning::alloc(0)),
    ("mi_new_aligned", Meaning::alloc(0)),
    ("mi_new_nothrow", Meaning::alloc(0)),
    ("mi_new_aligned_nothrow", Meaning::alloc(0)),
    ("mi_new_n", Meaning::array(0, 1)),
    ("mi_new_realloc", Meaning::realloc(0, 1)),
    ("mi_new_reallocn", Meaning::reallocarray(0, 1, 2)),
    ("mi_heap_malloc", Meaning::alloc(1)),
    ("mi_heap_malloc_small", Meaning::alloc(1)),
    ("mi_heap_zalloc", Meaning::alloc(1)),
    ("mi_heap_calloc", Meaning::array(1, 2)),
    ("mi_heap_mallocn", Meaning::array(1, 2)),
    ("mi_heap_realloc", Meaning::realloc(1, 2)),
    ("mi_heap_reallocn", Meaning::reallocarray(1, 2, 3)),
    ("mi_heap_rezalloc", Meaning::realloc(1, 2)),
    ("mi_heap_malloc_aligned", Meaning::alloc(1)),
    ("mi_heap_zalloc_aligned", Meaning::alloc(1)),
    ("mi_heap_realloc_aligned", Meaning::realloc(1, 2)),
    ("mi_free_size", Meaning::free(0)),
    ("mi_free_aligned", Meaning::free(0)),
    ("mi_free_size_aligned", Meaning::free(0)),
];

/// `operator new` and `operator delete`: the stem, and what may follow it.
const NEW: &[&str] = &["_Znwm", "_Znam"];
const NEW_SUFFIXES: &[&str] = &["", "RKSt9nothrow_t", "St11align_val_t", "St11align_val_tRKSt9nothrow_t"];
const DELETE: &[&str] = &["_ZdlPv", "_ZdaPv"];
const DELETE_SUFFIXES: &[&str] =
    &["", "m", "RKSt9nothrow_t", "St11align_val_t", "mSt11align_val_t", "St11align_val_tRKSt9nothrow_t"];

/// What a function of this (mangled) name means, if it belongs to a known allocator.
pub(crate) fn meaning(name: &str) -> Option<Meaning> {
    let find =
        |table: &[(&str, Meaning)], name: &str| table.iter().find(|(n, _)| *n == name).map(|(_, m)| *m);
    let prefixed = |prefixes: &[&str], table: &[(&str, Meaning)]| {
        prefixes.iter().find_map(|prefix| find(table, name.strip_prefix(prefix)?))
    };
    let family = |stems: &[&str], suffixes: &[&str]| {
        stems.iter().any(|stem| name.strip_prefix(stem).is_some_and(|rest| suffixes.contains(&rest)))
    };
    if name.starts_with("_Z") {
        return if family(NEW, NEW_SUFFIXES) {
            Some(Meaning::alloc(0).operator())
        } else if family(DELETE, DELETE_SUFFIXES) {
            Some(Meaning::free(0).operator())
        } else {
            None
        };
    }
    prefixed(C_PREFIXES, C).or_else(|| prefixed(JEMALLOC_PREFIXES, JEMALLOC)).or_else(|| find(MIMALLOC, name))
}

/// Whether a known function throws an exception when it fails: `operator new` and its equivalents, unless they are declared not
/// to throw.
pub(crate) fn throws(name: &str) -> bool {
    let new = NEW.iter().any(|stem| name.starts_with(stem)) || name.starts_with("mi_new");
    new && !name.contains("nothrow")
}

/// Whether such a function is defined only by allocators whose `operator new` throws when the machine has no memory, and at no
/// other time: jemalloc, gperftools, mimalloc.
pub(crate) fn brings_new(name: &str) -> bool {
    name.starts_with("tc_") || name.starts_with("mi_") || name.ends_with("mallocx")
}

/// The allocator that has these functions in this file, as far as names show.
pub(crate) fn family(file: &str, functions: &[String]) -> &'static str {
    let file = file.rsplit('/').next().unwrap_or(file);
    let any = |fits: &dyn Fn(&str) -> bool| functions.iter().any(|name| fits(name));
    if any(&|name| name.starts_with("mi_")) || file.starts_with("libmimalloc") {
        "mimalloc"
    } else if any(&|name| name.starts_with("tc_")) || file.starts_with("libtcmalloc") {
        "tcmalloc"
    } else if any(&|name| name.contains("mallocx") || name.starts_with("_rjem_") || name.starts_with("je_"))
        || file.starts_with("libjemalloc")
    {
        "jemalloc"
    } else if file.starts_with("libc.so") || file.starts_with("libc-2.") {
        "glibc"
    } else if file.starts_with("ld-musl") || file.starts_with("libc.musl") {
        "musl"
    } else if !any(&|name| !name.starts_with("_Z")) {
        "C++ operators of its own"
    } else {
        "an allocator linked into the file"
    }
}

/// Every name that [`meaning`] knows.
pub(crate) fn names() -> Vec<String> {
    let join = |prefixes: &[&str], table: &[(&str, Meaning)]| {
        let pairs = prefixes.iter().flat_map(|p| table.iter().map(move |(n, _)| format!("{p}{n}")));
        pairs.collect::<Vec<_>>()
    };
    let family = |stems: &[&str], suffixes: &[&str]| {
        stems.iter().flat_map(|s| suffixes.iter().map(move |x| format!("{s}{x}"))).collect::<Vec<_>>()
    };
    let mut names = join(C_PREFIXES, C);
    names.extend(join(JEMALLOC_PREFIXES, JEMALLOC));
    names.extend(join(&[""], MIMALLOC));
    names.extend(family(NEW, NEW_SUFFIXES));
    names.extend(family(DELETE, DELETE_SUFFIXES));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_meaning() {
        for name in names() {
            assert!(meaning(&name).is_some(), "{name}");
        }
        for name in ["mallocs", "xfree", "_Znwj", "_ZdlPvS_", "je_", "_Znwm2", ""] {
            assert_eq!(meaning(name), None, "{name}");
        }
    }

    #[test]
    fn allocators_are_told_by_their_names() {
        for (file, functions, name) in [
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", "malloc free", "glibc"),
            ("/lib/ld-musl-x86_64.so.1", "malloc free", "musl"),
            ("/opt/server", "_rjem_malloc _rjem_sdallocx", "jemalloc"),
            ("/opt/server", "malloc mallocx free", "jemalloc"),
            ("/usr/lib/libtcmalloc_minimal.so.4", "malloc", "tcmalloc"),
            ("/opt/server", "tc_malloc", "tcmalloc"),
            ("/opt/server", "mi_malloc", "mimalloc"),
            ("/opt/server", "_Znwm _ZdlPv", "C++ operators of its own"),
            ("/opt/libc.so/server", "malloc free", "an allocator linked into the file"),
        ] {
            let functions: Vec<String> = functions.split(' ').map(str::to_owned).collect();
            assert_eq!(family(file, &functions), name, "{file} {functions:?}");
        }
    }

    #[test]
    fn places_are_those_of_the_manuals() {
        let calloc = meaning("_rjem_calloc").unwrap();
        assert_eq!((calloc.count, calloc.size, calloc.block), (From::Arg(0), From::Arg(1), From::Return));
        let posix = meaning("mi_posix_memalign").unwrap();
        assert_eq!((posix.block, posix.size), (From::Behind(0), From::Arg(2)));
        let reallocarray = meaning("reallocarray").unwrap();
        assert_eq!(reallocarray.arguments().collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(meaning("mi_heap_realloc").unwrap().old, From::Arg(1));
        assert!(meaning("_ZdaPvmSt11align_val_t").unwrap().operator);
        assert_eq!(meaning("sdallocx").unwrap().role, Role::Free);
        assert!(throws("_Znwm") && throws("mi_new_n"));
        assert!(!throws("_ZnamRKSt9nothrow_t") && !throws("mi_new_nothrow") && !throws("malloc"));
    }
}

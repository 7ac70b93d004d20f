//! How a process was started, as far as that makes it move its own code or keep a heap of its own.

use std::{ffi::OsString, fs, os::unix::ffi::OsStrExt as _};

use crate::elf::runtime::Runtime;

/// The words of a command line and the variables of an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    words: Vec<Vec<u8>>,
    /// `NAME=value`.
    variables: Vec<Vec<u8>>,
}

impl Start {
    /// Of a command that we start, which gets our environment.
    pub(crate) fn of_command(command: &[OsString]) -> Start {
        let variables =
            std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        Start {
            words: command.iter().map(|word| word.as_bytes().to_vec()).collect(),
            variables: variables.collect(),
        }
    }

    /// Of a process. Empty if it may not be read.
    pub(crate) fn of_process(pid: u32) -> Start {
        let read = |what: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
        };
        Start { words: read("cmdline"), variables: read("environ") }
    }

    /// The option that makes Node.js move its code, if it is given on the command line or in `NODE_OPTIONS`.
    pub(crate) fn node_moves_code(&self) -> Option<&'static str> {
        const OPTION: &[u8] = b"--use-largepages";
        // All other values move it; `off` is the default.
        let moves = |word: &[u8], next: Option<&[u8]>| match word.strip_prefix(OPTION) {
            Some(b"") => next.is_some_and(|value| value != b"off"),
            Some([b'=', value @ ..]) => value != b"off",
            _ => false,
        };
        let any = |words: &[&[u8]]| {
            (0..words.len())
                .any(|at| moves(words.get(at).copied().unwrap_or_default(), words.get(at + 1).copied()))
        };
        let words: Vec<&[u8]> = self.words.iter().map(Vec::as_slice).collect();
        if any(&words) {
            return Some("it is started with --use-largepages");
        }
        let options = self.variable(b"NODE_OPTIONS").unwrap_or_default();
        let words: Vec<&[u8]> =
            options.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        any(&words).then_some("NODE_OPTIONS has --use-largepages")
    }

    /// A preloaded library that moves the program's code, if there is one.
    pub(crate) fn preloaded_mover(&self) -> Option<&'static str> {
        let has = |list: Option<&[u8]>, name: &[u8]| {
            list.is_some_and(|list| list.windows(name.len()).any(|part| part == name))
        };
        let preloaded = self.variable(b"LD_PRELOAD");
        if [b"liblppreload".as_slice(), b"libiodlr"].iter().any(|name| has(preloaded, name)) {
            return Some("LD_PRELOAD loads iodlr, which moves a program's code into huge pages");
        }
        let remaps =
            self.variable(b"HUGETLB_ELFMAP").is_some_and(|value| !value.is_empty() && value != b"no");
        (remaps && has(preloaded, b"libhugetlbfs"))
            .then_some("HUGETLB_ELFMAP has libhugetlbfs move its code into huge pages")
    }

    /// What allocator probes cannot see of a runtime; `None` if it was started so that they can see it all.
    pub(crate) fn limit(&self, runtime: Runtime) -> Option<&'static str> {
        let is_seen = runtime == Runtime::CPython && self.python_uses_malloc();
        (!is_seen).then(|| runtime.limit())
    }

    /// Whether CPython allocates each object by `malloc`.
    fn python_uses_malloc(&self) -> bool {
        matches!(self.variable(b"PYTHONMALLOC"), Some(b"malloc" | b"malloc_debug"))
    }

    fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        self.variables.iter().find_map(|variable| variable.strip_prefix(name)?.strip_prefix(b"="))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(words: &[&str], variables: &[&str]) -> Start {
        let bytes = |list: &[&str]| list.iter().map(|word| word.as_bytes().to_vec()).collect();
        Start { words: bytes(words), variables: bytes(variables) }
    }

    #[test]
    fn node_moves_its_code_if_it_is_told_to() {
        for words in [["node", "--use-largepages=on"], ["node", "--use-largepages=silent"]] {
            assert!(start(&words, &[]).node_moves_code().is_some(), "{words:?}");
        }
        assert!(start(&["node", "--use-largepages", "on", "a.js"], &[]).node_moves_code().is_some());
        let by_variable = start(&["node"], &["X=1", "NODE_OPTIONS=--inspect  --use-largepages=on"]);
        assert_eq!(by_variable.node_moves_code(), Some("NODE_OPTIONS has --use-largepages"));
        for words in [["node", "--use-largepages=off"], ["node", "a.js"], ["node", "--use-largepages-not"]] {
            assert_eq!(start(&words, &["OTHER_NODE_OPTIONS=--use-largepages=on"]).node_moves_code(), None);
        }
    }

    #[test]
    fn what_is_preloaded_may_move_code() {
        let of = |variables: &[&str]| start(&[], variables).preloaded_mover();
        assert!(of(&["LD_PRELOAD=/usr/lib64/liblppreload.so"]).is_some());
        assert!(of(&["LD_PRELOAD=libhugetlbfs.so", "HUGETLB_ELFMAP=RW"]).is_some());
        assert_eq!(of(&["LD_PRELOAD=libhugetlbfs.so", "HUGETLB_MORECORE=yes"]), None);
        assert_eq!(of(&["LD_PRELOAD=libjemalloc.so.2", "HUGETLB_ELFMAP=RW"]), None);
    }

    #[test]
    fn what_was_switched_on_is_not_advised() {
        // Of a variable that is there twice, the first counts, as for `getenv`.
        for (variables, by_malloc) in [
            (&["HOME=/srv", "PYTHONMALLOC=malloc", "LANG=C"][..], true),
            (&["PYTHONMALLOC=malloc_debug"], true),
            (&["PYTHONMALLOC=pymalloc"], false),
            (&["PYTHONMALLOC=debug", "PYTHONMALLOC=malloc"], false),
            (&["MY_PYTHONMALLOC=malloc"], false),
            (&[], false),
        ] {
            let start = start(&["python3"], variables);
            assert_eq!(start.limit(Runtime::CPython).is_none(), by_malloc, "{variables:?}");
            assert_eq!(start.limit(Runtime::Jvm), Some(Runtime::Jvm.limit()));
        }
    }
}

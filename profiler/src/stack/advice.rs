//! Advice about stacks and names that are missing in code that a runtime has made.

use std::collections::{BTreeMap, BTreeSet};

use super::Spaces;
use crate::elf::runtime::Runtime;

/// What is missing in the code that one process has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Frames, counted once for each walk over them.
    pub(super) made_frames: u64,
    /// The frames without a name.
    pub(super) names: u64,
    /// Walks that end in such code.
    pub(super) callers: bool,
    /// Frames of V8's interpreter: the functions that it runs are shown by its name.
    pub(super) interpreted: u64,
    /// Frames of CPython's interpreter: Python functions have frames of their own only if an option asks for it.
    pub(super) evaluated: u64,
    /// Walks through JavaScript functions into which V8 may have inlined others.
    pub(super) hidden: u64,
}

impl Missing {
    /// Whether many names are missing. Even with the option on, some code has no name: it is newer than the last write
    /// of the file, or older than the file.
    fn lacks_names(self) -> bool {
        self.names > self.made_frames / 100
    }

    /// Whether most of the script's functions are interpreted. Some functions of node itself are compiled in advance
    /// and keep the interpreter's name with any option: up to a fifth of the frames.
    fn lacks_interpreted(self) -> bool {
        self.interpreted > self.made_frames
    }

    /// Whether functions of Python have no frames of their own.
    fn lacks_python(self) -> bool {
        self.evaluated > self.made_frames
    }

    /// Whether many inlined functions of V8 are missing.
    fn lacks_inlined(self) -> bool {
        self.hidden > self.made_frames / 100
    }
}

/// Advice about what is missing, by number of the address space, without repetition.
pub(super) fn advice(missing: &BTreeMap<u16, Missing>, spaces: &(impl Spaces + ?Sized)) -> Vec<String> {
    let mut advice = BTreeSet::new();
    for (number, missing) in missing.iter().filter(|(_, missing)| **missing != Missing::default()) {
        advice.extend(words(*missing, &spaces.runtimes(*number)).into_iter().map(str::to_owned));
    }
    advice.into_iter().collect()
}

fn words(missing: Missing, runtimes: &BTreeSet<Runtime>) -> Vec<&'static str> {
    let lacks_names = missing.lacks_names();
    let mut words = Vec::new();
    for runtime in runtimes {
        if lacks_names {
            words.extend(runtime.names_advice());
        }
        if missing.callers {
            words.extend(runtime.callers_advice());
        }
        if missing.lacks_python() && *runtime == Runtime::CPython {
            words.push(
                "Python functions have no names: start it as `python3 -X perf` (3.12 or newer), or with \
                 PYTHONPERFSUPPORT=1 in its environment; tracemalloc has them for Python objects",
            );
        }
        if missing.lacks_inlined() && !lacks_names && *runtime == Runtime::V8 {
            words.push(
                "JavaScript functions that V8 inlines into others have no names of their own: start node with \
                 --no-turbo-inlining as well",
            );
        }
        let interpreted = missing.lacks_interpreted() && !lacks_names;
        if interpreted && *runtime == Runtime::V8 {
            words.push(
                "JavaScript functions that V8 interprets have no names of their own: start node with \
                 --perf-basic-prof --interpreted-frames-native-stack",
            );
        }
    }
    if words.is_empty() && lacks_names {
        words.push(
            "code that was made at run time has no names: let the program write /tmp/perf-PID.map, as most runtimes \
             can",
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(missing: Missing, runtimes: &[Runtime]) -> String {
        words(missing, &runtimes.iter().copied().collect()).join("\n")
    }

    const NOTHING: Missing =
        Missing { made_frames: 100, names: 0, callers: false, interpreted: 0, evaluated: 0, hidden: 0 };
    const NAMES: Missing = Missing { names: 2, ..NOTHING };
    const CALLERS: Missing = Missing { callers: true, ..NOTHING };

    #[test]
    fn each_runtime_has_its_own_switch() {
        for (runtime, switch) in [
            (Runtime::V8, "--perf-basic-prof"),
            (Runtime::Jvm, "Compiler.perfmap"),
            (Runtime::DotNet, "DOTNET_PerfMapEnabled=1"),
        ] {
            assert!(of(NAMES, &[runtime]).contains(switch), "{runtime:?}");
        }
        assert!(of(CALLERS, &[Runtime::Jvm]).contains("-XX:+PreserveFramePointer"));
        assert!(of(CALLERS, &[Runtime::LuaJit]).contains("LuaJIT keeps no frame pointer"));
    }

    #[test]
    fn code_without_names_gets_advice() {
        assert!(of(NAMES, &[]).contains("/tmp/perf-PID.map"));
        assert!(of(NAMES, &[Runtime::CPython]).contains("/tmp/perf-PID.map"));
        assert_eq!(of(CALLERS, &[]), "");
        assert_eq!(of(NOTHING, &[Runtime::V8]), "");
        assert_eq!(of(Missing { names: 1, ..NOTHING }, &[Runtime::V8]), "");
        assert!(of(Missing { made_frames: 1, names: 1, ..NOTHING }, &[Runtime::V8]).contains("node"));
    }

    #[test]
    fn only_v8_gets_advice_on_interpreted_functions() {
        let interpreted = Missing { interpreted: 101, ..NOTHING };
        assert!(of(interpreted, &[Runtime::V8]).contains("--interpreted-frames-native-stack"));
        assert_eq!(of(interpreted, &[Runtime::Jvm]), "");
        // The other advice contains it.
        assert_eq!(of(Missing { interpreted: 100, ..NOTHING }, &[Runtime::V8]), "");
        let both = of(Missing { names: 2, ..interpreted }, &[Runtime::V8]);
        assert_eq!(both.matches("--interpreted-frames-native-stack").count(), 1, "{both}");
    }

    #[test]
    fn cpython_without_python_functions_gets_advice() {
        let evaluated = Missing { made_frames: 0, evaluated: 7, ..NOTHING };
        assert!(of(evaluated, &[Runtime::CPython]).contains("python3 -X perf"));
        assert_eq!(of(evaluated, &[Runtime::V8]), "");
        // Each has a frame in code that was made for it.
        assert_eq!(of(Missing { made_frames: 7, ..evaluated }, &[Runtime::CPython]), "");
    }

    #[test]
    fn only_v8_gets_advice_on_inlined_functions() {
        let hidden = Missing { hidden: 2, ..NOTHING };
        assert!(of(hidden, &[Runtime::V8]).contains("--no-turbo-inlining"));
        assert_eq!(of(hidden, &[Runtime::Jvm]), "");
        assert_eq!(of(Missing { hidden: 1, ..NOTHING }, &[Runtime::V8]), "");
    }
}

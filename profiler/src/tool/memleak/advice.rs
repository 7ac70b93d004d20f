//! What the user can switch on where stacks or names are missing in code that a runtime has made.

use std::collections::{BTreeMap, BTreeSet};

use super::space::Space;
use crate::elf::runtime::Runtime;

/// What is missing in the code that one process has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Frames, each as often as it was walked over.
    pub(super) made_frames: u64,
    /// Those without a name.
    pub(super) names: u64,
    /// Walks that end in such code.
    pub(super) callers: bool,
    /// Frames of the interpreter of V8: functions that it runs have its name.
    pub(super) interpreted: u64,
}

impl Missing {
    /// Whether names are missing to speak of. Where they were switched on, some code is still too new for them, or older
    /// than the file.
    fn lacks_names(self) -> bool {
        self.names > self.made_frames / 100
    }

    /// Whether functions that are interpreted make up most of the script. Some of node's own, which it has ready when it
    /// starts, keep the interpreter's name whatever is switched on: a fifth of the frames was seen.
    fn lacks_interpreted(self) -> bool {
        self.interpreted > self.made_frames
    }
}

/// What can be done about what is missing, by number of the address space; each once.
pub(super) fn advice(missing: &BTreeMap<u16, Missing>, spaces: &[Space]) -> Vec<String> {
    let mut advice = BTreeSet::new();
    for (number, missing) in missing.iter().filter(|(_, missing)| **missing != Missing::default()) {
        let runtimes = spaces.iter().find(|s| s.number == *number).map(|s| s.runtimes.clone());
        advice.extend(words(*missing, &runtimes.unwrap_or_default()).into_iter().map(str::to_owned));
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

    const NOTHING: Missing = Missing { made_frames: 100, names: 0, callers: false, interpreted: 0 };
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
    fn what_nobody_can_name_is_not_passed_over() {
        assert!(of(NAMES, &[]).contains("/tmp/perf-PID.map"));
        assert!(of(NAMES, &[Runtime::CPython]).contains("/tmp/perf-PID.map"));
        assert_eq!(of(CALLERS, &[]), "");
        assert_eq!(of(NOTHING, &[Runtime::V8]), "");
        assert_eq!(of(Missing { names: 1, ..NOTHING }, &[Runtime::V8]), "");
        assert!(of(Missing { made_frames: 1, names: 1, ..NOTHING }, &[Runtime::V8]).contains("node"));
    }

    #[test]
    fn interpreted_functions_are_the_matter_of_v8_alone() {
        let interpreted = Missing { interpreted: 101, ..NOTHING };
        assert!(of(interpreted, &[Runtime::V8]).contains("--interpreted-frames-native-stack"));
        assert_eq!(of(interpreted, &[Runtime::Jvm]), "");
        // The other advice says it too.
        assert_eq!(of(Missing { interpreted: 100, ..NOTHING }, &[Runtime::V8]), "");
        let both = of(Missing { names: 2, ..interpreted }, &[Runtime::V8]);
        assert_eq!(both.matches("--interpreted-frames-native-stack").count(), 1, "{both}");
    }
}

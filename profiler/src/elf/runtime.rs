//! Runtimes and engines with a heap of their own, and what that means for the answers.
//!
//! A probe on `malloc` sees calls of `malloc`. Runtimes with a garbage collector, and some game engines, take memory
//! from the kernel in large pieces and divide it themselves. Leaks in that memory are invisible to the probe, and the
//! report has to say so.

use std::path::Path;

use super::image::Image;

/// A runtime or an engine with a heap of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Runtime {
    /// Go.
    Go,
    /// V8: Node.js, Deno, Electron, embedded V8.
    V8,
    /// A Java virtual machine (HotSpot, OpenJ9).
    Jvm,
    /// .NET (CoreCLR).
    DotNet,
    /// Mono, also as embedded by Unity.
    Mono,
    /// BEAM, the virtual machine of Erlang and Elixir.
    Beam,
    /// LuaJIT.
    LuaJit,
    /// CPython.
    CPython,
    /// Unity with scripts that were compiled ahead (IL2CPP).
    Il2Cpp,
    /// Unreal Engine.
    Unreal,
    /// Wine, and Proton, which is based on it.
    Wine,
}

/// Which code that a runtime makes keeps a frame pointer, by which its callers are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FramePointers {
    /// All of it, as far as is known.
    #[default]
    All,
    /// Its interpreter, and code that calls code of files.
    Few,
    /// None of it.
    None,
}

/// How a runtime is recognised.
struct Sign {
    runtime: Runtime,
    /// Prefixes of the file names of its libraries or executables; after a `*`, a part of such a name.
    files: &'static [&'static str],
    /// Symbols that are defined only by programs that contain it.
    symbols: &'static [&'static str],
}

const SIGNS: [Sign; 10] = [
    Sign {
        runtime: Runtime::V8,
        files: &["libnode.so", "libv8.so", "libv8_"],
        symbols: &["_ZN2v87Isolate10InitializeEPS0_RKNS0_12CreateParamsE", "_ZN2v87Isolate7DisposeEv"],
    },
    Sign { runtime: Runtime::Jvm, files: &["libjvm.so", "libj9vm"], symbols: &["JNI_CreateJavaVM"] },
    Sign {
        runtime: Runtime::DotNet,
        files: &["libcoreclr.so", "libclrjit.so"],
        symbols: &["DotNetRuntimeInfo", "coreclr_initialize"],
    },
    Sign {
        runtime: Runtime::Mono,
        files: &["libmono-2.0.so", "libmonosgen-2.0.so", "libmonobdwgc-2.0.so", "libmonoboehm-2.0.so"],
        symbols: &["mono_jit_init"],
    },
    Sign { runtime: Runtime::Beam, files: &["beam.smp", "beam.emu"], symbols: &["enif_make_atom"] },
    Sign { runtime: Runtime::LuaJit, files: &["libluajit-5.1.so"], symbols: &["luaJIT_setmode"] },
    Sign { runtime: Runtime::CPython, files: &["libpython2.", "libpython3."], symbols: &["PyObject_Malloc"] },
    Sign {
        runtime: Runtime::Il2Cpp,
        files: &["GameAssembly.so", "libil2cpp.so"],
        symbols: &["il2cpp_init", "il2cpp_gc_collect"],
    },
    // Packaged servers are called PROJECT-Linux-CONFIGURATION; those of the editor load libUnrealEditor-*.so.
    Sign {
        runtime: Runtime::Unreal,
        files: &["*-Linux-Shipping", "*-Linux-Test", "*-Linux-DebugGame", "UnrealEditor", "libUnrealEditor-"],
        symbols: &[],
    },
    Sign {
        runtime: Runtime::Wine,
        files: &["wine-preloader", "wine64-preloader", "libwine.so", "ntdll.so"],
        symbols: &["__wine_main"],
    },
];

impl Sign {
    fn is_of_file(&self, name: &str) -> bool {
        let fits = |pattern: &&str| match pattern.strip_prefix('*') {
            Some(part) => name.contains(part),
            None => name.starts_with(*pattern),
        };
        self.files.iter().any(fits)
    }
}

impl Runtime {
    /// Whether an observation must be refused rather than explained.
    pub const fn is_refused(self) -> bool {
        matches!(self, Self::Go)
    }

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Go => "Go",
            Self::V8 => "V8 (Node.js)",
            Self::Jvm => "Java",
            Self::DotNet => ".NET",
            Self::Mono => "Mono",
            Self::Beam => "Erlang (BEAM)",
            Self::LuaJit => "LuaJIT",
            Self::CPython => "Python",
            Self::Il2Cpp => "Unity (IL2CPP)",
            Self::Unreal => "Unreal Engine",
            Self::Wine => "Wine",
        }
    }

    /// Its name without what it stands for.
    pub fn short_name(self) -> &'static str {
        self.name().split(" (").next().unwrap_or(self.name())
    }

    /// Which of the code that it makes keeps a frame pointer, unless options change that.
    pub const fn frame_pointers(self) -> FramePointers {
        match self {
            Self::Jvm => FramePointers::Few,
            Self::LuaJit => FramePointers::None,
            _ => FramePointers::All,
        }
    }

    /// Whether it makes code while it runs, in memory that belongs to no file.
    pub const fn makes_code(self) -> bool {
        matches!(self, Self::V8 | Self::Jvm | Self::DotNet | Self::Mono | Self::Beam | Self::LuaJit)
    }

    /// A command to copy that makes it write the names of the code that it makes to `/tmp/perf-PID.map`; `None` if it
    /// makes no code, or cannot write them.
    pub const fn naming(self) -> Option<&'static str> {
        match self {
            Self::V8 => Some("node --perf-basic-prof SCRIPT   # from the start"),
            Self::Jvm => Some(
                "jcmd PID Compiler.perfmap   # JDK 17 and later; start java with -XX:+PreserveFramePointer",
            ),
            Self::DotNet => Some("DOTNET_PerfMapEnabled=1 ./SERVER   # from the start"),
            Self::Mono => Some("mono --jitmap SERVER.exe   # from the start"),
            Self::Beam => Some("erl +JPperf true   # from the start"),
            Self::LuaJit => Some("make XCFLAGS=-DLUAJIT_USE_PERFTOOLS   # LuaJIT has to be built for it"),
            Self::Go | Self::CPython | Self::Il2Cpp | Self::Unreal | Self::Wine => None,
        }
    }

    /// One sentence for the user: what the allocator probes cannot see in such a process, and what can.
    pub const fn limit(self) -> &'static str {
        match self {
            Self::Go => {
                "a Go program: goroutine stacks move in memory while they run, so a return probe could crash it, \
                 and its heap does not go through malloc; use net/http/pprof instead"
            }
            Self::V8 => {
                "growth inside the V8 heap is invisible to allocator probes: they see native memory only, such as \
                 Buffers and add-ons; for JavaScript objects take heap snapshots"
            }
            Self::Jvm => {
                "growth inside the Java heap is invisible to allocator probes: they see native memory only, such \
                 as direct buffers and JNI libraries; for Java objects take a heap dump (jcmd PID GC.heap_dump)"
            }
            Self::DotNet => {
                "growth inside the .NET heap is invisible to allocator probes: they see native memory only; for \
                 managed objects use dotnet-gcdump"
            }
            Self::Mono => {
                "growth inside the Mono heap is invisible to allocator probes: they see native memory only; for \
                 managed objects use the memory profiler of Mono or Unity"
            }
            Self::Beam => {
                "growth inside the Erlang heaps is mostly invisible to allocator probes: BEAM takes memory from \
                 the kernel in large carriers; for Erlang terms use erlang:memory() and recon_alloc"
            }
            Self::LuaJit => {
                "growth of Lua objects is invisible to allocator probes unless the program gives LuaJIT its own \
                 allocator: LuaJIT takes memory from the kernel directly; use collectgarbage(\"count\")"
            }
            Self::CPython => {
                "Python objects of up to 512 bytes are invisible to allocator probes: CPython keeps them in arenas \
                 that it takes from the kernel; start it with PYTHONMALLOC=malloc, or use tracemalloc"
            }
            Self::Il2Cpp => {
                "growth of C# objects is invisible to allocator probes: IL2CPP keeps them in a heap that it takes \
                 from the kernel; for managed objects use Unity's Memory Profiler"
            }
            Self::Unreal => {
                "Unreal's own allocator (FMallocBinned) takes memory from the kernel and divides it itself, so \
                 probes on malloc see little; start the server with -ansimalloc, or use Unreal's memory trace"
            }
            Self::Wine => {
                "the heap of Windows programs is invisible to allocator probes: Wine takes it from the kernel; \
                 functions of .exe and .dll files have no names, only file and offset"
            }
        }
    }

    /// How to make it write the names of the code that it makes; `None` if it cannot.
    pub const fn names_advice(self) -> Option<&'static str> {
        match self {
            Self::V8 => Some(
                "JavaScript functions have no names: start node with --perf-basic-prof, and with \
                 --interpreted-frames-native-stack to name those too that are not compiled",
            ),
            Self::Jvm => Some(
                "Java methods have no names: run `jcmd PID Compiler.perfmap` (JDK 17 or newer) while profiler \
                 observes, or start java with -XX:+UnlockDiagnosticVMOptions -XX:+DumpPerfMapAtExit",
            ),
            Self::DotNet => Some(
                ".NET methods have no names: start the program with DOTNET_PerfMapEnabled=1 in its environment",
            ),
            Self::Beam => Some("Erlang functions have no names: start erl with +JPperf true"),
            Self::LuaJit => Some(
                "Lua functions have no names: build LuaJIT with -DLUAJIT_USE_PERFTOOLS, which writes them",
            ),
            Self::Mono => Some("Mono methods have no names: start mono with --jitmap"),
            Self::Go | Self::CPython | Self::Il2Cpp | Self::Unreal | Self::Wine => None,
        }
    }

    /// What the user can do about stacks that end in the code that it makes; `None` if nothing is known.
    pub const fn callers_advice(self) -> Option<&'static str> {
        match self {
            Self::Jvm => Some("stacks end in Java methods: start java with -XX:+PreserveFramePointer"),
            Self::CPython => Some(
                "stacks end in Python functions: Python has to be built with CFLAGS=-fno-omit-frame-pointer for their \
                 callers",
            ),
            Self::LuaJit => Some(
                "stacks end in compiled Lua code: LuaJIT keeps no frame pointer, and has no option for it; with \
                 jit.off(), which is slower, all runs in its interpreter, which has unwind information",
            ),
            _ => None,
        }
    }

    /// The runtime of a mapped file, by its file name in any directory; `None` for other files.
    pub fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let known = SIGNS.iter().find(|sign| sign.is_of_file(name));
        known.map(|sign| sign.runtime)
    }

    /// The runtimes among the mapped files of a process, sorted, without duplicates.
    pub fn of_files<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Vec<Self> {
        let mut found: Vec<_> = paths.into_iter().filter_map(Self::of_file).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Image<'_> {
    /// The runtimes that are linked into this file, sorted. For a stripped static program, an empty list says little.
    pub fn runtimes(&self) -> Vec<Runtime> {
        let mut found: Vec<_> = self.is_go().then_some(Runtime::Go).into_iter().collect();
        self.each_defined(|defined| {
            let shows = |sign: &&Sign| sign.symbols.iter().any(|symbol| symbol.as_bytes() == defined.name);
            found.extend(SIGNS.iter().filter(shows).map(|sign| sign.runtime));
        });
        found.sort_unstable();
        found.dedup();
        found
    }
}

//! Diagnoses for tests.

use super::{
    Answer, Area, Check, Code, Cost, Diagnosis, Figure, Need, Readiness, RuntimeFound, SCHEMA, Target,
    ToolState, Verdict, WithoutTables,
};
use crate::{
    text::Text,
    tool::foresight::{AllocatorFound, CallEnd, Forecast, Site},
};

const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";

fn check(name: &str, area: Area, title: &str, seen: &str) -> Check {
    Check {
        name: name.to_owned(),
        area,
        title: title.to_owned(),
        answer: Answer::Yes,
        seen: seen.to_owned(),
        need: Need::Useful,
        disables: None,
        remedy: None,
        fix: None,
        tools: None,
    }
}

fn not_yes(check: Check, answer: Answer, disables: &str, remedy: &str, fix: &str) -> Check {
    let some = |words: &str| Some(words.to_owned());
    Check { answer, disables: some(disables), remedy: some(remedy), fix: some(fix), ..check }
}

fn site(function: &str, offset_bytes: u64, emulated: bool, end: CallEnd) -> Site {
    Site {
        function: Text::from(function),
        module: Text::from(LIBC),
        file_offset: 0x9b0e0 + offset_bytes,
        offset_bytes,
        emulated,
        reason: match (offset_bytes, emulated) {
            (0, true) => "the first instruction is emulated".to_owned(),
            (0, false) => "the entry, because an argument is overwritten at +0x3".to_owned(),
            _ => "the first emulated instruction, 1 past the entry".to_owned(),
        },
        end,
        returns: 0,
        left_out: None,
    }
}

fn tool() -> ToolState {
    ToolState {
        name: "sample".to_owned(),
        question: "Which call stacks allocate memory that is never freed?".to_owned(),
        answer: Answer::Yes,
        why: None,
        remedy: None,
        attached_by: Some("uprobe session".to_owned()),
        allocators: Vec::new(),
        sites: Vec::new(),
        notes: Vec::new(),
        refused_with: None,
        forecast: None,
        forecast_unknown: None,
        sees: vec![
            "every call of malloc and free, of glibc, musl, jemalloc, tcmalloc and mimalloc".to_owned(),
        ],
        cannot_see: vec!["what was allocated before it was attached".to_owned()],
        lacks: Vec::new(),
    }
}

fn figure(median_ns: f64, calls: u64) -> Figure {
    Figure { median_ns, low_ns: median_ns * 0.96, high_ns: median_ns * 1.31, calls }
}

/// All diagnoses below.
pub(crate) fn all() -> [Diagnosis; 6] {
    [ready(), limited(), costly(), not_ready(), refused(), hostile()]
}

/// A machine without faults, without a process.
pub(crate) fn ready() -> Diagnosis {
    Diagnosis {
        schema: SCHEMA,
        version: "0.1.0".to_owned(),
        host: Text::from("game-1"),
        kernel: "6.18.44".to_owned(),
        verdict: Verdict { readiness: Readiness::Ready, reasons: Vec::new() },
        checks: vec![
            check("btf", Area::Kernel, "types (BTF)", "/sys/kernel/btf/vmlinux, 5.2 MiB"),
            check(
                "uprobe_session",
                Area::Kernel,
                "uprobe sessions",
                "attached to ourselves: entry and return",
            ),
            check("root", Area::Privileges, "root", "effective user id 0"),
        ],
        target: None,
        tools: vec![tool()],
        cost: Some(Cost {
            emulated: figure(520.0, 69_000),
            stepped: figure(2_100.0, 17_000),
            call: figure(1_090.0, 33_000),
            cold: figure(840.0, 4_000),
            cold_call: figure(1_530.0, 3_000),
            took_ns: 287_000_000,
        }),
        cost_unknown: None,
    }
}

/// A process with limits: a container, a heap out of sight, a file without tables.
pub(crate) fn limited() -> Diagnosis {
    let mut diagnosis = ready();
    diagnosis.checks.extend([
        check("program", Area::Target, "64-bit x86 program", "an ELF file for x86_64"),
        not_yes(
            check("jit_names", Area::Target, "names of JIT code", "no /tmp/perf-17.map of its own"),
            Answer::No,
            "names of functions that the runtime compiled while it ran",
            "let the runtime write /tmp/perf-PID.map",
            "node --perf-basic-prof SCRIPT   # from the start",
        ),
        not_yes(
            check("unwind_tables", Area::Target, "unwind tables", "13 of 14 files, 97 % of their code"),
            Answer::CannotTell,
            "whole stacks through the files named: there, frame pointers have to do",
            "build them with unwind tables",
            "gcc -fasynchronous-unwind-tables ...   # or -fno-omit-frame-pointer",
        ),
    ]);
    diagnosis.target = Some(Target {
        pid: 4242,
        name: Text::from("world-server"),
        exe: Some(Text::from("/opt/game/world-server")),
        uid: Some(1000),
        threads: Some(38),
        inner_pid: Some(17),
        container: Some(Text::from("docker 3f2a9c0d1e4b")),
        anonymous_bytes: Some(412 << 20),
        runtimes: vec![RuntimeFound {
            name: "V8 (Node.js)".to_owned(),
            meaning: "growth inside the V8 heap is invisible to allocator probes".to_owned(),
        }],
        code: Some(Code {
            files: 14,
            with_symbols: 3,
            with_debug_information: 1,
            exe_has_names: true,
            exe_exports: 0,
            build_id: Some("ab01ff".to_owned()),
            with_tables: 13,
            code_bytes: 30 << 20,
            covered_bytes: 29 << 20,
            without_tables: vec![WithoutTables {
                file: Text::from("/opt/game/libanticheat.so"),
                why: "the file has no unwind information".to_owned(),
            }],
            made_bytes: 3 << 20,
        }),
    });
    let tool = &mut diagnosis.tools[0];
    tool.allocators =
        vec![AllocatorFound { name: "glibc".to_owned(), module: Text::from(LIBC), functions: 4 }];
    tool.sites = vec![
        site("free", 3, true, CallEnd::Unseen),
        site("malloc", 0, true, CallEnd::ReturnProbe),
        Site { returns: 3, ..site("pool_get", 0, false, CallEnd::RetInstructions) },
        Site {
            left_out: Some("operator new is not followed: it may throw".to_owned()),
            ..site("_Znwm", 0, true, CallEnd::Unseen)
        },
        site("mi_new", 0, true, CallEnd::ReturnProbeUnlessItThrows),
    ];
    tool.forecast = Some(Forecast {
        thread: 4243,
        name: Some(Text::from("tick")),
        share: 0.31,
        taken_share: 0.26,
        sampled_share: Some(0.19),
        calls_per_s: 310_000.0,
        limit: 0.30,
    });
    tool.notes = vec!["growth inside the V8 heap is invisible to allocator probes".to_owned()];
    tool.lacks = vec![
        "operations of io_uring are not counted: the kernel has no tracepoint io_uring_complete".to_owned(),
    ];
    diagnosis.conclude();
    diagnosis
}

/// A user without any privileges.
pub(crate) fn not_ready() -> Diagnosis {
    let mut diagnosis = ready();
    let root = not_yes(
        Check { need: Need::Required, ..check("root", Area::Privileges, "root", "effective user id 1000") },
        Answer::No,
        "observing: probes are put into the kernel",
        "run it as root",
        "sudo profiler doctor",
    );
    diagnosis.checks[2] = root;
    diagnosis.tools[0].answer = Answer::CannotTell;
    diagnosis.tools[0].why = Some("no probe could be attached".to_owned());
    diagnosis.tools[0].remedy = Some("run as root".to_owned());
    diagnosis.tools[0].forecast_unknown = Some("it cannot be observed".to_owned());
    diagnosis.cost = None;
    diagnosis.cost_unknown = Some("no probe can be attached".to_owned());
    diagnosis.conclude();
    diagnosis
}

/// A process that calls its allocator too often.
pub(crate) fn costly() -> Diagnosis {
    let mut diagnosis = limited();
    let tool = &mut diagnosis.tools[0];
    tool.refused_with = Some(5);
    if let Some(forecast) = &mut tool.forecast {
        (forecast.share, forecast.taken_share) = (0.41, 0.36);
    }
    diagnosis.conclude();
    diagnosis
}

/// A process that no tool can observe.
pub(crate) fn refused() -> Diagnosis {
    let mut diagnosis = limited();
    let tool = &mut diagnosis.tools[0];
    tool.answer = Answer::No;
    tool.refused_with = Some(4);
    tool.why = Some("it is a Go program".to_owned());
    tool.remedy = Some("go tool pprof http://HOST/debug/pprof/heap".to_owned());
    tool.sites.clear();
    tool.allocators.clear();
    diagnosis.conclude();
    diagnosis
}

/// A process whose name contains terminal escapes.
pub(crate) fn hostile() -> Diagnosis {
    let mut diagnosis = limited();
    let evil = Text::from("a\x1b[2J\u{202e}\nREADY");
    if let Some(target) = &mut diagnosis.target {
        target.name = evil.clone();
        target.exe = Some(evil.clone());
        target.container = Some(evil.clone());
        if let Some(code) = &mut target.code {
            code.without_tables[0].file = evil.clone();
        }
    }
    for site in &mut diagnosis.tools[0].sites {
        site.function = evil.clone();
        site.module = evil.clone();
    }
    diagnosis.tools[0].allocators[0].module = evil;
    diagnosis
}

impl Diagnosis {
    fn conclude(&mut self) {
        self.verdict = Verdict::of(&self.checks, &self.tools);
    }
}

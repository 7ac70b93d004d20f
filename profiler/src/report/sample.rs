//! Reports for tests: of a game server, and of a hostile target.

use std::collections::BTreeMap;

mod grouped;
mod timed;

pub(crate) use self::{grouped::grouped, timed::timed};
use super::*;
use crate::text::Text;

const MIB: u64 = 1 << 20;

/// A complete report with three rows, in which every optional field is present somewhere.
pub(crate) fn pong() -> Report {
    let mut frames = Frames::default();
    let rows = vec![
        leak_row("chat::History::push", 412 * MIB, 549.0, Some(0)),
        long_row("player::Session::new", 190 * MIB, Some(1)),
        cache_row("asset::TextureCache::insert", Some(2)),
    ];
    let stacks = vec![
        stack(&mut frames, 4242, &["chat::History::push", "room::Room::broadcast", "room::Room::tick"]),
        stack(&mut frames, 4242, &["player::Session::new", "net::accept"]),
        Stack { incomplete: Some("no frame pointer in libfoo.so".into()), ..unresolved_stack(&mut frames) },
    ];
    let leak = vec![
        Phrase::Plain("LEAK: 1 of 214 call stacks keeps every block it allocates: ".into()),
        Phrase::Name("chat::History::push".into()),
        Phrase::Plain(" grows by 549 MiB/h and holds 412 MiB that are older than 30m.".into()),
    ];
    let mut report = Report {
        schema: SCHEMA,
        meta: meta(),
        verdict: Summary::default(),
        findings: vec![
            Finding::new("sample.leak", Severity::Problem, leak)
                .on(vec![RowRef { section: 0, row: 0 }])
                .because(
                    "growth_bytes_per_hour",
                    Unit::BytesPerHour,
                    Value::estimate(549.0 * MIB as f64, 522.0 * MIB as f64, None),
                )
                .because("old_bytes", Unit::Bytes, Value::Exact(412 * MIB)),
            Finding::plain(
                "sample.note",
                Severity::Info,
                "Growth seen covers 561 of 580 MiB of anonymous memory.",
            ),
        ],
        sections: vec![Section {
            name: "stacks".into(),
            title: "Call stacks by growth of what they never free".into(),
            columns: columns(),
            rows,
            notes: vec!["Blocks count as leaked if they outlive 30m and are not freed later either.".into()],
            detail: false,
            folded: None,
        }],
        stacks,
        frames: frames.into_vec(),
        coverage: coverage(),
    };
    report.identify_stacks();
    report.sum_up();
    report
}

/// Like [`pong`], with `rows` rows, of which every tenth is a problem.
pub(crate) fn many(rows: u64) -> Report {
    let mut report = pong();
    report.findings[0].rows = (0..rows as usize).step_by(10).map(|row| RowRef { section: 0, row }).collect();
    let section = &mut report.sections[0];
    section.rows = (0..rows)
        .map(|n| match n % 10 {
            0 => leak_row(&format!("game::world::Chunk<Layer{n}>::load"), (rows - n) * MIB, 12.5, Some(0)),
            1 => cache_row(&format!("cache_{n}"), None),
            _ => long_row(&format!("std::vector<game::Entity_{n}, std::allocator<game::Entity_{n}> >::push_back(game::Entity_{n} const&)"), n * 100_000, Some(1)),
        })
        .collect();
    report.sum_up();
    report
}

/// Like [`pong`], with lost hits.
pub(crate) fn incomplete() -> Report {
    let mut report = pong();
    report.coverage.complete = false;
    report.coverage.incomplete_because =
        vec!["1 204 allocations are missing because the block map was full: use --max-blocks 8M".into()];
    report.coverage.ledger[0] = Ledger::new(
        "alloc_entry",
        9_001_204,
        vec![
            outcome("recorded", OutcomeClass::Recorded, 9_000_000),
            outcome("nested", OutcomeClass::Filtered, 0),
            outcome("map_full", OutcomeClass::Lost, 1_204),
        ],
    );
    report.meta.ended = Ended::Interrupted;
    report.findings[0].severity = Severity::Limit;
    report.sum_up();
    report
}

/// Like [`pong`], with names, files and words that attack every output format.
pub(crate) fn hostile() -> Report {
    let evil = "\x1b]52;c;Zm9v\x07\x1b[2J;<script>alert(1)</script>&\"'\u{202e}\u{200b}\n42 7";
    let mut report = pong();
    report.meta.host = evil.into();
    report.meta.kernel = evil.into();
    report.meta.targets[0].name = evil.into();
    report.meta.targets[0].exe = Text::new(b"/opt/\xff\xfe\x9b31m");
    report.meta.targets[0].notes = vec![evil.into()];
    let sentence = vec![Phrase::Plain(evil.into()), Phrase::Name(evil.into())];
    report.findings[0] = Finding::new(evil, Severity::Problem, sentence);
    report.sections[0].title = evil.into();
    report.sections[0].notes = vec![evil.into()];
    report.sections[0].folded = Some(Folded { from_row: 999, text: evil.into() });
    report.sections[0].columns[3].title = evil.into();
    report.sections[0].rows[0].cells[1] = Value::Name(evil.into());
    report.sections[0].rows[1].cells[0] = Value::Word(evil.into());
    report.sections[0].rows[2].cells[4] = Value::Unknown(evil.into());
    report.stacks[0].incomplete = Some(evil.into());
    report.frames[0].module = Some(evil.into());
    report.frames[0].functions[0].name = evil.into();
    report.frames[0].functions[0].file = Some(evil.into());
    report.frames[1].functions[0].name = Text::new("m".repeat(5000));
    report.coverage.ledger[0].probe = evil.into();
    if let Some(walks) = &mut report.coverage.walks {
        walks.cut[0].reason = evil.into();
        walks.cut[0].ended_in[0].module = Some(evil.into());
        walks.unnamed[0].reason = evil.into();
        walks.unnamed[1].module = Some(evil.into());
        walks.advice[0] = evil.into();
    }
    report.coverage.before_attach = Some(evil.into());
    report.coverage.quality.insert(evil.into(), 3);
    report.findings[0].evidence.push(Evidence {
        name: evil.into(),
        unit: Unit::Count,
        value: Value::Word(evil.into()),
    });
    report.sum_up();
    report
}

fn columns() -> Vec<Column> {
    use Role::{Gauge, Key, Label, Sum};
    let column = |name: &str, title: &str, unit, role, shown| Column {
        name: name.into(),
        title: title.into(),
        unit,
        role,
        shown,
        form: None,
    };
    vec![
        column("verdict", "Verdict", Unit::None, Label, true),
        column("function", "Function", Unit::None, Key, true),
        column("old_bytes", "Live > 30m", Unit::Bytes, Gauge, true),
        column("live_bytes", "Live", Unit::Bytes, Gauge, true),
        column("live_blocks", "Live blocks", Unit::Count, Gauge, false),
        column("old_blocks", "Blocks > 30m", Unit::Count, Gauge, false),
        column("allocs", "Allocations", Unit::Count, Sum, false),
        column("alloc_bytes", "Allocated", Unit::Bytes, Sum, false),
        column("frees", "Frees", Unit::Count, Sum, false),
        column("survival", "Survive 30m", Unit::Ratio, Gauge, true),
        column("hazard_per_hour", "Freed late/h", Unit::PerHour, Gauge, true),
        column("growth_bytes_per_hour", "Growth", Unit::BytesPerHour, Gauge, true),
        column("why", "Why", Unit::None, Label, false),
    ]
}

fn leak_row(function: &str, old: u64, growth_mib: f64, stack: Option<usize>) -> Row {
    let growth = growth_mib * MIB as f64;
    Row {
        cells: vec![
            Value::Word("LEAK".into()),
            Value::Name(function.into()),
            Value::Exact(old),
            Value::Exact(old + 137 * MIB),
            Value::Exact(9_103),
            Value::Exact(6_201),
            Value::Exact(9_103),
            Value::Exact(old + 137 * MIB),
            Value::Exact(0),
            Value::estimate(1.0, 0.999, Some(1.0)),
            Value::estimate(0.0, 0.0, Some(0.019)),
            Value::estimate(growth, growth * 0.95, Some(growth * 1.05)),
            Value::Word("no block of 30m or older was freed in 151 block hours".into()),
        ],
        stacks: StackRef::user(stack),
        severity: Some(Severity::Problem),
    }
}

fn long_row(function: &str, old: u64, stack: Option<usize>) -> Row {
    let mut row = leak_row(function, old, 0.0, stack);
    row.cells[0] = Value::Word("LONG-LIVED".into());
    row.cells[9] = Value::estimate(0.3, 0.28, Some(0.32));
    row.cells[10] = Value::estimate(2.4, 1.9, Some(3.0));
    row.cells[11] = Value::estimate(0.0, -6.0 * MIB as f64, Some(6.0 * MIB as f64));
    row.severity = None;
    row
}

fn cache_row(function: &str, stack: Option<usize>) -> Row {
    let mut row = long_row(function, 0, stack);
    row.cells[0] = Value::Word("CACHE".into());
    row.cells[9] = Value::estimate(0.0, 0.0, Some(0.0004));
    row.cells[10] = Value::estimate(240.0, 200.0, None);
    row.cells[11] = Value::Unknown("fewer than 20 old blocks".into());
    row
}

fn stack(frames: &mut Frames, pid: u32, names: &[&str]) -> Stack {
    let allocator = ("malloc", "/usr/lib/x86_64-linux-gnu/libc.so.6");
    let own = names.iter().map(|name| (*name, "/opt/game/server"));
    let mut indices = Vec::new();
    for (depth, (name, module)) in
        std::iter::once(allocator).chain(own).chain([("main", "/opt/game/server")]).enumerate()
    {
        let address = 0x5581_0000_1000 + name.len() as u64 * 64;
        let in_source = module.starts_with("/opt");
        let function = Function {
            name: name.into(),
            file: in_source.then(|| Text::from("/home/dev/game/src/room.rs")),
            line: in_source.then_some(40 + depth as u32),
            inlined: false,
        };
        let inlined =
            Function { name: "alloc::vec::Vec<T,A>::push".into(), inlined: true, ..function.clone() };
        indices.push(frames.intern(Frame {
            address,
            module: Some(module.into()),
            build_id: Some("8f3c1d0a5b".into()),
            file_offset: Some(address - 0x5581_0000_0000),
            file_address: Some(address - 0x5581_0000_0001),
            function_address: None,
            unloaded: false,
            made: None,
            functions: if depth == 1 { vec![inlined, function] } else { vec![function] },
            unresolved: None,
        }));
    }
    Stack { pid, frames: indices, ..Stack::default() }
}

fn unresolved_stack(frames: &mut Frames) -> Stack {
    let mut stack = stack(frames, 4242, &["asset::TextureCache::insert"]);
    for (address, module, why) in [
        (0x7f01_0000_4a10, Some("/opt/game/libfoo.so"), "no symbols in the file"),
        (0x7f02_0000_0000, None, "no file is mapped there"),
    ] {
        stack.frames.push(frames.intern(Frame {
            address,
            module: module.map(Text::from),
            build_id: None,
            file_offset: module.map(|_| 0x4a10),
            file_address: module.map(|_| 0x5a0f),
            function_address: module.map(|_| 0x59e0),
            unloaded: module.is_some(),
            made: module.is_none().then(|| Made { by: Some("V8".to_owned()), offset: 0x4a10 }),
            functions: vec![],
            unresolved: Some(why.into()),
        }));
    }
    stack
}

fn meta() -> Meta {
    Meta {
        tool: "sample".into(),
        version: "0.1.0".into(),
        command: ["profiler", "sample", "--pid", "4242", "--older", "30m"].map(Text::from).to_vec(),
        host: "game-eu-3".into(),
        kernel: "6.12.48+deb13-amd64".into(),
        started_unix_ns: 1_795_334_534_000_000_000,
        started: String::new(),
        length_ns: 2_700_000_000_000,
        length_ms: 0,
        ended: Ended::Elapsed,
        targets: vec![Target {
            pid: 4242,
            name: "pong".into(),
            exe: "/opt/game/server".into(),
            build_id: Some("8f3c1d0a5b".into()),
            ended: Some("killed by signal 9".into()),
            killed_by: Some(9),
            probes: vec![Probed {
                function: "malloc".into(),
                module: "/usr/lib/x86_64-linux-gnu/libc.so.6".into(),
                offset_bytes: 0,
                emulated: true,
                reason: "push is emulated".into(),
            }],
            notes: vec!["the binary was replaced on disk since it started".into()],
        }],
        settings: BTreeMap::from([
            ("older".into(), "30m".into()),
            ("sampling".into(), "every allocation".into()),
        ]),
        cost: Cost {
            hits: 18_000_000,
            hits_per_s: Some(6_667.0),
            busiest_thread_share: Some(0.007),
            worst_second_share: Some(0.021),
            taken_share: Some(0.005),
            busiest_thread: Some("tick".into()),
            predicted_share: Some(0.006),
            bpf_ns_per_hit: Some(212.0),
            trap_ns_per_hit: Some(437.0),
            cold_share: Some(0.4),
            call_ns: None,
            calibrated: true,
            own_cpu_share: Some(0.012),
            own_memory_bytes: 48 * MIB,
            map_memory_bytes: 12 * MIB,
            attach_ns: 120_000_000,
            count_ns: Some(702_000_000),
            detach_ns: Some(61_000_000),
        },
    }
}

fn outcome(name: &str, class: OutcomeClass, count: u64) -> Outcome {
    Outcome { name: name.into(), class, count }
}

fn walks() -> Walks {
    let ended_in =
        |module: Option<&str>, stacks, walks| EndedIn { module: module.map(Text::from), stacks, walks };
    Walks {
        stacks: 214,
        walks: 8_998_976,
        complete: vec![
            Complete { method: WalkMethod::UnwindTables, stacks: 198, walks: 8_818_996 },
            Complete { method: WalkMethod::FramePointers, stacks: 9, walks: 107_987 },
        ],
        cut: vec![
            Cut {
                reason: "code without unwind information".into(),
                stacks: 5,
                walks: 44_995,
                ended_in: vec![ended_in(Some("/opt/game/libfoo.so"), 4, 44_994), ended_in(None, 1, 1)],
            },
            Cut { reason: "deeper than 127 frames".into(), stacks: 2, walks: 26_998, ended_in: vec![] },
        ],
        frames: 161_981_568,
        named_frames: 157_122_120,
        unnamed: vec![
            Unnamed {
                module: None,
                reason: "made at run time, and there is no /tmp/perf-4242.map".into(),
                frames: 4_859_447,
            },
            Unnamed {
                module: Some("/opt/game/libfoo.so".into()),
                reason: "no symbol covers it (stripped?)".into(),
                frames: 1,
            },
        ],
        advice: vec!["JavaScript functions have no names: start node with --perf-basic-prof".into()],
    }
}

fn coverage() -> Coverage {
    use OutcomeClass::{Filtered, Lost, Recorded};
    let ledger = |probe: &str, hits, filtered| {
        let recorded = outcome("recorded", Recorded, hits - filtered);
        Ledger::new(
            probe,
            hits,
            vec![recorded, outcome("nested", Filtered, filtered), outcome("map_full", Lost, 0)],
        )
    };
    Coverage {
        complete: true,
        incomplete_because: vec![],
        ledger: vec![
            ledger("alloc_entry", 9_000_000, 1_024),
            ledger("alloc_return", 9_000_000, 0),
            ledger("free", 4_103, 7),
        ],
        quality: BTreeMap::from([("stacks_by_frame_pointer".into(), 214)]),
        walks: Some(walks()),
        files: vec![FileNames {
            module: "/opt/game/libfoo.so".into(),
            build_id: None,
            sources: vec!["exported symbols (.dynsym)".into()],
            problems: vec![],
            absent: vec!["a debug file (libfoo.so.debug)".into()],
        }],
        before_attach: Some("3.1 GiB were allocated before attaching; they are out of sight".into()),
    }
}

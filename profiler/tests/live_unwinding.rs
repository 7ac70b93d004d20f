//! Stacks of programs that are hard to unwind: no frame pointer anywhere, and frames, stacks and files of every odd kind.
//!
//! Each program of `workloads/unwinding` says along which chains of functions it has allocated, and what another unwinder
//! finds above them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use profiler_common::unwind::walk::End;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use support::account;
use support::chains::{
    Frames, assert_chains, assert_same_stacks, of_books, raw, raw_up_to, stacks, witnessed,
};
use support::compile::Build;
use support::observer::Observer;
use support::workload::Workload;

/// Lines that `plugins.c` waits for in the end.
const LINES: u64 = 20;

const NO_FRAME_POINTER: &str = "-fomit-frame-pointer";

fn program(source: &str) -> Build {
    Build::c(&format!("unwinding/{source}")).flags(&[NO_FRAME_POINTER])
}

/// What a program allocates under observation: the report, and the program's books.
fn observe(program: &Path) -> (Value, Value) {
    observe_target(Workload::spawn::<&str>(program, &[]))
}

fn observe_target(mut target: Workload) -> (Value, Value) {
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("go");
    let books = target.books();
    let report = observer.interrupt().report(0);
    target.quit();
    (report, books)
}

fn assert_right(program: PathBuf) {
    let (report, books) = observe(&program);
    assert_chains(&report, &books);
}

#[test]
fn large_frames_and_frames_of_unknown_size() {
    let Some(_live) = support::live() else { return };
    assert_right(program("large_frames.c").build());
}

/// As Ubuntu builds everything: large frames are touched page by page while they are made.
#[test]
fn large_frames_with_clash_protection() {
    let Some(_live) = support::live() else { return };
    assert_right(program("large_frames.c").flags(&["-fstack-clash-protection"]).build());
}

#[test]
fn realigned_stacks() {
    let Some(_live) = support::live() else { return };
    assert_right(program("realigned.c").flags(&["-mavx"]).build());
}

/// As for callers that do not keep the stack aligned: every function realigns.
#[test]
fn everything_realigned() {
    let Some(_live) = support::live() else { return };
    assert_right(program("realigned.c").flags(&["-mavx", "-mstackrealign"]).build());
}

#[test]
fn handlers_on_an_alternate_stack() {
    let Some(_live) = support::live() else { return };
    assert_right(program("alternate_stack.c").build());
}

#[test]
fn coroutines() {
    let Some(_live) = support::live() else { return };
    assert_right(program("coroutines.c").build());
}

#[test]
fn vfork() {
    let Some(_live) = support::live() else { return };
    let (report, books) = observe(&program("vfork.c").build());
    assert_chains(&report, &books);
    // Not every way of attaching shows a child's calls at all.
    let seen = account::outcome(&report, "alloc_entry", "other_process");
    assert!([0, books["in_children"].as_u64().unwrap()].contains(&seen), "{seen}");
}

#[test]
fn a_storm_of_threads() {
    let Some(_live) = support::live() else { return };
    assert_right(program("thread_storm.c").build());
}

/// Signals 2000 times a second, whose handler does nothing, wherever the thread is: in malloc, in a probe.
#[test]
fn a_storm_of_signals() {
    let Some(_live) = support::live() else { return };
    let (report, books) = observe(&program("signal_storm.c").build());
    assert_chains(&report, &books);
    assert!(books["signals"].as_u64().unwrap() > 50, "no storm: {}", books["signals"]);
}

/// The handler allocates, on a stack of its own: every stack leads through the frame that was interrupted, at whatever
/// instruction, to the end. Another unwinder says where.
#[test]
fn a_storm_of_signals_whose_handler_allocates() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let storm = program("signal_storm.c").flags(&["-fstack-clash-protection"]).build();
    let mut target = Workload::spawn(&storm, &[&seen]);
    let observer = Observer::attach("memleak", target.pid(), &["--alloc-fn", "pool_get:size=arg0,ptr=ret"]);
    target.say("go");
    let books = target.books();
    let report = observer.interrupt().report(0);
    target.quit();
    account::assert_nothing_lost(&report);
    let witnessed = witnessed(&std::fs::read_to_string(&seen).unwrap());
    assert_eq!(witnessed.values().sum::<u64>(), books["signals"].as_u64().unwrap());
    assert!(witnessed.len() > 100, "interrupted at the same places: {}", witnessed.len());
    assert_same_stacks(&raw(&report, "take"), &witnessed);
}

/// Calls through linkage tables, bound at the first call: interrupted in the tables, and allocating inside the dynamic
/// linker.
#[test]
fn linkage_tables() {
    let Some(_live) = support::live() else { return };
    // With and without a second table, which indirect branch tracking needs.
    for protection in ["-fcf-protection=full", "-fcf-protection=none"] {
        let library =
            program("linkage_library.c").flags(&["-shared", "-fPIC", "-Wl,-z,lazy", protection]).build();
        let library = library.to_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        let program = program("linkage.c").flags(&["-Wl,-z,lazy", protection]).link(&[library]).build();
        let mut target = Workload::spawn(&program, &[&seen]);
        let observer =
            Observer::attach("memleak", target.pid(), &["--alloc-fn", "pool_get:size=arg0,ptr=ret"]);
        target.say("go");
        let books = target.books();
        let report = observer.interrupt().report(0);
        target.quit();
        account::assert_nothing_lost(&report);
        let witnessed = witnessed(&std::fs::read_to_string(&seen).unwrap());
        assert_eq!(witnessed.values().sum::<u64>(), books["taken"].as_u64().unwrap());
        // The CFA of the dynamic linker is based on rbx, which is not restored on the way.
        let linker = ("_dl_runtime_resolve", End::WORDS[End::REGISTER as usize]);
        assert_same_stacks(&raw_up_to(&report, "take", linker, &witnessed), &witnessed);
        let places = interrupted_in_tables(&report, &[&program, Path::new(library)]);
        assert!(places > 2, "{protection}: {places} places");
    }
}

/// Different places in linkage tables of these files that are on a stack.
fn interrupted_in_tables(report: &Value, files: &[&Path]) -> usize {
    let tables: Vec<(&Path, Range<u64>)> = files.iter().flat_map(|file| linkage_tables_of(file)).collect();
    let in_table = |frame: &&Value| {
        let place = frame["module"].as_str().zip(frame["file_offset"].as_u64());
        place.is_some_and(|(module, offset)| {
            tables.iter().any(|(file, range)| *file == Path::new(module) && range.contains(&offset))
        })
    };
    account::list(report, "frames").iter().filter(in_table).count()
}

fn linkage_tables_of(file: &Path) -> Vec<(&Path, Range<u64>)> {
    let bytes = std::fs::read(file).unwrap();
    let elf = ElfFile64::<object::LittleEndian>::parse(&*bytes).unwrap();
    let tables = elf.sections().filter(|section| section.name().is_ok_and(|name| name.starts_with(".plt")));
    tables.filter_map(|table| table.file_range()).map(|(at, size)| (file, at..at + size)).collect()
}

/// Plugins that come and go, never at the same addresses.
#[test]
fn plugins_at_changing_addresses() {
    let Some(_live) = support::live() else { return };
    assert_plugins_are_kept_apart("apart");
}

/// Plugins that follow each other at the same addresses: which of them a stack leads through is not known.
#[test]
fn plugins_at_the_same_addresses() {
    let Some(_live) = support::live() else { return };
    assert_plugins_are_kept_apart("same");
}

/// A frame has the name of the plugin that was there, or none with a reason; never that of another plugin.
#[track_caller]
fn assert_plugins_are_kept_apart(addresses: &str) {
    let plugin = |name: &str, bytes: &str, frame: &str| {
        let defines = [format!("-DKEEP={name}"), format!("-DBYTES={bytes}"), format!("-DFRAME={frame}")];
        let defines: Vec<&str> = defines.iter().map(String::as_str).collect();
        program("plugin.c").flags(&["-shared", "-fPIC"]).flags(&defines).named(&format!("{name}.so")).build()
    };
    let mut arguments = vec![PathBuf::from(addresses)];
    arguments.extend([
        plugin("keep_a", "100", "40"),
        plugin("keep_b", "200", "1000"),
        plugin("keep_c", "300", "99"),
    ]);
    let mut target = Workload::spawn(&program("plugins.c").link(&["-ldl"]).build(), &arguments);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("go");
    // The last plugin stays: profiler reads the mappings again at the latest a second later.
    let same = addresses == "same";
    for _ in 0..if same { 4 * LINES } else { LINES } {
        sleep(Duration::from_millis(70));
        target.say("more");
    }
    let books = target.books();
    let report = observer.interrupt().report(0);
    target.quit();
    account::assert_nothing_lost(&report);
    let (each, stacks) = (books["each"].as_u64().unwrap(), stacks(&report));
    for (name, bytes) in [("keep_a", 100), ("keep_b", 200), ("keep_c", 300)] {
        let named: Vec<_> =
            stacks.iter().filter(|stack| stack.names.iter().any(|found| found == name)).collect();
        for stack in &named {
            assert_eq!(stack.alloc_bytes, stack.allocs * bytes, "not all by {name}: {stack:#x?}");
            assert_eq!(stack.names[0], name, "{stack:#x?}");
            let callers = [stack.names.get(1), stack.names.get(2)].map(|name| name.map(String::as_str));
            assert!(matches!(callers[0], None | Some("tick" | "?")), "{stack:#x?}");
            assert!(matches!(callers[1], None | Some("use" | "stay")), "{stack:#x?}");
        }
        let extra = each / 101 * LINES * (u64::from(name == "keep_c") + u64::from(same));
        let allocs: u64 = named.iter().map(|stack| stack.allocs).sum();
        assert!(allocs <= each + extra, "{allocs} by {name}");
    }
    let is_whole = |stack: &&Frames| {
        stack.incomplete.is_none()
            && stack.names.starts_with(&["keep_c", "tick", "stay", "main"].map(str::to_owned))
    };
    if same {
        let shared =
            |frame: &Value| frame["unresolved"] == "several libraries were mapped there, one after the other";
        assert!(account::list(&report, "frames").iter().any(shared), "no turn was noticed: {stacks:#x?}");
    } else {
        assert!(
            stacks.iter().any(|stack| is_whole(&stack)),
            "the plugin that stays has no name: {stacks:#x?}"
        );
    }
}

/// Without a symbol, a frame is a file and an offset, and no stack is shorter for that.
#[test]
fn a_stripped_program() {
    let Some(_live) = support::live() else { return };
    let with_symbols = program("large_frames.c").build();
    let folder = tempfile::tempdir().unwrap();
    let stripped = folder.path().join("stripped");
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(&with_symbols).status();
    assert!(strip.expect("to run strip; install binutils").success());
    let (mut report, books) = observe(&stripped);
    let functions = functions_of(&with_symbols);
    for frame in report["frames"].as_array_mut().unwrap() {
        if frame["module"].as_str().map(Path::new) != Some(&stripped) {
            continue;
        }
        assert_eq!(frame["functions"], Value::Array(Vec::new()), "a name out of nowhere: {frame}");
        assert!(frame["unresolved"].is_string(), "{frame}");
        // The offset leads to the function, for who has the symbols.
        let offset = frame["file_offset"].as_u64().unwrap();
        let function = functions.iter().find(|(range, _)| range.contains(&(offset - 1)));
        frame["functions"] = serde_json::json!([{ "name": function.map_or("?", |(_, name)| name) }]);
    }
    assert_chains(&report, &books);
}

/// The functions of a program, by offset in the file.
fn functions_of(file: &Path) -> Vec<(Range<u64>, String)> {
    let bytes = std::fs::read(file).unwrap();
    let elf = ElfFile64::<object::LittleEndian>::parse(&*bytes).unwrap();
    let text = elf.section_by_name(".text").unwrap();
    let to_offset = text.file_range().unwrap().0.wrapping_sub(text.address());
    let functions = elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let placed = functions.map(|symbol| {
        let start = symbol.address().wrapping_add(to_offset);
        (start..start + symbol.size(), symbol.name().unwrap().to_owned())
    });
    placed.collect()
}

/// What is done to the bytes of a section.
type Damage<'a> = &'a dyn Fn(&mut [u8]);

/// Wrong unwind information: it does not make any count wrong, and stacks that end early have a reason.
#[test]
fn damaged_unwind_information() {
    let Some(_live) = support::live() else { return };
    let whole = std::fs::read(program("large_frames.c").build()).unwrap();
    let section = {
        let elf = ElfFile64::<object::LittleEndian>::parse(&*whole).unwrap();
        let (at, bytes) = elf.section_by_name(".eh_frame").unwrap().file_range().unwrap();
        usize::try_from(at).unwrap()..usize::try_from(at + bytes).unwrap()
    };
    let noise = |bytes: &mut [u8]| StdRng::seed_from_u64(11).fill(bytes);
    let absurd_length = |bytes: &mut [u8]| {
        let second = 4 + u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        bytes[second..][..4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    };
    let flipped = |bytes: &mut [u8]| bytes.iter_mut().step_by(5).skip(20).for_each(|byte| *byte ^= 0x40);
    let damages: [(&str, Damage<'_>); 5] = [
        ("zeros", &|bytes| bytes.fill(0)),
        ("ones", &|bytes| bytes.fill(0xff)),
        ("noise", &noise),
        ("absurd-length", &absurd_length),
        ("flipped-bits", &flipped),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, damage) in damages {
        let mut bytes = whole.clone();
        damage(&mut bytes[section.clone()]);
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(&path);
        command.env("NO_TAIL", "1"); // the other unwinder aborts the program
        let (report, books) = observe_target(Workload::spawn_command(command));
        account::assert_nothing_lost(&report);
        let expected: u64 = of_books(&books).values().sum();
        let found: Vec<_> = stacks(&report).into_iter().filter(|stack| stack.names[0] == "keep").collect();
        assert_eq!(found.iter().map(|stack| stack.allocs).sum::<u64>(), expected, "{name}");
        let is_right =
            |stack: &Frames| of_books(&books).keys().any(|chain| stack.names.starts_with(&chain.functions));
        for stack in found {
            // A walk that was led astray by valid rules for other code may look whole.
            let may_be_wrong =
                name == "flipped-bits" || stack.incomplete.as_ref().is_some_and(|why| !why.is_empty());
            assert!(may_be_wrong || is_right(&stack), "{name}: {stack:#x?}");
        }
    }
}

//! Do the tables say what the unwind information says? Every row of real files is compared with gimli's own decoding of
//! the same entry, at its first and last byte and at every border of blocks between them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "what was found on this machine, and the figures")]

mod unwind_oracle;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object as _, ObjectSection as _};
use profiler::unwind::file::ProgramFile;
use profiler::unwind::table::{Options, PADDING_BYTES, Table, build, build_all};
use profiler_common::unwind::{BLOCK_BYTES, CHUNK_ROWS, Kind, RARE_CAPACITY, Row};
use proptest::prelude::*;

use testbed::place;
use unwind_oracle::{Oracle, Outcome, Registers};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// A table may have this share of the size of the text, in percent.
const MOST_PERCENT: f64 = 15.0;

/// The files to look at, by name. The first two have to be there.
fn files() -> Vec<PathBuf> {
    let mandatory = ["libc.so.6", "libstdc++.so.6"].map(|name| Path::new(LIBRARIES).join(name));
    for file in &mandatory {
        assert!(file.is_file(), "{} is needed: apt install g++", file.display());
    }
    let mut files = mandatory.to_vec();
    let optional = [
        format!("{LIBRARIES}/libcrypto.so.3"),
        "/usr/bin/node".to_owned(),
        "/lib64/ld-linux-x86-64.so.2".to_owned(),
    ];
    for file in optional.map(PathBuf::from) {
        match file.is_file() {
            true => files.push(file),
            false => eprintln!("{}: not installed, not looked at", file.display()),
        }
    }
    files.push(twin());
    files.push(odd_frames());
    files
}

/// Compiles a C++ program without frame pointers.
fn compile(source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let binary = place::kept_files().join(name);
    let mut compiler = Command::new("g++");
    compiler.args(["-std=c++17", "-O2", "-fomit-frame-pointer", "-pthread"]).args(flags);
    let compiled = compiler.arg("-o").arg(&binary).arg(source).status();
    assert!(compiled.expect("g++ is needed: apt install g++").success(), "{name} does not compile");
    binary
}

/// The example server, with the C and C++ libraries in it.
fn twin() -> PathBuf {
    let source = place::checkout().join("examples/native/twin.cpp");
    compile(&source, "twin-static", &["-static"])
}

/// Frames of all the odd kinds.
fn odd_frames() -> PathBuf {
    let source = place::package().join("tests/workloads/odd_frames.cpp");
    compile(&source, "odd-frames", &["-mavx2"])
}

/// What a comparison came across.
#[derive(Debug, Default)]
struct Seen {
    addresses: u64,
    stretches: u64,
    unsupported: u64,
    kinds: BTreeMap<u32, u64>,
}

/// Compares a whole table with the entries it was made of.
fn compare(file: &[u8], table: &Table) -> Seen {
    let oracle = Oracle::of(file).unwrap();
    assert!(oracle.is_whole, "the oracle does not see everything");
    let rules = table.rules().rules();
    let jumps = jumps(file);
    let mut seen = Seen::default();
    let mut reached: Option<(u64, Row)> = None;
    for (index, (start, end)) in oracle.ranges().collect::<Vec<_>>().into_iter().enumerate() {
        compare_gap(table, &jumps, reached, start);
        oracle.each_stretch(index, |stretch| {
            seen.stretches += 1;
            for address in interesting(stretch.start, stretch.end) {
                seen.addresses += 1;
                let registers = Registers::at(address);
                let row = table.row(address);
                let (ours, theirs) =
                    (unwind_oracle::follow(row, rules, &registers), oracle.follow(&stretch, &registers));
                if ours == Outcome::NotFollowed {
                    seen.unsupported += u64::from(address == stretch.start);
                    let common = stretch.row.is_some_and(Oracle::is_common) && !stretch.signal;
                    assert!(!common, "{address:#x}: given up, but ordinary: {:?}", stretch.row);
                } else {
                    assert_eq!(ours, theirs, "{address:#x}: {row:?} for {:?}", stretch.row);
                }
            }
            *seen.kinds.entry(table.row(stretch.start).kind()).or_default() += 1;
        });
        reached = Some((end, table.row(end - 1)));
    }
    compare_gap(table, &jumps, reached, u64::MAX);
    seen
}

/// The first and the last address of a stretch, and the two sides of each block border in it.
fn interesting(start: u64, end: u64) -> Vec<u64> {
    let mut addresses = vec![start, end - 1];
    let borders =
        (start / BLOCK_BYTES + 1..).map(|block| block * BLOCK_BYTES).take_while(|&border| border < end);
    addresses.extend(borders.flat_map(|border| [border - 1, border]));
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Where a static program jumps to functions that it chose when it started: linkers write no entries for it, and the return
/// address is on top of the stack.
fn jumps(file: &[u8]) -> Range<u64> {
    let elf = object::File::parse(file).unwrap();
    let Some(section) = elf.section_by_name(".plt") else { return 0..0 };
    let jumps_only = section.data().unwrap().chunks(8).all(|jump| jump.starts_with(&[0xff, 0x25]));
    if jumps_only { section.address()..section.address() + section.size() } else { 0..0 }
}

/// Code between entries: padding keeps the rule before it, jumps have their own, anything else has none.
fn compare_gap(table: &Table, jumps: &Range<u64>, before: Option<(u64, Row)>, next: u64) {
    let none = |address: u64| {
        let row = if jumps.contains(&address) { Row::of(Kind::RSP, 1, 0) } else { Row::NONE };
        row.rule()
    };
    let Some((end, last)) = before else {
        for address in [next - 1, next.saturating_sub(BLOCK_BYTES), 0] {
            assert_eq!(table.row(address).rule(), none(address), "{address:#x}, in front of everything");
        }
        return;
    };
    // Behind the end, a few blocks are enough.
    for address in interesting(end, next.min(end + 4 * BLOCK_BYTES)).into_iter().filter(|_| next > end) {
        let is_padding = next - end <= PADDING_BYTES;
        let want = if is_padding { last.rule() } else { none(address) };
        assert_eq!(table.row(address).rule(), want, "{address:#x}, between {end:#x} and {next:#x}");
    }
}

/// What holds for every table.
fn check_form(table: &Table) {
    assert_eq!(table.rows().len() % CHUNK_ROWS, 0);
    assert!(table.rules().rules().len() <= RARE_CAPACITY);
    for segments in table.segments().windows(2) {
        assert!(segments[0].first_block + segments[0].blocks.len() as u64 <= segments[1].first_block);
    }
    for block in table.segments().iter().flat_map(|segment| &segment.blocks) {
        let (start, count) = (block.first_in_chunk() as usize, block.row_count() as usize);
        assert!(count <= 256 && start + count <= CHUNK_ROWS, "{block:?}");
        let rows = &table.rows()[block.start_row() as usize..][..count];
        assert!(rows.iter().skip(1).is_sorted_by(|a, b| a.lo() < b.lo()), "{block:?}: {rows:?}");
        let rare = rows.iter().filter(|row| row.kind() == Kind::RARE);
        assert!(rare.clone().all(|row| (row.rare_index() as usize) < table.rules().rules().len()));
    }
}

#[test]
fn every_row_of_real_files_is_that_of_gimli() {
    for path in files() {
        let file = ProgramFile::open(&path).unwrap();
        let table = build(&file, &Options::default()).unwrap();
        check_form(&table);
        let seen = compare(file.bytes(), &table);
        let stats = table.stats();
        let percent = 100.0 * table.size_bytes() as f64 / stats.text_bytes as f64;
        eprintln!(
            "{}: {} addresses of {} stretches equal, {} of them given up; kinds {:?}; table {percent:.1} % of {} KiB",
            path.display(),
            seen.addresses,
            seen.stretches,
            seen.unsupported,
            seen.kinds,
            stats.text_bytes / 1024,
        );
        assert!(seen.stretches > 20, "the oracle found too little to compare");
        // At most one in a thousand, and no table is too small for that.
        assert!(seen.unsupported * 1000 <= seen.stretches.max(10_000), "{seen:?}");
        assert_eq!(stats.damaged, 0);
        if stats.text_bytes > 256 * 1024 {
            assert!(percent <= MOST_PERCENT, "{percent} % of the text");
        }
    }
}

#[test]
fn odd_frames_have_rules() {
    let path = odd_frames();
    let file = ProgramFile::open(&path).unwrap();
    let table = build(&file, &Options::default()).unwrap();
    let seen = compare(file.bytes(), &table);
    for kind in [Kind::RSP, Kind::RBP, Kind::PLT, Kind::END, Kind::REALIGNED, Kind::RARE] {
        assert!(seen.kinds.contains_key(&kind), "no row of kind {kind}: {:?}", seen.kinds);
    }
    assert_eq!(seen.unsupported, 0);
    let large = table.rules().rules().iter().filter(|rule| rule.cfa_offset_bytes > 65_528);
    assert!(large.count() > 0, "{:?}", table.rules().rules());
}

#[test]
fn the_vdso_has_a_table() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
    let mut bytes = vec![0; (end - start) as usize];
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, start).unwrap();
    let file = ProgramFile::of_bytes(bytes);
    let table = build(&file, &Options::default()).unwrap();
    check_form(&table);
    assert!(compare(file.bytes(), &table).stretches > 3);
}

#[test]
fn tables_do_not_depend_on_threads_or_other_files() {
    let files: Vec<ProgramFile> = files().iter().map(|path| ProgramFile::open(path).unwrap()).collect();
    let files: Vec<&ProgramFile> = files.iter().filter(|file| file.bytes().len() < 8 << 20).collect();
    let together = build_all(&files, &Options { threads: 3, ..Options::default() });
    for (file, together) in files.iter().zip(together) {
        let (alone, together) =
            (build(file, &Options { threads: 1, ..Options::default() }).unwrap(), together.unwrap());
        assert!(alone.segments() == together.segments(), "the blocks differ");
        assert!(alone.rows() == together.rows(), "the rows differ");
        assert_eq!(alone.rules().rules(), together.rules().rules());
    }
}

#[test]
fn any_address_of_the_c_library() {
    let path = Path::new(LIBRARIES).join("libc.so.6");
    let file = ProgramFile::open(&path).unwrap();
    let table = build(&file, &Options::default()).unwrap();
    let oracle = Oracle::of(file.bytes()).unwrap();
    let ranges: Vec<(u64, u64)> = oracle.ranges().collect();
    let (first, last) = (ranges[0].0, ranges[ranges.len() - 1].1);
    let check = |address: u64| {
        let index = ranges.partition_point(|range| range.0 <= address).checked_sub(1);
        let Some(index) = index.filter(|&index| address < ranges[index].1) else { return };
        let registers = Registers::at(address);
        let mut theirs = None;
        oracle.each_stretch(index, |stretch| {
            if (stretch.start..stretch.end).contains(&address) {
                theirs = Some(oracle.follow(&stretch, &registers));
            }
        });
        let ours = unwind_oracle::follow(table.row(address), table.rules().rules(), &registers);
        assert!(ours == Outcome::NotFollowed || Some(ours) == theirs, "{address:#x}: {ours:?} {theirs:?}");
    };
    // The first and the last function whole.
    (first..ranges[0].1).for_each(check);
    (ranges[ranges.len() - 1].0..last).for_each(check);
    let config = ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(address in first - 4096..last + 4096, edge in 0..4_u64)| {
        check(address);
        // Around the border of its block.
        check(address / BLOCK_BYTES * BLOCK_BYTES + edge - 2);
    });
}

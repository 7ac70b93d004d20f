//! Does any file crash the table builder, or make its tables wrong? Kept files are changed at random; inputs whose outcome was not
//! seen before are changed further. Every table is checked for its form and its bounds, and against gimli wherever both
//! read the same entries.
//!
//! `PROFILER_FUZZ_SECONDS` says for how long (5 without it), `PROFILER_FUZZ_SEED` where to begin. A file that fails is
//! written to cargo's directory for test files, and its name is printed.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "the seed, and what was done")]

mod unwind_oracle;

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use profiler::unwind::file::ProgramFile;
use profiler::unwind::table::{Error, Options, SPARE_ROWS, Table, build};
use profiler_common::unwind::{CHUNK_ROWS, Kind, RARE_CAPACITY};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use testbed::place;
use unwind_oracle::{Oracle, Outcome, Registers};

/// Most inputs kept to be changed further.
const POOL: usize = 1024;
/// Most processor time for one input: far more than any of this size needs.
const MOST_TIME: Duration = Duration::from_secs(2);

/// The kept files.
fn corpus() -> Vec<Vec<u8>> {
    let directory = place::package().join("tests/fixtures/unwind");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "so"));
    // The order of a directory is not the same everywhere.
    paths.sort();
    assert!(paths.len() >= 5, "{paths:?}");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn from_environment(name: &str, default: u64) -> u64 {
    let text = std::env::var_os(name);
    text.map_or(default, |text| text.to_str().and_then(|text| text.parse().ok()).expect("a whole number"))
}

#[test]
fn changed_files_do_no_harm() {
    let seconds = from_environment("PROFILER_FUZZ_SECONDS", 5);
    let seed = from_environment("PROFILER_FUZZ_SEED", 1);
    eprintln!("fuzzing for {seconds} s: PROFILER_FUZZ_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut pool = corpus();
    let kept = pool.len();
    let mut seen = HashSet::new();
    let (mut inputs, mut tables, mut compared) = (0_u64, 0_u64, 0_u64);
    for file in &pool {
        let outcome = try_out(file, "a kept file");
        seen.insert(outcome.signature);
        assert!(outcome.is_table);
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        inputs += 1;
        let input = changed(&pool, kept, &mut random);
        let outcome = try_out(&input, &format!("input {inputs} of seed {seed}"));
        tables += u64::from(outcome.is_table);
        compared += u64::from(outcome.is_compared);
        if seen.insert(outcome.signature) && pool.len() < POOL {
            pool.push(input);
        }
    }
    eprintln!(
        "{inputs} inputs, {tables} tables, {compared} compared with gimli, {} kinds of outcome",
        seen.len()
    );
    assert!(tables > inputs / 10, "too many of the inputs are refused at once");
    assert!(compared > 0);
}

/// One input, made of one that was interesting. The first `kept` of them are the kept files.
fn changed(pool: &[Vec<u8>], kept: usize, random: &mut SmallRng) -> Vec<u8> {
    // Every other time a kept file: what was found since is damaged more and more.
    let among = if random.random() { kept } else { pool.len() };
    let mut file = pool[random.random_range(0..among)].clone();
    let unwind = unwind_parts(&file);
    for _ in 0..1 << random.random_range(0..5) {
        if file.is_empty() {
            break;
        }
        // Mostly the unwind information itself; else anything, headers among it.
        let (start, end) = match random.random_range(0..8) {
            0 => (0, file.len().min(1024)),
            1 => (0, file.len()),
            _ if unwind.is_empty() => (0, file.len()),
            _ => unwind[random.random_range(0..unwind.len())],
        };
        if start < end.min(file.len()) {
            let end = end.min(file.len());
            change(&mut file, start, end, pool, random);
        }
    }
    if random.random_ratio(1, 50) {
        file.truncate(random.random_range(0..=file.len()));
    }
    file
}

/// Where the unwind information is: by the names of sections, else everything.
fn unwind_parts(file: &[u8]) -> Vec<(usize, usize)> {
    use object::{Object as _, ObjectSection as _};
    let Ok(elf) = object::read::elf::ElfFile64::<object::LittleEndian>::parse(file) else {
        return Vec::new();
    };
    let parts = [".eh_frame", ".debug_frame", ".eh_frame_hdr"].iter().filter_map(|name| {
        let (offset, size) = elf.section_by_name(name)?.file_range()?;
        let start = usize::try_from(offset).ok()?;
        Some((start, start.checked_add(usize::try_from(size).ok()?)?))
    });
    parts.filter(|(start, end)| start < end).collect()
}

/// One change between two places of a file.
fn change(file: &mut [u8], start: usize, end: usize, pool: &[Vec<u8>], random: &mut SmallRng) {
    const ODD: [u64; 12] =
        [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, u64::MAX >> 1, u64::MAX];
    let at = random.random_range(start..end);
    let room = end - at;
    match random.random_range(0..7) {
        0 => file[at] ^= 1 << random.random_range(0..8),
        1 => file[at] = random.random(),
        // An instruction of call frames, or an operation of expressions.
        2 => file[at] = random.random_range(0..0x30),
        3 => {
            let width = [1, 2, 4, 8][random.random_range(0..4)].min(room);
            file[at..at + width]
                .copy_from_slice(&ODD[random.random_range(0..ODD.len())].to_le_bytes()[..width]);
        }
        4 => {
            let width = 4.min(room);
            let mut word = [0; 4];
            word[..width].copy_from_slice(&file[at..at + width]);
            let sum = u32::from_le_bytes(word).wrapping_add_signed(random.random_range(-64..=64));
            file[at..at + width].copy_from_slice(&sum.to_le_bytes()[..width]);
        }
        5 => {
            let size = random.random_range(1..=room.min(64));
            let from = random.random_range(start..=end - size);
            file.copy_within(from..from + size, at);
        }
        _ => {
            let other = &pool[random.random_range(0..pool.len())];
            let size = random.random_range(1..=room.min(64)).min(other.len());
            let from = random.random_range(0..=other.len() - size);
            file[at..at + size].copy_from_slice(&other[from..from + size]);
        }
    }
}

/// How an input ended.
struct Tried {
    signature: u64,
    is_table: bool,
    is_compared: bool,
}

/// Tries one input; keeps it if it fails.
fn try_out(input: &[u8], name: &str) -> Tried {
    catch_unwind(AssertUnwindSafe(|| check(input))).unwrap_or_else(|panic| {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let path = place::kept_files().join(format!("unwind-fuzz-{:016x}.so", hasher.finish()));
        fs::write(&path, input).unwrap();
        eprintln!("{name} failed and is kept as {}", path.display());
        resume_unwind(panic)
    })
}

/// What this process and its threads have used so far. Other time says nothing on a machine that others use too.
fn processor_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).try_into().unwrap()
}

fn check(input: &[u8]) -> Tried {
    let options = Options { threads: 1, debug_roots: Vec::new() };
    let start = processor_time();
    let made = build(&ProgramFile::of_bytes(input.to_vec()), &options);
    let took = processor_time() - start;
    assert!(took < MOST_TIME, "{took:?} for {} bytes", input.len());
    let mut hasher = DefaultHasher::new();
    let is_compared = match &made {
        Ok(table) => {
            check_table(table, input.len());
            let stats = table.stats();
            // Numbers of the same magnitude are the same outcome.
            for number in
                [stats.functions, stats.damaged, stats.changes, stats.rare_changes, stats.unsupported_changes]
            {
                number.checked_ilog2().hash(&mut hasher);
            }
            (table.segments().len(), table.rules().rules().len()).hash(&mut hasher);
            compare(table, input)
        }
        Err(error) => {
            let sizes_aside = match error {
                Error::AbsurdText { .. } => "absurd text".to_owned(),
                Error::TooManyRows { .. } => "too many rows".to_owned(),
                other => other.to_string(),
            };
            sizes_aside.hash(&mut hasher);
            false
        }
    };
    Tried { signature: hasher.finish(), is_table: made.is_ok(), is_compared }
}

/// What holds for every table, whatever it was made of.
fn check_table(table: &Table, file_bytes: usize) {
    let text = table.stats().text_bytes;
    assert!(text <= 2 * file_bytes as u64);
    let most = text as usize / 4 + SPARE_ROWS;
    assert!(table.rows().len() <= most.next_multiple_of(CHUNK_ROWS));
    assert!(table.rules().rules().len() <= RARE_CAPACITY);
    let rules = table.rules().rules().len();
    for block in table.segments().iter().flat_map(|segment| &segment.blocks) {
        let (start, count) = (block.first_in_chunk() as usize, block.row_count() as usize);
        assert!(count <= 256 && start + count <= CHUNK_ROWS, "{block:?}");
        let rows = &table.rows()[block.start_row() as usize..][..count];
        assert!(rows.iter().skip(1).is_sorted_by(|a, b| a.lo() < b.lo()), "{block:?}: {rows:?}");
        assert!(rows.iter().all(|row| row.kind() != Kind::RARE || (row.rare_index() as usize) < rules));
    }
}

/// Compares with gimli, if it reads all entries: the builder goes on where gimli stops, and reads other sections too.
fn compare(table: &Table, input: &[u8]) -> bool {
    let Some(oracle) = Oracle::of(input).filter(|oracle| oracle.is_whole) else { return false };
    let in_text = |address: u64| {
        let number = address >> 8;
        table
            .segments()
            .iter()
            .any(|s| number >= s.first_block && number - s.first_block < s.blocks.len() as u64)
    };
    for (index, (start, _)) in oracle.ranges().enumerate() {
        if !in_text(start) {
            continue;
        }
        oracle.each_stretch(index, |stretch| {
            for address in [stretch.start, stretch.end - 1] {
                // Entries may be longer than the text; and the table ends with the text, not with its last block.
                if !in_text(address) {
                    continue;
                }
                let registers = Registers::at(address);
                let ours = unwind_oracle::follow(table.row(address), table.rules().rules(), &registers);
                let theirs = oracle.follow(&stretch, &registers);
                let fair = matches!(ours, Outcome::NotFollowed | Outcome::NoRule) || ours == theirs;
                assert!(fair, "{address:#x}: {ours:?} instead of {theirs:?} for {:?}", stretch.row);
            }
        });
    }
    true
}

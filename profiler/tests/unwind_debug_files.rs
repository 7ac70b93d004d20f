//! Unwind information that is not where it usually is: without section headers, in `.debug_frame`, compressed, in a separate
//! debug file. And tables that are shared between files.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSymbol as _};
use profiler::unwind::cache::Cache;
use profiler::unwind::file::ProgramFile;
use profiler::unwind::table::{Error, Options, SectionError, Table, build};
use profiler_common::unwind::{Kind, Row};
use tempfile::TempDir;
use testbed::place;

/// A directory for one test, with a directory for debug files in it.
struct Place {
    directory: TempDir,
    options: Options,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { threads: 2, debug_roots: vec![directory.path().join("debug")] };
        Place { directory, options }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, command: &str) {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap();
        let status = Command::new(program).args(words).current_dir(self.directory.path()).status();
        assert!(status.unwrap_or_else(|error| panic!("{program}: {error}")).success(), "{command}");
    }

    /// Compiles a C program that has its unwind information in `.debug_frame` alone, but for what the C library adds.
    fn compile(&self, flags: &str) -> PathBuf {
        let source = place::package().join("tests/workloads/blocks.c");
        fs::copy(source.with_file_name("workload.h"), self.path("workload.h")).unwrap();
        fs::copy(source, self.path("program.c")).unwrap();
        let without = "-fno-asynchronous-unwind-tables -fno-unwind-tables -fno-exceptions";
        self.run(&format!("gcc -O2 -g -pthread -fomit-frame-pointer {without} {flags} -o program program.c"));
        self.path("program")
    }

    fn table(&self, path: &Path) -> Result<Table, Error> {
        build(&ProgramFile::open(path).unwrap(), &self.options)
    }
}

/// The address of `main`.
fn main_of(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let elf = ElfFile64::<object::LittleEndian>::parse(&*bytes).unwrap();
    elf.symbols().find(|symbol| symbol.name() == Ok("main")).unwrap().address()
}

fn assert_same(one: &Table, other: &Table) {
    assert!(one.segments() == other.segments(), "the blocks differ");
    assert!(one.rows() == other.rows(), "the rows differ");
    assert_eq!(one.rules().rules(), other.rules().rules());
}

#[test]
fn a_file_without_section_headers() {
    let mut bytes = fs::read("/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    let options = Options { debug_roots: Vec::new(), ..Options::default() };
    let with = build(&ProgramFile::of_bytes(bytes.clone()), &options).unwrap();
    // e_shoff; e_shnum and e_shstrndx.
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    let without = build(&ProgramFile::of_bytes(bytes), &options).unwrap();
    assert_same(&with, &without);
    assert_eq!(with.stats(), without.stats());
}

#[test]
fn debug_frame_of_the_file_itself_or_compressed() {
    let place = Place::new();
    let program = place.compile("");
    let plain = place.table(&program).unwrap();
    let main = main_of(&program);
    assert_eq!(plain.row(main).rule(), Row::of(Kind::RSP, 1, 0).rule());
    place.run("objcopy --compress-debug-sections=zlib program packed");
    assert!(fs::metadata(place.path("packed")).unwrap().len() < fs::metadata(&program).unwrap().len());
    assert_same(&plain, &place.table(&place.path("packed")).unwrap());
    // Without it, there is what the C library has for `_start`.
    place.run("objcopy --remove-section=.debug_frame program bare");
    let bare = place.table(&place.path("bare")).unwrap();
    assert_eq!(bare.row(main).kind(), Kind::NONE);
    assert_ne!(bare.stats().functions, 0);
}

#[test]
fn a_debug_file_is_found_by_build_id() {
    let place = Place::new();
    let program = place.compile("-Wl,--build-id=0x0123456789abcdef");
    let (whole, main) = (place.table(&program).unwrap(), main_of(&program));
    let directory = place.path("debug/.build-id/01");
    fs::create_dir_all(&directory).unwrap();
    let debug = directory.join("23456789abcdef.debug");
    place.run(&format!("objcopy --only-keep-debug program {}", debug.display()));
    place.run("strip program");
    assert_same(&whole, &place.table(&program).unwrap());
    // Compressed, as distributions have it.
    place.run(&format!("objcopy --compress-debug-sections=zlib {}", debug.display()));
    assert_same(&whole, &place.table(&program).unwrap());
    // The debug file of another build is not taken, whatever its name is.
    let other = Place::new();
    other.compile("-Wl,--build-id=0x0123456789abcd00");
    other.run(&format!("objcopy --only-keep-debug program {}", debug.display()));
    assert_eq!(place.table(&program).unwrap().row(main).kind(), Kind::NONE);
}

#[test]
fn a_debug_file_is_found_by_its_name() {
    for folder in ["", ".debug/"] {
        let place = Place::new();
        let program = place.compile("-Wl,--build-id=none");
        let (whole, main) = (place.table(&program).unwrap(), main_of(&program));
        fs::create_dir_all(place.path(".debug")).unwrap();
        place.run(&format!("objcopy --only-keep-debug program {folder}program.debug"));
        place.run("strip program");
        assert_eq!(place.table(&program).unwrap().row(main).kind(), Kind::NONE);
        place.run(&format!("objcopy --add-gnu-debuglink={folder}program.debug program"));
        assert_same(&whole, &place.table(&program).unwrap());
        // Another content has another sum.
        let debug = place.path(&format!("{folder}program.debug"));
        let mut bytes = fs::read(&debug).unwrap();
        bytes.push(0);
        fs::write(&debug, bytes).unwrap();
        assert_eq!(place.table(&program).unwrap().row(main).kind(), Kind::NONE);
    }
}

#[test]
fn a_debug_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    let program = place.compile("-Wl,--build-id=none -nostartfiles -Wl,-emain");
    place.run("objcopy --compress-debug-sections=zlib program");
    let mut bytes = fs::read(&program).unwrap();
    let elf = ElfFile64::<object::LittleEndian>::parse(&*bytes).unwrap();
    let section = elf.section_by_name(".debug_frame").unwrap();
    let at = object::ObjectSection::file_range(&section).unwrap().0 as usize;
    let with = |bytes: &[u8]| build(&ProgramFile::of_bytes(bytes.to_vec()), &place.options).map(|_| ());
    let good = bytes.clone();
    assert_eq!(with(&good), Ok(()));
    // ch_type, ch_size, and the stream itself.
    bytes[at] = 3;
    assert_eq!(with(&bytes), Err(Error::DebugFrame(SectionError::Compression(3))));
    let (damaged, large) = (SectionError::Damaged, SectionError::TooLarge(256 << 20));
    for (offset, value, error) in [(8, 0xff, damaged), (12, 0xff, large), (24, 0, damaged)] {
        bytes.copy_from_slice(&good);
        bytes[at + offset] = value;
        assert_eq!(with(&bytes), Err(Error::DebugFrame(error)), "+{offset}");
    }
}

#[test]
fn all_processes_that_map_a_file_share_one_table() {
    let place = Place::new();
    let program = place.compile("-Wl,--build-id=0x0123456789abcdef");
    let cache = Cache::new(place.options.clone());
    fs::copy(&program, place.path("copy")).unwrap();
    let open = |name: &str| ProgramFile::open(&place.path(name)).unwrap();
    let (one, other) = (open("program"), open("copy"));
    let both: Vec<Arc<Table>> = cache.tables(&[&one, &other]).into_iter().map(Result::unwrap).collect();
    assert!(Arc::ptr_eq(&both[0], &both[1]));
    let again = cache.tables(&[&other]).remove(0).unwrap();
    assert!(Arc::ptr_eq(&both[0], &again));

    // Without build id, a copy is another file, and so is a file that was written again.
    place.run("objcopy --remove-section=.note.gnu.build-id program bare");
    fs::copy(place.path("bare"), place.path("bare-copy")).unwrap();
    let (bare, copy) = (open("bare"), open("bare-copy"));
    let tables: Vec<Arc<Table>> =
        cache.tables(&[&bare, &copy, &bare]).into_iter().map(Result::unwrap).collect();
    assert!(!Arc::ptr_eq(&tables[0], &tables[1]) && Arc::ptr_eq(&tables[0], &tables[2]));
    assert_same(&tables[0], &tables[1]);

    // Errors stand where their files are, and are not kept.
    fs::write(place.path("text"), "no program").unwrap();
    let text = open("text");
    let mixed = cache.tables(&[&text, &one, &text]);
    assert!(mixed[0].is_err() && mixed[1].is_ok() && mixed[2].is_err());
    assert!(cache.tables(&[]).is_empty());
}

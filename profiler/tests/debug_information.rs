//! Names from every form of debug information that compilers, linkers and distributions make. No process is observed.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{fs, path::PathBuf, process::Command};

use object::{Object as _, ObjectSymbol as _};
use profiler::{
    report::Function,
    symbolize::{Answer, Program, Request, Settings, Source, Worker},
};
use testbed::place;

fn source() -> PathBuf {
    place::package().join("tests/workloads/names/join.c")
}

/// The line of the call to `malloc` in it, and of the call to the function that it is in.
const LINES: [u32; 2] = [8, 12];

/// A directory of its own, in which programs are built and looked up.
struct Place {
    directory: tempfile::TempDir,
    settings: Settings,
}

impl Place {
    fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap(), settings: Settings::default() };
        fs::copy(source(), place.path("join.c")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a line of shell there.
    fn run(&self, line: &str) {
        let mut shell = Command::new("sh");
        let done = shell.args(["-euc", line]).current_dir(&self.directory).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Builds `server` with these flags; the offsets of all code of `on_join` in it.
    fn compile(&self, flags: &str) -> Vec<u64> {
        self.run(&format!("gcc -O2 -g {flags} join.c -o server"));
        let bytes = fs::read(self.path("server")).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let function = file.symbols().find(|symbol| symbol.name() == Ok("on_join")).unwrap();
        // These programs are laid out in the file as in memory, up to the data.
        (function.address()..function.address() + function.size()).collect()
    }

    fn answer(&self, name: &str, offsets: &[u64]) -> Answer {
        let worker = Worker::start(self.settings.clone()).unwrap();
        let source = Source::File(Program::at(&self.path(name)));
        worker.ask(vec![Request { source, places: offsets.to_vec() }]).wait().remove(0)
    }
}

/// The functions at the call of `malloc`, innermost first, with their lines.
fn inlined(answer: &Answer) -> Vec<(String, Option<u32>)> {
    let at_call = answer.resolved.iter().find(|place| place.functions.len() == 2);
    at_call.map(|place| place.functions.iter().map(name_and_line).collect()).unwrap_or_default()
}

fn name_and_line(function: &Function) -> (String, Option<u32>) {
    (function.name.terminal(), function.line)
}

fn expected() -> Vec<(String, Option<u32>)> {
    vec![("remember_player".to_owned(), Some(LINES[0])), ("on_join".to_owned(), Some(LINES[1]))]
}

#[track_caller]
fn assert_whole(answer: &Answer) {
    assert_eq!(inlined(answer), expected(), "{:?}", answer.notes);
    assert_eq!(answer.notes.all_problems(), Vec::<String>::new());
}

/// Only the function that was compiled has a name, at every place of it.
#[track_caller]
fn assert_symbol_only(answer: &Answer) {
    for place in &answer.resolved {
        let names: Vec<String> = place.functions.iter().map(|function| function.name.terminal()).collect();
        assert_eq!(names, ["on_join"], "{place:?} {:?}", answer.notes);
    }
}

#[test]
fn in_the_file_itself_packed_or_not() {
    let place = Place::new();
    let offsets = place.compile("");
    for packing in ["none", "zlib", "zlib-gnu", "zstd"] {
        place.run(&format!("objcopy --compress-debug-sections={packing} server {packing}"));
        assert_whole(&place.answer(packing, &offsets));
    }
}

#[test]
fn split_into_files_and_packages() {
    let place = Place::new();
    for version in ["-gdwarf-5", "-gdwarf-4"] {
        let offsets = place.compile(&format!("{version} -gsplit-dwarf"));
        assert_whole(&place.answer("server", &offsets));
        // Where the compiler wrote it there is nothing, as on another machine; nothing may be lost without a word.
        place.run("mkdir -p moved; mv *.dwo moved/");
        let without = place.answer("server", &offsets);
        assert_symbol_only(&without);
        let problems = without.notes.all_problems();
        assert!(
            problems.len() == 1 && problems[0].ends_with("-join.dwo (split debug information) was not found"),
            "{problems:?}"
        );
        let elsewhere = Place {
            settings: Settings { debug_dirs: vec![place.path("moved")], servers: None },
            ..Place::new()
        };
        fs::copy(place.path("server"), elsewhere.path("server")).unwrap();
        assert_whole(&elsewhere.answer("server", &offsets));
        // Another compilation of the same source.
        place.run("rm moved/*.dwo");
        place.run(&format!(
            "mkdir again; cd again; gcc -O2 -g {version} -gsplit-dwarf ../join.c -o server; mv *.dwo .."
        ));
        let other = place.answer("server", &offsets).notes.all_problems();
        assert!(other.len() == 1 && other[0].contains("made by another compilation"), "{other:?}");
        place.run("rm -r *.dwo moved again");
    }
    let offsets = place.compile("-gdwarf-4 -gsplit-dwarf");
    place.run("dwp -e server -o server.dwp; rm *.dwo");
    assert_whole(&place.answer("server", &offsets));
    place.run("head -c 100 server.dwp > short; mv short server.dwp");
    let damaged = place.answer("server", &offsets);
    assert_symbol_only(&damaged);
    assert!(damaged.notes.all_problems()[0].contains("server.dwp"), "{:?}", damaged.notes);
}

#[test]
fn shared_by_dwz() {
    let place = Place::new();
    let offsets = place.compile("");
    place.run(
        "cp server twin; dwz -m shared.debug server twin; readelf -SW server | grep -q gnu_debugaltlink",
    );
    assert_whole(&place.answer("server", &offsets));
    place.run("mkdir -p dir/.dwz; mv shared.debug dir/.dwz/");
    let without = place.answer("server", &offsets);
    assert!(
        without.resolved.iter().all(|at| at.functions.last().is_some_and(|f| f.name.terminal() == "on_join"))
    );
    assert!(
        without.notes.all_problems()[0]
            .contains("shared.debug, which holds a part of it (dwz), was not found"),
        "{:?}",
        without.notes
    );
    let named = Settings { debug_dirs: vec![place.path("dir")], servers: None };
    let place = Place { settings: named, ..place };
    assert_whole(&place.answer("server", &offsets));
}

/// Takes the debug information out of `server`, which stays behind without symbols.
fn take_out(place: &Place) {
    place.run("objcopy --only-keep-debug server server.debug; strip server");
}

#[test]
fn in_a_file_of_its_own() {
    let place = Place::new();
    for (folder, compress) in [("", "none"), (".debug/", "zstd")] {
        let offsets = place.compile("-Wl,--build-id=none");
        take_out(&place);
        place.run(&format!(
            "mkdir -p .debug; objcopy --compress-debug-sections={compress} server.debug; \
             objcopy --add-gnu-debuglink=server.debug server; if [ -n '{folder}' ]; then mv server.debug {folder}; fi"
        ));
        assert_whole(&place.answer("server", &offsets));
        place.run(&format!("printf x >> {folder}server.debug"));
        let refused = place.answer("server", &offsets);
        assert!(refused.resolved.iter().all(|at| at.functions.is_empty()));
        let problem = refused.notes.all_problems().remove(0);
        assert!(
            problem.contains("server.debug is not used: it is of another build") && problem.contains("CRC"),
            "{problem}"
        );
        assert!(refused.resolved[0].unresolved.as_ref().is_some_and(|why| why.contains("of another build")));
        place.run(&format!("rm {folder}server.debug"));
    }
}

#[test]
fn in_a_directory_that_the_user_names() {
    let place = Place::new();
    let offsets = place.compile("-Wl,--build-id=0x0123456789abcdef0123456789abcdef01234567");
    place.run("cp server whole");
    take_out(&place);
    place.run("mkdir -p named; mv server.debug whole named/");
    let named = Settings { debug_dirs: vec![place.path("named")], servers: None };
    let nameless = place.answer("server", &offsets);
    assert!(nameless.resolved.iter().all(|at| at.functions.is_empty()));
    assert_eq!(nameless.notes.absent.len(), 1, "{:?}", nameless.notes);
    let place = Place { settings: named, ..place };
    for (from, to) in [
        ("server.debug", "server.debug"),
        ("server.debug", ".build-id/01/23456789abcdef0123456789abcdef01234567.debug"),
        ("whole", ".build-id/01/23456789abcdef0123456789abcdef01234567"),
        ("whole", "server"),
    ] {
        place.run(&format!("cd named; mkdir -p .build-id/01; cp {from} keep; mv {from} {to} || true; mkdir -p aside; for f in server.debug whole; do [ $f = {to} ] || [ ! -e $f ] || mv $f aside/; done"));
        assert_whole(&place.answer("server", &offsets));
        place.run("cd named; rm -r .build-id; rm -f server server.debug whole; mv aside/* . || true; mv keep {from}".replace("{from}", from).as_str());
    }
    assert_others_are_read_only_if_needed(&place, &offsets);
    // Of another build.
    place
        .run("gcc -O1 -g -Wl,--build-id=0xffff join.c -o named/server; rm -f named/server.debug named/whole");
    let refused = place.answer("server", &offsets);
    assert!(
        refused.notes.all_problems()[0].contains("is of another build: its build id is ffff, wanted is 0123"),
        "{:?}",
        refused.notes
    );
}

/// Files that could have any build id are looked at only where none has a name that fits.
fn assert_others_are_read_only_if_needed(place: &Place, offsets: &[u64]) {
    use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
    place.run("cd named; ls; echo text > other; mv server.debug anything 2>/dev/null || mv whole anything");
    let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    add_watch(&watch, place.path("named/other"), WatchFlags::OPEN).unwrap();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut was_opened = || {
        assert_whole(&place.answer("server", offsets));
        Reader::new(&watch, &mut buffer).next().is_ok()
    };
    assert!(was_opened());
    place.run("mv named/anything named/server.debug");
    assert!(!was_opened());
    place.run("rm named/other");
}

#[test]
fn packed_symbols_are_found_and_damage_costs_no_others() {
    let place = Place::new();
    let offsets = place.compile("-rdynamic");
    place.run(
        "objcopy --only-keep-debug server debug; objcopy -S --keep-symbol=main --keep-symbol=on_join debug m; xz -k m; \
         cp server plain; strip plain; objcopy --add-section .gnu_debugdata=m.xz plain mini; \
         head -c 300 m.xz > cut; objcopy --add-section .gnu_debugdata=cut plain damaged",
    );
    for name in ["plain", "mini", "damaged"] {
        assert_symbol_only(&place.answer(name, &offsets));
    }
    assert_eq!(place.answer("mini", &offsets).notes.all_problems(), Vec::<String>::new());
    let problem = place.answer("damaged", &offsets).notes.all_problems().remove(0);
    assert_eq!(
        problem,
        "its packed symbol table (.gnu_debugdata) cannot be read: it is truncated or damaged"
    );

    // Names that only the packed table has.
    let offsets = place.compile("");
    place.run("objcopy --only-keep-debug server debug; objcopy -S --keep-symbol=on_join debug m; xz -fk m; strip server; objcopy --add-section .gnu_debugdata=m.xz server");
    assert_symbol_only(&place.answer("server", &offsets));
}

#[test]
fn a_damaged_section_costs_only_its_own_names() {
    let place = Place::new();
    let offsets = place.compile("");
    place.run("seq 100 | tr -d '\\n' | head -c 150 > noise");
    for section in ["line", "abbrev", "info", "str", "aranges", "rnglists", "line_str"] {
        place.run(&format!("objcopy --update-section .debug_{section}=noise server damaged"));
        let answer = place.answer("damaged", &offsets);
        let compiled = answer.resolved.iter().all(|at| {
            at.functions.last().is_some_and(|f| f.name.terminal() == "on_join" || section == "str")
        });
        assert!(compiled, "{section}: {:?}", answer.resolved);
        if ["line", "abbrev", "info"].contains(&section) {
            assert!(!answer.notes.all_problems().is_empty(), "{section}");
        }
    }
}

#[test]
fn a_file_that_is_not_a_program_has_no_names() {
    let place = Place::new();
    fs::write(place.path("server"), "no program").unwrap();
    let answer = place.answer("server", &[0, 1]);
    assert_eq!(answer.resolved.len(), 2);
    assert!(answer.resolved[1].unresolved.as_ref().is_some_and(|why| why.contains("not an ELF file")));
    assert!(source().is_file());
}

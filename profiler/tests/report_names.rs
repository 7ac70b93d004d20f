//! `profiler report FILE --debug-dir DIR`: names that were not there when the report was made.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use object::{Object as _, ObjectSymbol as _};
use serde_json::{Value, json};
use testbed::place;

const BUILD_ID: &str = "0123456789abcdef0123456789abcdef01234567";

fn shell(directory: &Path, line: &str) {
    let done = Command::new("sh").args(["-euc", line]).current_dir(directory).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

fn report(arguments: &[&str]) -> Output {
    Command::new(place::program("profiler")).arg("report").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Without the breaks and indents of lines.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The report that `docs/report-format.md` shows, as if its leak were at `address` of a file of which no names were known.
fn nameless(address: u64) -> Value {
    let page = place::checkout().join("docs/report-format.md");
    let page = fs::read_to_string(page).unwrap();
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut report: Value = serde_json::from_str(example).unwrap();
    let called = format!("server+{address:#x}");
    let before = report["sections"][0]["rows"][0]["cells"][1]["name"].as_str().unwrap().to_owned();
    let frame = report["stacks"][0]["frames"][0].as_u64().unwrap() as usize;
    report["frames"][frame] = json!({
        "address": 0x5500_0000_0000_u64 + address, "module": "/srv/server", "build_id": BUILD_ID,
        "file_offset": address, "file_address": address, "functions": [], "unresolved": "no symbol covers it (stripped?)"
    });
    let renamed = report
        .to_string()
        .replace(&format!("{{\"name\":\"{before}\"}}"), &format!("{{\"name\":\"{called}\"}}"));
    serde_json::from_str(&renamed).unwrap()
}

#[test]
fn unnamed_frames_are_named_by_build_id() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let source = place::package().join("tests/workloads/names/join.c");
    let source = source.display();
    shell(
        place.path(),
        &format!("gcc -g -O2 -Wl,--build-id=0x{BUILD_ID} {source} -o server; mkdir symbols empty"),
    );
    let bytes = fs::read(path("server")).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let function = file.symbols().find(|symbol| symbol.name() == Ok("on_join")).unwrap();
    let address = function.address() + function.size() / 2;
    fs::write(path("old.json"), nameless(address).to_string()).unwrap();
    shell(place.path(), "objcopy --only-keep-debug server symbols/called-anything; rm server");
    let (old, symbols, empty) = (path("old.json"), path("symbols"), path("empty"));
    let (old, symbols, empty) = (old.to_str().unwrap(), symbols.to_str().unwrap(), empty.to_str().unwrap());

    let unnamed = format!("server+{address:#x}");
    for without in [&[old][..], &[old, "--debug-dir", empty]] {
        let first = text(&report(without)).lines().next().unwrap_or_default().to_owned();
        assert!(first.contains(&unnamed), "{first}");
    }
    let named = report(&[old, "--debug-dir", symbols, "-v"]);
    let shown = text(&named);
    let first = shown.lines().next().unwrap_or_default();
    assert!(named.status.code() == Some(0) && !shown.contains(&unnamed), "{shown}");
    assert!(first.contains("on_join") || first.contains("remember_player"), "{first}");
    assert!(shown.contains("join.c:") && shown.contains("called-anything (read later)"), "{shown}");

    // It can be kept.
    let new = path("new.json");
    report(&[old, "--debug-dir", symbols, "-o", new.to_str().unwrap()]);
    let again = text(&report(&[new.to_str().unwrap()]));
    assert_eq!(again.lines().next(), text(&report(&[old, "--debug-dir", symbols])).lines().next());

    // Of another build.
    shell(
        place.path(),
        &format!("gcc -g -O2 -Wl,--build-id=0xffff {source} -o symbols/server; rm symbols/called-anything"),
    );
    let refused = flat(&text(&report(&[old, "--debug-dir", symbols])));
    assert!(refused.contains(&unnamed) && refused.contains("is of another build"), "{refused}");
}

#[test]
fn a_path_that_is_not_a_directory_is_refused() {
    let output = report(&["report.json", "--debug-dir", "/nonexistent"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("tried to look for debug files in /nonexistent"), "{words}");
}

/// A program that is not here, a report with a frame of it that has no name, and a place for what is fetched.
struct Unnamed {
    place: tempfile::TempDir,
    program: Vec<u8>,
    name: String,
}

impl Unnamed {
    fn new() -> Unnamed {
        let place = tempfile::tempdir().unwrap();
        let source = place::package().join("tests/workloads/names/join.c");
        let source = source.display();
        shell(place.path(), &format!("gcc -g -O2 -Wl,--build-id=0x{BUILD_ID} {source} -o server"));
        let program = fs::read(place.path().join("server")).unwrap();
        let address = {
            let file = object::File::parse(&*program).unwrap();
            let function = file.symbols().find(|symbol| symbol.name() == Ok("on_join")).unwrap();
            function.address() + function.size() / 2
        };
        fs::write(place.path().join("old.json"), nameless(address).to_string()).unwrap();
        fs::remove_file(place.path().join("server")).unwrap();
        Unnamed { place, program, name: format!("server+{address:#x}") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// What `profiler report` says, with a server for debug files.
    fn report(&self, file: &str, url: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(place::program("profiler"));
        command.arg("report").arg(self.path(file)).args(arguments).env("DEBUGINFOD_URLS", url);
        flat(&text(&command.env("DEBUGINFOD_CACHE_PATH", self.path("kept")).output().unwrap()))
    }

    #[track_caller]
    fn assert_named(&self, words: &str) {
        assert!(!words.contains(&self.name) && words.contains("join.c:"), "{words}");
    }

    #[track_caller]
    fn assert_nameless(&self, words: &str, because: &str) {
        assert!(words.contains(&self.name) && words.contains(because), "{words}");
    }
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Gives these answers, one for each request; the first lines of the requests.
fn serve(listener: TcpListener, answers: Vec<(&'static str, Vec<u8>)>) -> JoinHandle<Vec<String>> {
    let answer = move |(status, body): (&str, Vec<u8>)| {
        let mut stream = listener.accept().unwrap().0;
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        line
    };
    thread::spawn(move || answers.into_iter().map(answer).collect())
}

#[test]
fn a_server_is_asked_only_if_the_user_wants_it() {
    let unnamed = Unnamed::new();
    let (listener, url) = listen();
    // There is no server: a request would not be answered, and a connection would wait here.
    unnamed.assert_nameless(&unnamed.report("old.json", &url, &[]), "");
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(!unnamed.path("kept").exists());
}

#[test]
fn debug_files_from_a_server_name_frames_later_if_the_build_fits() {
    let unnamed = Unnamed::new();
    let (listener, url) = listen();
    let another = fs::read(place::program("profiler")).unwrap();
    let whole = unnamed.program.clone();
    let answers = vec![("404 Not Found", Vec::new()), ("200 OK", another), ("200 OK", whole)];
    let served = serve(listener, answers);
    let ask = |arguments: &[&str]| unnamed.report("old.json", &url, &[&["--debuginfod"], arguments].concat());
    let none = ask(&[]);
    unnamed.assert_nameless(&none, &format!("{url}: no debug file for this build (404)"));
    // It stands there once, not at each frame.
    unnamed.assert_nameless(&none, "(no symbol covers it (stripped?))");
    unnamed.assert_nameless(&ask(&[]), &format!("{url} (debuginfod) is not used:"));
    let named = ask(&["-v"]);
    unnamed.assert_named(&named);
    assert!(named.contains(&format!("{url} (debuginfod)")), "{named}");
    let wanted = format!("GET /buildid/{BUILD_ID}/debuginfo ");
    assert!(served.join().unwrap().iter().all(|line| line.starts_with(&wanted)));
}

#[test]
fn fetched_files_are_kept_for_the_next_time() {
    let unnamed = Unnamed::new();
    let (listener, url) = listen();
    let whole = unnamed.program.clone();
    let served = serve(listener, vec![("404 Not Found", Vec::new()), ("200 OK", whole)]);
    let tried = unnamed.path("tried.json");
    unnamed.report("old.json", &url, &["--debuginfod", "-o", tried.to_str().unwrap()]);
    unnamed.assert_named(&unnamed.report("old.json", &url, &["--debuginfod"]));
    served.join().unwrap();
    // Now the port is closed.
    unnamed.assert_named(&unnamed.report("old.json", &url, &["--debuginfod"]));
    // That there was none when it was asked before is not a problem any more.
    unnamed.assert_nameless(&unnamed.report("tried.json", &url, &[]), "(404)");
    let named = unnamed.report("tried.json", &url, &["--debuginfod"]);
    unnamed.assert_named(&named);
    assert!(!named.contains("(404)"), "{named}");
    fs::remove_file(unnamed.path("kept").join(BUILD_ID).join("debuginfo")).unwrap();
    let begun = Instant::now();
    let unreachable = unnamed.report("old.json", &url, &["--debuginfod"]);
    unnamed.assert_nameless(&unreachable, &format!("{url}: Connection refused"));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

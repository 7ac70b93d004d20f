//! Names outlive what they are read from: the target's end, a replaced or deleted binary, a file system that only the
//! target sees.
//!
//! Files are opened when they are first seen, through the process itself, and names are looked up in these.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::Duration;

use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::{Observer, program};
use support::workload::{PATIENCE, Workload};

/// Allocates one block a millisecond by `site_idle`, and keeps every third.
const FLAGS: [&str; 2] = ["--leak-every", "3"];
/// Long enough for some blocks.
const A_WHILE: Duration = Duration::from_millis(300);

fn idle() -> PathBuf {
    Build::c("idle.c").build()
}

/// A library that had been there for long is unloaded right behind its first allocation: whether the stack is looked at
/// before that or after, its names are those of the file, and the report says that it is gone.
#[test]
fn a_library_is_unloaded() {
    let Some(_live) = support::live() else { return };
    let plugin = Build::c("dl_plugin.c").named("dl_plugin.so").flags(&["-shared", "-fPIC"]).build();
    let library = plugin.to_str().unwrap();
    let arguments = ["--library", library, "--cycles", "1", "--early", "1"];
    let mut target = Workload::spawn(&Build::c("dl.c").build(), &arguments);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    let books = target.run();
    let report = observer.interrupt().report(0);
    account::assert_books(&report, target.pid(), &books);
    for row in account::list(account::stacks_section(&report), "rows") {
        let names = account::stack_functions(&report, row);
        assert_eq!(names[..3], ["plugin_allocate", "site_plugin", "main"], "{names:?}");
    }
    let of_plugin =
        |frame: &&Value| frame["module"].as_str().is_some_and(|module| module.ends_with("/dl_plugin.so"));
    let (gone, there): (Vec<&Value>, Vec<&Value>) =
        account::list(&report, "frames").iter().partition(of_plugin);
    assert!(!gone.is_empty() && gone.iter().all(|frame| frame["unloaded"] == true), "{gone:?}");
    assert!(there.iter().all(|frame| frame.get("unloaded").is_none()), "{there:?}");
    target.quit();
}

/// Another program, whose names must not be taken for the target's.
fn another() -> PathBuf {
    Build::c("threads.c").build()
}

/// Asserts that the report names the allocating function and its caller, and every other frame of that program.
#[track_caller]
fn assert_named(report: &Value) {
    account::assert_nothing_lost(report);
    let row = &account::list(account::stacks_section(report), "rows")[0];
    let names = account::stack_functions(report, row);
    assert_eq!(names[..2], ["site_idle", "main"], "{names:?}");
    let program = |frame: &&Value| frame["module"].as_str().is_some_and(|module| module.contains("idle"));
    for frame in account::list(report, "frames").iter().filter(program) {
        assert!(frame["build_id"].is_string(), "{frame}");
        // `_start` is assembly without a size, which no address can be inside of.
        let named = !account::list(frame, "functions").is_empty();
        assert!(named || frame["unresolved"].is_string(), "{frame}");
    }
}

#[test]
fn the_target_has_ended() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&idle(), &FLAGS);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    sleep(A_WHILE);
    target.kill();
    assert_named(&observer.finish(PATIENCE).report(0));
}

/// As a package manager does: another file takes the name, and the old one disappears with its last user.
#[test]
fn the_binary_is_replaced() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (program, new) = (folder.path().join("idle"), folder.path().join("idle.new"));
    fs::copy(idle(), &program).unwrap();
    fs::copy(another(), &new).unwrap();
    let mut target = Workload::spawn(&program, &FLAGS);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    fs::rename(&new, &program).unwrap();
    sleep(A_WHILE);
    target.kill();
    assert_named(&observer.finish(PATIENCE).report(0));
}

#[test]
fn the_binary_is_deleted_while_observed() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("idle");
    fs::copy(idle(), &program).unwrap();
    let mut target = Workload::spawn(&program, &FLAGS);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    fs::remove_file(&program).unwrap();
    sleep(A_WHILE);
    target.kill();
    assert_named(&observer.finish(PATIENCE).report(0));
}

/// A server that was updated but not restarted: no path leads to its file, and the path that did leads to another.
#[test]
fn the_binary_was_replaced_before() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (program, new) = (folder.path().join("idle"), folder.path().join("idle.new"));
    // Static, so that the allocator itself has to be found in the deleted file.
    fs::copy(Build::c("idle.c").flags(&["-static"]).build(), &program).unwrap();
    fs::copy(another(), &new).unwrap();
    let target = Workload::spawn(&program, &FLAGS);
    fs::rename(&new, &program).unwrap();
    observe_for_a_while(target);
}

/// A container: the same path is another file here and there.
#[test]
fn in_a_mount_namespace() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    install(&another(), &here.join("idle"));
    install(&idle(), &there.join("idle"));
    // `exec` all the way: the pid that is started is the target's.
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", "mount --bind \"$0\" \"$1\"; exec \"$1/idle\" --leak-every 3"]);
    command.arg(&there).arg(&here);
    observe_for_a_while(Workload::spawn_command(command));
}

/// The target's `/` is elsewhere, and has no library and nothing else in it.
#[test]
fn in_another_root() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    install(&Build::c("idle.c").flags(&["-static"]).build(), &folder.path().join("srv/idle"));
    let mut command = Command::new("chroot");
    command.arg(folder.path()).arg("/srv/idle").args(FLAGS);
    let target = Workload::spawn_command(command);
    observe_for_a_while(target);
}

fn install(program: &Path, place: &Path) {
    let folder = place.parent().expect("a file has a folder");
    fs::create_dir_all(folder).expect("the folder of the copy can be made");
    fs::copy(program, place).expect("the program can be copied");
}

#[track_caller]
fn observe_for_a_while(target: Workload) {
    let observer = Observer::attach("memleak", target.pid(), &[]);
    sleep(A_WHILE);
    let report = observer.interrupt().report(0);
    assert_named(&report);
    target.quit();
}

/// Serves a debug file at this path as debuginfod does, and nothing else; where, and what is asked for.
fn serve(path: String, file: Vec<u8>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, requests) = channel();
    // Ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            let wanted = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) =
                if wanted == path { ("200 OK", &file[..]) } else { ("404 Not Found", &[][..]) };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), body].concat());
            let _ = asked.send(wanted);
        }
    });
    (url, requests)
}

#[test]
fn servers_are_asked_for_debug_files_only_if_the_user_wants_it() {
    let Some(_live) = support::live() else { return };
    let id = "0123456789abcdef0123456789abcdef01234567";
    let with_id = format!("-Wl,--build-id=0x{id}");
    let whole = Build::c("idle.c").flags(&[&with_id]).build();
    let stripped = Build::c("idle.c").flags(&[&with_id, "-s"]).build();
    let path = format!("/buildid/{id}/debuginfo");
    let (url, requests) = serve(path.clone(), fs::read(whole).unwrap());
    let kept = tempfile::tempdir().unwrap();
    let observe = |arguments: &[&str]| {
        let target = Workload::spawn(&stripped, &FLAGS);
        let mut command = Command::new(program());
        command.args([
            "memleak",
            "--max-cost",
            "off",
            "--format",
            "json",
            "--pid",
            &target.pid().to_string(),
        ]);
        command.args(arguments).env("DEBUGINFOD_URLS", &url).env("DEBUGINFOD_CACHE_PATH", kept.path());
        let mut observer = Observer::spawn_command(command);
        observer.wait_attached();
        sleep(A_WHILE);
        let report = observer.interrupt().report(0);
        target.quit();
        report
    };
    let without = account::row_names(&observe(&[]));
    assert!(without.iter().all(|name| name.starts_with("idle+0x")), "{without:?}");
    assert!(requests.try_recv().is_err(), "nobody was to be asked");
    assert_named(&observe(&["--debuginfod"]));
    assert_eq!(requests.try_iter().filter(|wanted| *wanted == path).count(), 1);
    assert!(kept.path().join(id).join("debuginfo").is_file());
    // The second time it is here.
    assert_named(&observe(&["--debuginfod"]));
    assert_eq!(requests.try_iter().filter(|wanted| *wanted == path).count(), 0);
}

/// The answer as people read it.
fn first_words(report: &Value) -> String {
    let phrases = account::list(&report["findings"][0], "sentence").iter();
    phrases.map(|phrase| phrase["plain"].as_str().or(phrase["name"].as_str()).unwrap()).collect()
}

/// The function that a name such as `wrapped+0x11a2` stands for, according to addr2line and the same program with its symbols.
fn function_at(unstripped: &Path, name: &str) -> String {
    let (file, address) = name.split_once('+').unwrap_or_else(|| panic!("{name} is not a file and address"));
    assert_eq!(unstripped.file_name().unwrap(), file);
    let tool = Command::new("addr2line").arg("-f").arg("-e").arg(unstripped).arg(address).output().unwrap();
    String::from_utf8(tool.stdout).unwrap().lines().next().unwrap().to_owned()
}

/// All allocations go through the program's own wrappers, and no list knows them. The row is that of their callers: by
/// name, and by file and address where the program is stripped, whether it keeps frame pointers or not.
#[test]
fn callers_of_a_wrapper_are_named() {
    let Some(_live) = support::live() else { return };
    let callers = ["chat_push", "path_find", "session_open"];
    let without_pointers = ["-fomit-frame-pointer"];
    let builds = [&[][..], &without_pointers].map(|flags| Build::c("wrapped.c").flags(flags));
    let unstripped = builds.each_ref().map(Build::build);
    let stripped = builds.map(|build| build.flags(&["-s"]).build());
    let programs = [&unstripped[0], &stripped[0], &stripped[1]];
    let targets = programs.map(|program| Workload::spawn(program, &[] as &[&str]));
    let arguments = ["--older", "1s", "--for", "5s"];
    let observers = targets.each_ref().map(|target| Observer::attach("memleak", target.pid(), &arguments));
    let reports = observers.map(|observer| observer.finish(PATIENCE).report(0));
    for (report, program) in reports.iter().zip([None, Some(&unstripped[0]), Some(&unstripped[1])]) {
        account::assert_nothing_lost(report);
        let function = |name: String| program.map_or(name.clone(), |program| function_at(program, &name));
        let mut names: Vec<String> = account::row_names(report).into_iter().map(function).collect();
        names.sort_unstable();
        assert_eq!(names, callers);
        let words = first_words(report);
        let leak = words.strip_prefix("LEAK: ").unwrap_or_else(|| panic!("{words}"));
        let leak = leak.split(' ').next().unwrap().to_owned();
        assert_eq!(function(leak), "chat_push", "{words}");
    }
    targets.into_iter().for_each(Workload::quit);
}

/// One that leaks at two places is named once: by name, and by file and address where the program is stripped.
#[test]
fn a_function_that_leaks_at_several_places_is_named_once() {
    let Some(_live) = support::live() else { return };
    let unstripped = Build::c("leaks.c").build();
    let stripped = Build::c("leaks.c").flags(&["-s"]).build();
    let targets = [&unstripped, &stripped].map(|program| Workload::spawn(program, &["statements", "5"]));
    let observers = targets
        .each_ref()
        .map(|target| Observer::attach("memleak", target.pid(), &["--older", "1s", "--for", "5s"]));
    let reports = observers.map(|observer| observer.finish(PATIENCE).report(0));
    let names = ["keep_plan", "keep_list", "keep_text"].map(str::to_owned);
    for (report, is_stripped) in reports.iter().zip([false, true]) {
        account::assert_nothing_lost(report);
        let words = first_words(report);
        let (leak, _) = words.split_once(". They have freed none").unwrap_or_else(|| panic!("{words}"));
        if is_stripped {
            let named: Vec<&str> = leak.split(' ').filter(|word| word.contains("+0x")).collect();
            let named: Vec<String> = named.iter().map(|name| function_at(&unstripped, name)).collect();
            assert_eq!(BTreeSet::from_iter(&named), names.iter().collect(), "{words}");
            assert_eq!(named.len(), names.len(), "{words}");
            assert_eq!((leak.matches("(at 0x").count(), leak.matches(", at 0x").count()), (1, 1), "{words}");
        } else {
            for name in &names {
                assert_eq!(leak.matches(name.as_str()).count(), 1, "{name}: {words}");
            }
        }
        let leaks = account::list(&report["sections"][0], "rows").iter();
        assert_eq!(leaks.filter(|row| row["severity"] == "problem").count(), 4, "a row for each place");
    }
    drop(targets);
}

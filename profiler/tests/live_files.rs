//! The file or socket of single calls is what their descriptor referred to at that time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use support::account;
use support::calls::number;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

/// Single calls of a report: how many of each call there are with each file.
fn files(report: &Value) -> BTreeMap<(String, String), u64> {
    files_in(report, "file")
}

/// The same for another column of files.
fn files_in(report: &Value, column: &str) -> BTreeMap<(String, String), u64> {
    let section = account::list(report, "sections").iter().find(|section| section["name"] == "slow").unwrap();
    let columns = account::list(section, "columns");
    let place = |name: &str| columns.iter().position(|column| column["name"] == name).unwrap();
    let (call, file) = (place("call"), place(column));
    let mut files = BTreeMap::new();
    for row in account::list(section, "rows") {
        let word = |cell: &Value| {
            // A name that was cut says so beside its text.
            let words = ["name", "word", "unknown"]
                .iter()
                .find_map(|kind| cell[*kind].as_str().or(cell[*kind]["utf8"].as_str()));
            words.unwrap_or_else(|| panic!("no words: {cell}")).to_owned()
        };
        *files.entry((word(&row["cells"][call]), word(&row["cells"][file]))).or_default() += 1;
    }
    files
}

/// Lists all calls of a workload that works in a folder. `hear` reads what it says before it is done.
fn observe<T>(program: &Path, folder: &Path, hear: impl FnOnce(&mut Workload) -> T) -> (Value, T) {
    let mut target = Workload::spawn(program, &[folder]);
    let pid = target.pid_argument();
    let common = ["syscalls", "--stacks", "none", "--slow", "1ns", "--format", "json", "--pid", &pid];
    let mut observer = Observer::spawn(&common);
    observer.wait_attached();
    target.say("go");
    let said = hear(&mut target);
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    account::assert_nothing_lost(&report);
    (report, said)
}

#[test]
fn each_call_has_the_file_that_its_descriptor_referred_to() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("files.c").flags(&["-pthread"]).build();
    let (report, ports) = observe(&program, folder.path(), |target| target.expect_line("{", PATIENCE));
    let directory = folder.path().to_str().unwrap();
    let ports: Value = serde_json::from_str(&ports).unwrap();

    let [listener, client, datagrams] =
        ["listener", "client", "datagrams"].map(|name| format!("127.0.0.1:{}", number(&ports, name)));
    let of = |name: &str| format!("{directory}/{name}");
    let expected = [
        ("pwrite64", of("world\n.db"), 7),
        ("fdatasync", of("world\n.db"), 3),
        ("pwrite64", of("saved.db"), 2),
        ("pwrite64", of("saved.db (deleted)"), 5),
        ("openat", of("a"), 11),
        ("pwrite64", of("a"), 11),
        ("close", of("a"), 11),
        ("openat", of("b"), 11),
        ("pwrite64", of("b"), 22),
        ("close", of("b"), 11),
        ("pwrite64", "memfd:pool".to_owned(), 13),
        ("writev", "[eventfd]".to_owned(), 23),
        ("fstatfs", "/proc".to_owned(), 41),
        ("listen", format!("tcp {listener}, listening"), 1),
        ("accept", format!("tcp {listener}, listening"), 1),
        ("connect", format!("tcp {client} to {listener}"), 1),
        ("sendto", format!("tcp {client} to {listener}"), 29),
        ("sendto", format!("udp {datagrams}"), 31),
        ("pwrite64", of("other"), 2),
        ("pwrite64", of("passed"), 3),
        ("pwrite64", of("shared"), 5 + 6),
        ("timerfd_settime", "[timerfd]".to_owned(), 43),
        ("readv", "[signalfd]".to_owned(), 47),
        ("epoll_wait", "[eventpoll]".to_owned(), 53),
        ("pwrite64", of("old/file"), 3),
        ("pwrite64", of("new/file"), 5),
        ("pwrite64", of("mount/lost"), 3),
        ("pwrite64", "/lost (mounted nowhere)".to_owned(), 7),
        ("sendto", "unix socket".to_owned(), 13),
        ("fsync", "its descriptor was not open".to_owned(), 37),
        (
            "read",
            "its descriptor was closed or given to another file while the call was in progress".to_owned(),
            1,
        ),
    ];
    let found = files(&report);
    for (call, file, count) in expected {
        assert_eq!(found.get(&(call.to_owned(), file.clone())), Some(&count), "{call} {file}: {found:#?}");
    }
    let watched = files_in(&report, "other_file");
    assert_eq!(watched.get(&("epoll_wait".to_owned(), "[timerfd]".to_owned())), Some(&53), "{watched:#?}");
    let starting = |call: &str, start: &str| -> u64 {
        let fit = found.iter().filter(|((of, file), _)| of == call && file.starts_with(start));
        fit.map(|(_, count)| count).sum()
    };
    assert_eq!(starting("splice", "pipe:["), 17, "{found:#?}");
    assert_eq!(starting("sendto", "unix without a name, inode "), 19, "{found:#?}");
    // Standard input, and the one that a signal interrupts.
    let pipes = found.keys().filter(|(call, file)| call == "read" && file.starts_with("pipe:["));
    assert_eq!((pipes.count(), starting("read", "profiler knows of no")), (2, 0), "{found:#?}");
    let longest = format!("{directory}/{}", "n".repeat(250));
    assert_eq!(starting("pwrite64", &longest), 19, "{found:#?}");
    let cut: Vec<&String> =
        found.keys().filter(|(_, file)| file.starts_with(&longest)).map(|(_, file)| file).collect();
    assert!(cut.iter().any(|file| file.ends_with("n…") && file.len() > 3800), "{cut:?}");
    let refused = |(call, file): &&(String, String)| call == "connect" && file.ends_with(" to 127.0.0.1:1");
    assert_eq!(found.keys().filter(refused).count(), 1, "{found:#?}");
    let all_writes: u64 = starting("pwrite64", "");
    assert_eq!(
        all_writes,
        7 + 2 + 5 + 11 + 22 + 13 + (2 + 3 + 5 + 6) + 3 + 5 + 3 + 7 + 19,
        "no other file: {found:#?}"
    );
}

#[test]
fn calls_that_name_files_in_other_ways_have_them_too() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (report, ()) = observe(&Build::c("paths.c").build(), folder.path(), |_| ());
    let directory = folder.path().to_str().unwrap();

    let of = |name: &str| format!("{directory}/{name}");
    let expected = [
        ("openat", of("absent"), 3),
        ("access", of("inner/../lost"), 5),
        ("access", "its path is empty".to_owned(), 5),
        ("access", "its path could not be read".to_owned(), 5),
        ("access", "/".repeat(4095), 1),
        ("access", "/".repeat(4092) + "…", 1),
        ("unlinkat", of("inner/deep/none"), 7),
        ("fchmodat", of("nothing"), 11),
        ("newfstatat", of("inner"), 13),
        ("utimensat", of("inner"), 17),
        ("symlink", of("inner/no/link"), 19),
        ("rename", of("missing"), 23),
        ("statfs", "its path could not be read".to_owned(), 29),
        ("openat", "…/relative".to_owned(), 31),
        ("mkdir", of("inner/made"), 1),
        ("mmap", of("map"), 37),
        ("copy_file_range", of("map"), 43),
        ("sendfile", of("copy"), 43 + 1),
        ("splice", of("map"), 47),
        ("epoll_ctl", "[eventpoll]".to_owned(), 54 + 8),
        ("epoll_pwait", "[eventpoll]".to_owned(), 1 + 13 + 11 + 7),
        ("io_uring_enter", "[io_uring]".to_owned(), 29 + 31),
        ("pwrite64", of("map"), 1),
        ("pwrite64", of("before"), 71),
        ("pwrite64", of("after"), 67),
    ];
    let found = files(&report);
    for (call, file, count) in expected {
        assert_eq!(found.get(&(call.to_owned(), file.clone())), Some(&count), "{call} {file}: {found:#?}");
    }
    let anonymous = ("mmap".to_owned(), "profiler knows of no file of this call".to_owned());
    assert!(found.get(&anonymous).is_some_and(|count| *count >= 41 + 7), "{found:#?}");
    let others = files_in(&report, "other_file");
    for (call, file, count) in [
        ("copy_file_range", of("copy"), 43),
        ("sendfile", of("map"), 43),
        ("epoll_ctl", "[eventfd]".to_owned(), 54 + 8),
        ("epoll_pwait", "[eventfd]; [eventfd]; [eventfd]; [eventfd]; 3 more".to_owned(), 13),
        ("epoll_pwait", "1 file".to_owned(), 11),
        ("epoll_pwait", "nothing".to_owned(), 7),
        ("epoll_pwait", "not looked for: the call was too short".to_owned(), 1 + 1),
        (
            "sendfile",
            "its descriptor was not open, or was closed during the call, or there was no room for its name"
                .to_owned(),
            1,
        ),
        ("pwrite64", String::new(), 1 + 71 + 67),
    ] {
        assert_eq!(others.get(&(call.to_owned(), file.clone())), Some(&count), "{call} {file}: {others:#?}");
    }
    let into_pipe = |(call, file): &(String, String)| call == "splice" && file.starts_with("pipe:[");
    let pipes = others.iter().filter(|(of, _)| into_pipe(of)).map(|(_, count)| count);
    assert_eq!(pipes.sum::<u64>(), 47, "{others:#?}");
}

//! What cannot be observed is said clearly: the exit code of its kind, one line with what was tried on what and why it
//! failed, one hint. Never an empty report that looks like a healthy process.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::account;
use support::compile::Build;
use support::observer::{NOBODY, Observer, Outcome, program, public_copy};
use support::workload::{PATIENCE, Workload, wait};
use support::{Moments, process};
use testbed::skip;

/// How long profiler may take to end after a signal, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

fn observe(pid: u32, arguments: &[&str]) -> Outcome {
    Observer::start("memleak", pid, arguments).finish(PATIENCE)
}

fn idle() -> Workload {
    Workload::spawn::<&str>(&Build::c("idle.c").build(), &[])
}

#[test]
fn no_such_process() {
    let Some(_live) = support::live() else { return };
    let mut gone = Command::new("true").spawn().unwrap();
    let pid = gone.id();
    gone.wait().unwrap();
    observe(pid, &[]).assert_error(4, &[&pid.to_string()]);
}

#[test]
fn no_process_of_that_name() {
    let Some(_live) = support::live() else { return };
    let outcome = Observer::spawn(&["memleak", "--name", "no-such-server-*"]).finish(PATIENCE);
    outcome.assert_error(4, &["no-such-server-*"]);
}

/// Alive, but not to be observed: the kernel attaches to a process by the memory of its first thread.
#[test]
fn a_process_whose_first_thread_has_ended() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn::<&str>(&Build::c("first_ends.c").build(), &[]);
    let stat = format!("/proc/{}/stat", target.pid());
    let begun = Instant::now();
    // The other thread sees the end before the state changes.
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        assert!(begun.elapsed() < PATIENCE, "its first thread does not end");
        std::thread::yield_now();
    }
    observe(target.pid(), &[]).assert_error(4, &["its first thread has ended while 1 other goes on"]);
    target.quit();
}

#[test]
fn a_kernel_thread() {
    let Some(_live) = support::live() else { return };
    let Some(pid) = process::kernel_thread() else {
        return skip::skip("this pid namespace shows no kernel thread");
    };
    observe(pid, &[]).assert_error(4, &[&pid.to_string(), "kernel thread"]);
}

#[test]
fn not_root() {
    let (_folder, copy) = public_copy(&program());
    let target = idle();
    let mut command = Command::new(copy);
    command.args(["memleak", "--pid", &target.pid_argument()]);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Observer::spawn_command(command).finish(PATIENCE).assert_error(4, &[]);
    target.quit();
}

#[test]
fn a_go_program() {
    let Some(_live) = support::live() else { return };
    let Some(build) = Build::go("hello.go") else { return skip::skip("go is not installed") };
    let target = Workload::spawn::<&str>(&build.build(), &[]);
    observe(target.pid(), &[]).assert_error(4, &["Go"]);
    target.quit();
}

#[test]
fn a_32_bit_program() {
    let Some(_live) = support::live() else { return };
    let build = Build::plain_c("idle.c").named("idle32").flags(&["-m32", "-O1", "-D_FILE_OFFSET_BITS=64"]);
    let target = Workload::spawn::<&str>(&build.build(), &[]);
    observe(target.pid(), &[]).assert_error(4, &["32"]);
    target.quit();
}

#[test]
fn no_allocator() {
    let Some(_live) = support::live() else { return };
    let build = Build::plain_c("bare.c").flags(&["-O1", "-nostdlib", "-static", "-ffreestanding"]);
    let target = Workload::spawn::<&str>(&build.build(), &[]);
    observe(target.pid(), &[]).assert_error(4, &["alloc"]);
    target.quit();
}

/// A name that is in no file of the target: said before anything is attached.
#[test]
fn no_such_function() {
    let Some(_live) = support::live() else { return };
    let target = idle();
    let functions = ["--alloc-fn", "pool_grab:size=arg1,ptr=ret", "--free-fn", "pool_put:ptr=arg0"];
    observe(target.pid(), &functions).assert_error(4, &["pool_grab"]);
    target.quit();
}

/// The target's file may be executed but not read, not even by this root: CAP_DAC_OVERRIDE is gone.
#[test]
fn an_unreadable_binary() {
    let Some(_live) = support::live() else { return };
    let (_folder, copy) = public_copy(&Build::c("idle.c").flags(&["-static"]).build());
    std::os::unix::fs::chown(&copy, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o111)).unwrap();
    let mut command = Command::new(&copy);
    command.uid(NOBODY).gid(NOBODY);
    let target = Workload::spawn_command(command);
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search").arg(program());
    command.args(["memleak", "--pid", &target.pid_argument()]);
    Observer::spawn_command(command).finish(PATIENCE).assert_error(4, &["permission denied"]);
    target.quit();
}

/// More live blocks than the table holds: the report is there, says that it is not complete and what to do, and gives
/// no verdict; the exit code says so too.
#[test]
fn a_map_that_is_too_small() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("books.c").build(), &["--wait", "--ops", "100003"]);
    let observer = Observer::attach("memleak", target.pid(), &["--max-blocks", "1000"]);
    target.run();
    let report = observer.interrupt().report(6);
    account::assert_all_accounted(&report);
    assert!(account::outcome(&report, "alloc_return", "lost_map_full") > 0);
    assert_eq!(report["coverage"]["complete"], false);
    let why = report["coverage"]["incomplete_because"].to_string();
    assert!(why.contains("--max-blocks"), "no way out is named: {why}");
    for row in account::list(account::stacks_section(&report), "rows") {
        assert!(!row.to_string().contains("LEAK"), "a verdict that rests on lost data: {row}");
    }
    target.quit();
}

/// At once, not after half an hour of observation.
#[test]
fn an_output_that_cannot_be_written() {
    let Some(_live) = support::live() else { return };
    let target = idle();
    for file in ["/no-such-directory/report.json", "/proc/report.json", "/tmp"] {
        let outcome = observe(target.pid(), &["-o", file]);
        if file == "/tmp" {
            // The format is wrong too: either of the two may be reported first.
            assert!(matches!(outcome.status.code(), Some(2 | 7)), "{}: {}", outcome.status, outcome.stderr);
            continue;
        }
        outcome.assert_error(7, &[file]);
        assert!(!outcome.stderr.contains("attached"), "it attached first:\n{}", outcome.stderr);
        assert!(outcome.took < Duration::from_secs(2), "it took {:?}", outcome.took);
    }
    target.quit();
}

/// As with `| head -1`: the reader of stdout is gone when the report comes, which is not a failure.
#[test]
fn stdout_is_closed() {
    let Some(_live) = support::live() else { return };
    let mut target = idle();
    let shell = format!("{} memleak --pid {} --for 300ms 2>&3 | true", program().display(), target.pid());
    let mut command = Command::new("bash");
    // The exit code of profiler, not of the pipe's end; its stderr, not the shell's.
    command.args(["-c", &format!("exec 3>&2; {shell}; exit ${{PIPESTATUS[0]}}")]);
    let outcome = Observer::spawn_command(command).finish(PATIENCE);
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("error"), "{}", outcome.stderr);
    process::assert_code_unchanged(target.pid());
    assert!(target.lives());
    target.quit();
}

/// A race by design. Either way there is a report or one clear message, never a hang and never an empty result.
#[test]
fn target_gone_during_attach() {
    let Some(_live) = support::live() else { return };
    let rounds = if support::soak() { 1000 } else { 40 };
    let mut moments = Moments::new(0x5EED_0003);
    for round in 0..rounds {
        let mut target = idle();
        let observer = Observer::start("memleak", target.pid(), &[]);
        sleep(moments.within_ms(120));
        target.kill();
        let outcome = observer.finish(Duration::from_secs(10));
        match outcome.status.code() {
            Some(0) => account::assert_all_accounted(&outcome.json()),
            Some(4) => outcome.assert_error(4, &[&target.pid_argument()]),
            other => panic!("round {round}: {other:?}, {}:\n{}", outcome.status, outcome.stderr),
        }
    }
}

/// Ctrl-C at any moment of the start, and what must hold for each: nothing is left in the target, the end comes at once, and
/// - before profiler can catch it, the signal itself ends it, as it ends any program;
/// - before everything is attached: exit code 130, one message, no report;
/// - once everything is attached: a report in which every hit is accounted for.
#[test]
fn interrupted_at_once() {
    let Some(_live) = support::live() else { return };
    let mut target = idle();
    let mut before_anything = 0;
    for delay_ms in [None, None, None, None, Some(0), Some(5), Some(20), Some(60)] {
        let observer = Observer::start("memleak", target.pid(), &[]);
        match delay_ms {
            Some(delay_ms) => sleep(Duration::from_millis(delay_ms)),
            None => observer.wait_until_it_catches(Signal::INT),
        }
        observer.signal(Signal::INT);
        let outcome = observer.finish(AT_ONCE);
        let (status, stderr) = (outcome.status, &outcome.stderr);
        let attached = stderr.lines().any(|line| line.starts_with("attached:"));
        match (status.code(), attached) {
            (Some(0), true) => account::assert_all_accounted(&outcome.json()),
            (Some(130), false) => {
                before_anything += 1;
                assert!(outcome.stdout.is_empty(), "{delay_ms:?} ms: a report of nothing:\n{stderr}");
                let messages = stderr.lines().filter(|line| line.contains("before anything was measured"));
                assert_eq!(messages.count(), 1, "{delay_ms:?} ms:\n{stderr}");
            }
            (None, false) => {
                // Once it catches the signal, it must not die of it.
                assert!(delay_ms.is_some(), "it catches the signal and dies of it:\n{stderr}");
                assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{delay_ms:?} ms:\n{stderr}");
                assert!(outcome.stdout.is_empty() && stderr.is_empty(), "{delay_ms:?} ms:\n{stderr}");
            }
            _ => panic!("{delay_ms:?} ms, attached: {attached}: {status}:\n{stderr}"),
        }
        process::assert_code_unchanged(target.pid());
        assert!(target.lives(), "{delay_ms:?} ms");
    }
    assert!(before_anything > 0, "the signal always came too late");
    target.quit();
}

/// Names come from whoever wrote the target. None of their control characters reaches an output raw.
#[test]
fn a_hostile_name() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let hostile = folder.path().join("x\u{1b}[31m\n<b>\u{202e}&\"");
    fs::copy(Build::c("idle.c").build(), &hostile).unwrap();
    let target = Workload::spawn(&hostile, &["--leak-every", "3"]);
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let files = ["r.json", "r.svg", "r.folded", "r.txt"].map(file);
    let mut arguments =
        ["memleak", "--max-cost", "off", "--pid", &target.pid_argument()].map(str::to_owned).to_vec();
    arguments.extend(files.iter().flat_map(|file| ["-o".to_owned(), file.clone()]));
    let mut observer = Observer::spawn(&arguments);
    observer.wait_attached();
    sleep(Duration::from_millis(300));
    let outcome = observer.interrupt();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    let mut outputs = vec![("stdout", outcome.text()), ("stderr", outcome.stderr.clone())];
    for file in &files {
        outputs.push((file, fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"))));
    }
    for (name, text) in outputs {
        let raw = text.chars().find(|c| (c.is_control() && !"\n\t".contains(*c)) || *c == '\u{202e}');
        assert_eq!(raw, None, "a control character in {name}");
        if name.ends_with(".svg") {
            assert!(!text.contains("<b>"), "markup from the target in {name}");
        }
    }
    target.quit();
}

/// A wrong command line, as any other file on it that is not there.
#[test]
fn a_command_that_cannot_be_started() {
    let Some(_live) = support::live() else { return };
    let outcome = Observer::spawn(&["memleak", "--", "/no/such/server"]).finish(PATIENCE);
    outcome.assert_error(2, &["/no/such/server"]);
}

/// In a pid namespace the exec that starts the command would not be noticed: never an empty report instead.
#[test]
fn a_command_inside_a_container() {
    let Some(_live) = support::live() else { return };
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]).arg(program()).args(["memleak", "--", "true"]);
    Observer::spawn_command(command).finish(PATIENCE).assert_error(4, &["pid namespace"]);
}

/// The command's exit code is in the report and does not become that of profiler, whose exit codes have meanings of their own.
#[test]
fn a_command_that_fails() {
    let Some(_live) = support::live() else { return };
    let outcome =
        Observer::spawn(&["memleak", "--format", "json", "--", "sh", "-c", "exit 3"]).finish(PATIENCE);
    let report = outcome.report(0);
    let ended = report["meta"]["targets"][0]["ended"].as_str().unwrap_or_default().to_owned();
    assert!(ended.contains('3'), "how it ended: `{ended}`");
}

/// An error must not leave the child that `-- COMMAND` started.
#[test]
fn a_refused_command_is_not_left_running() {
    let Some(_live) = support::live() else { return };
    let build = Build::plain_c("bare.c").flags(&["-O1", "-nostdlib", "-static", "-ffreestanding"]);
    let mut command = Command::new(program());
    command.args(["memleak", "--"]).arg(build.build()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Its stdin stays open, so the command would wait for ever.
    let stdin = child.stdin.take();
    let status = wait(&mut child, PATIENCE);
    drop(stdin);
    assert_eq!(status.expect("profiler waits for a command that it refused").code(), Some(4));
}

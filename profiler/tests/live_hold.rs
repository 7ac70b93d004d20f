//! A command is stopped at its first call until its mappings are known: once, for a moment, and never for good.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::compile::Build;
use support::observer::{Observer, Outcome};
use support::workload::{PATIENCE, send};

/// Longest time for which a command may be stopped, on a machine that does other work.
const LONGEST: Duration = Duration::from_millis(500);
/// For so long it is watched after it went on.
const AFTERWARDS: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(1);

fn program() -> PathBuf {
    Build::c("held.c").flags(&["-ldl"]).build()
}

/// Starts `profiler memleak --format json OPTIONS -- held WAY`.
fn launch(options: &[&str], way: &[&str]) -> Observer {
    let program = program();
    let command = ["--", program.to_str().expect("UTF-8")];
    Observer::spawn(
        &[&["memleak", "--max-cost", "off", "--format", "json"][..], options, &command, way].concat(),
    )
}

fn number(line: &str) -> u32 {
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// State of a process, as in `/proc/PID/stat`; `None` if it is gone.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_stopped(pid: u32) -> bool {
    state(pid) == Some('T')
}

/// Waits for a state of a process.
#[track_caller]
fn expect(pid: u32, what: &str, is_so: impl Fn(Option<char>) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so(state(pid)) {
        assert!(Instant::now() < deadline, "process {pid} is {:?}, and not {what}", state(pid));
        std::thread::sleep(PAUSE);
    }
}

#[track_caller]
fn expect_end(pid: u32) {
    expect(pid, "gone", |state| state.is_none_or(|state| matches!(state, 'Z' | 'X')));
}

/// The longest time for which a process was seen stopped, until it is `over` or is stopped for as long as that.
fn longest_stop(pid: u32, over: impl Fn() -> bool) -> Duration {
    let (mut longest, mut since) = (Duration::ZERO, None);
    let deadline = Instant::now() + PATIENCE;
    while !over() && Instant::now() < deadline && longest <= LONGEST {
        match (is_stopped(pid), since) {
            (true, None) => since = Some(Instant::now()),
            (true, Some(begun)) => longest = longest.max(begun.elapsed()),
            (false, _) => since = None,
        }
        std::thread::sleep(PAUSE);
    }
    longest
}

/// Runs a command until it has gone on for a while: how often it was woken.
#[track_caller]
fn woken(options: &[&str], way: &[&str]) -> u32 {
    let mut observer = launch(options, way);
    let pid = number(&observer.expect_line("pid "));
    let over = AtomicBool::new(false);
    let (woken, longest) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| longest_stop(pid, || over.load(Ordering::Relaxed)));
        let woken = number(&observer.expect_line("woken "));
        over.store(true, Ordering::Relaxed);
        (woken, watch.join().expect("to watch"))
    });
    assert!(longest <= LONGEST, "it was stopped for {longest:?}");
    let until = Instant::now() + AFTERWARDS;
    assert_eq!(longest_stop(pid, || Instant::now() >= until), Duration::ZERO, "it is stopped again");
    let outcome = observer.interrupt();
    if options.contains(&"--leave-running") {
        send(pid, Signal::KILL);
    }
    outcome.report_of_any_code();
    expect_end(pid);
    woken
}

impl Outcome {
    /// The report of a run that ended well, whatever it found.
    fn report_of_any_code(&self) {
        assert!(self.status.code().is_some_and(|code| [0, 1, 6].contains(&code)), "{}", self.stderr);
        self.json();
    }
}

/// The call at which the command is stopped records no stack.
#[test]
fn a_first_call_that_is_not_drawn() {
    let Some(_live) = support::live() else { return };
    assert_eq!(woken(&["--sample-bytes", "1MiB"], &[]), 1);
}

/// All of them find the hold that one of them claims.
#[test]
fn many_threads_whose_first_calls_come_together() {
    let Some(_live) = support::live() else { return };
    for _ in 0..2 {
        assert_eq!(woken(&["--sample-bytes", "1MiB"], &["threads"]), 1);
    }
    assert_eq!(woken(&[], &["threads"]), 1);
}

#[test]
fn children_that_call_first() {
    let Some(_live) = support::live() else { return };
    assert_eq!(woken(&[], &["forks"]), 1);
}

/// The targets are looked at again before the first call, which loads a library.
#[test]
fn a_start_that_takes_longer_than_a_second() {
    let Some(_live) = support::live() else { return };
    assert_eq!(woken(&[], &["late"]), 1);
}

#[test]
fn a_command_that_is_left_running_is_neither_stopped_nor_woken() {
    let Some(_live) = support::live() else { return };
    assert_eq!(woken(&["--leave-running"], &[]), 0);
}

/// A command that is stopped, and a profiler that is, too, so that nothing wakes it.
fn held_by(options: &[&str], way: &[&str]) -> (Observer, u32) {
    let mut observer = launch(options, way);
    let pid = number(&observer.expect_line("pid "));
    observer.signal(Signal::STOP);
    expect(pid, "stopped", |state| state == Some('T'));
    (observer, pid)
}

/// Whether it listens to SIGTERM or not, and whatever group it is in.
#[test]
fn a_profiler_that_is_killed_leaves_nothing_stopped() {
    let Some(_live) = support::live() else { return };
    for way in [&["late"][..], &["late", "deaf"], &["late", "leaves"]] {
        let (observer, pid) = held_by(&["--grace", "200ms"], way);
        observer.kill();
        expect_end(pid);
    }
}

/// The command runs during its grace time: it is continued so that it gets the signal, and again if it was stopped meanwhile.
#[test]
fn a_command_that_stops_when_it_is_asked_to_end() {
    let Some(_live) = support::live() else { return };
    let script = "trap 'kill -STOP $$; exit 0' TERM; echo pid $$ >&2; while :; do sleep 0.05; done";
    let mut observer = Observer::spawn(&["memleak", "--grace", "1h", "--", "sh", "-c", script]);
    let pid = number(&observer.expect_line("pid "));
    observer.kill();
    expect_end(pid);
}

/// Both find a command that waits: it goes on, is asked to end, and the report is written.
#[test]
fn an_interrupt_and_the_end_of_the_time_wake_a_stopped_command() {
    let Some(_live) = support::live() else { return };
    for (way, options, interrupt) in [
        (&["late"][..], &["--grace", "1h"][..], true),
        (&["late"], &["--grace", "1h", "--for", "1s"], false),
        (&["late", "leaves"], &["--grace", "1h", "--for", "1s"], false),
    ] {
        let (observer, pid) = held_by(options, way);
        if interrupt {
            observer.signal(Signal::INT);
        }
        observer.signal(Signal::CONT);
        observer.finish(PATIENCE).report_of_any_code();
        expect_end(pid);
    }
}

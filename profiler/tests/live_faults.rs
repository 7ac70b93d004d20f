//! memleak does no harm, and reports nothing false, when things go wrong: profiler killed at any moment, targets killed,
//! replaced, forking, storming, leaving probed functions in other ways than by returning.

mod support;

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::account;
use support::compile::Build;
use support::kernel::{self, Feature};
use support::observer::Observer;
use support::process;
use support::workload::{PATIENCE, Workload};
use support::{Moments, by_length, remark};

const POOL: [&str; 4] = ["--alloc-fn", "pool_get:size=arg1,ptr=ret", "--free-fn", "pool_put:ptr=arg0"];

/// Killed while it attaches, observes or detaches: the target runs on, its code is as before, and the kernel holds
/// nothing of profiler's any more.
#[test]
fn profiler_killed_at_random_moments() {
    let Some(_live) = support::live() else { return };
    let rounds = by_length(4, 20, 200);
    let mut target = Workload::spawn(&Build::c("tick.c").build(), &["--leak-every", "1000"]);
    let mut moments = Moments::new(0x5EED_0001);
    let (mut ever_changed, mut leaks) = (false, 0);
    // Into the attaching and beyond, however long it takes on this machine.
    let begun = Instant::now();
    assert_eq!(Observer::attach("memleak", target.pid(), &[]).interrupt().status.code(), Some(0));
    let bound_ms = u64::try_from(begun.elapsed().as_millis()).unwrap().max(400) * 5 / 4;
    for round in 0..rounds {
        let observer = if round == 0 {
            // Once certainly while it observes.
            Observer::attach("memleak", target.pid(), &[])
        } else {
            let observer = Observer::start("memleak", target.pid(), &[]);
            sleep(moments.within_ms(bound_ms));
            observer
        };
        if round % 4 == 3 {
            // Into the detaching.
            observer.signal(Signal::INT);
            sleep(moments.within_ms(150));
        }
        // Stopped first, so that it opens nothing more.
        observer.signal(Signal::STOP);
        sleep(Duration::from_millis(2));
        let objects = process::bpf_objects_of(observer.pid());
        ever_changed |= !process::changed_code(target.pid()).is_empty();
        let leaked_before = process::leaked_probes();
        observer.kill();
        assert!(target.lives(), "round {round}: the target died");
        process::assert_bpf_objects_gone(&objects);
        let leaked = process::leaked_probes() - leaked_before;
        if leaked == 0 {
            process::assert_code_unchanged(target.pid());
            continue;
        }
        // Nothing that we could do. The target runs on, with breakpoints that do nothing.
        remark(&format!("round {round}: the kernel leaked {leaked} probes of a profiler that was killed"));
        leaks += 1;
        assert!(leaks <= 1 + rounds / 10, "the kernel does so now and then, not {leaks} times in {round}");
        target.quit();
        target = Workload::spawn(&Build::c("tick.c").build(), &["--leak-every", "1000"]);
    }
    // Else the checks above prove nothing.
    assert!(ever_changed, "in no round was a probe seen in the target's code");
    target.quit();
}

/// A normal end leaves nothing behind either.
#[test]
fn nothing_is_left_after_a_normal_end() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("tick.c").build(), &["--allocs", "50"]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    let objects = process::bpf_objects_of(observer.pid());
    assert!(objects.iter().any(|(kind, _)| kind == "prog_id"), "profiler holds no program: {objects:?}");
    process::assert_bpf_objects_exist(&objects);
    assert!(!process::changed_code(target.pid()).is_empty(), "attached, and no probe in the target's code");
    account::assert_nothing_lost(&observer.interrupt().report(0));
    process::assert_code_unchanged(target.pid());
    process::assert_bpf_objects_gone(&objects);
    assert!(target.lives());
    target.quit();
}

/// The end comes between the call of a realloc and its return, on both threads more often than not: what it had taken over
/// is not lost, which would void the verdict.
#[test]
fn the_end_cuts_no_realloc_short() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("grow.c").build(), &["--what", "5"]);
    target.run();
    for round in 0..by_length(1, 2, 50) {
        for method in [&[][..], &["--method", "perf"]] {
            let observer = Observer::attach("memleak", target.pid(), &[&["--for", "100ms"], method].concat());
            let report = observer.finish(PATIENCE).report(0);
            account::assert_all_accounted(&report);
            assert_eq!(account::quality(&report, "lost_old_block"), 0, "round {round}, {method:?}");
            assert!(account::outcome(&report, "alloc_return", "recorded") > 0, "round {round}, {method:?}");
        }
    }
    target.quit();
}

/// Killed while observed: profiler stops by itself, at once, with a whole report that says how the target ended.
#[test]
fn target_killed_at_random_moments() {
    let Some(_live) = support::live() else { return };
    let rounds = by_length(3, 20, 100);
    let program = Build::c("loop.c").build();
    let mut moments = Moments::new(0x5EED_0002);
    for round in 0..rounds {
        let arguments = ["--threads", "2", "--pairs-per-s", "20000", "--seconds", "60"];
        let mut target = Workload::spawn(&program, &arguments);
        target.say("go");
        let observer = Observer::attach("memleak", target.pid(), &[]);
        sleep(moments.within_ms(300));
        target.kill();
        let outcome = observer.finish(Duration::from_secs(5));
        let report = outcome.report(0);
        account::assert_all_accounted(&report);
        assert_eq!(report["meta"]["ended"], "targets_gone", "round {round}");
        assert_ended(&report, "signal 9");
    }
}

/// The exit code of the target is reported, and its books were complete when it ended.
#[test]
fn target_exits_while_observed() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("forks.c").build(), &["--children", "3"]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    let books = target.run();
    let pid = target.pid();
    target.quit();
    let report = observer.finish(Duration::from_secs(5)).report(0);
    account::assert_books(&report, pid, &books);
    assert_ended(&report, "exit code 0");
}

/// Asserts that the report says how the target ended, if that can be known: these targets are collected at once.
#[track_caller]
fn assert_ended(report: &serde_json::Value, how: &str) {
    let ended = report["meta"]["targets"][0]["ended"].as_str().unwrap_or_default();
    let unknown = ended == "ended" && !kernel::has(Feature::EndOfCollected);
    assert!(unknown || ended.contains(how), "how it ended: `{ended}`");
}

/// The old program's books are exact, its names are the old ones, and the new program's calls are not put on them.
#[test]
fn target_replaces_itself() {
    replaced(false);
}

/// The same, while profiler does not get to run: what it reads of the process afterwards is the new program's.
#[test]
fn target_replaces_itself_unnoticed() {
    replaced(true);
}

fn replaced(unnoticed: bool) {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn::<&str>(&Build::c("exec.c").build(), &[]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    if unnoticed {
        observer.signal(Signal::STOP);
        // This does not wait for anything: the mappings that profiler has read must be so old that it reads them again.
        sleep(Duration::from_millis(150));
    }
    target.say("allocate");
    let old = target.books();
    target.say("go");
    let new = target.books();
    if unnoticed {
        observer.signal(Signal::CONT);
    }
    let report = observer.interrupt().report(0);
    account::assert_all_accounted(&report);
    let reported = account::from_report(&report, target.pid());
    let (old, new) = (account::from_books(&old), account::from_books(&new));
    assert_eq!(reported["site_old_program"], old["site_old_program"]);
    if let Some(found) = reported.get("site_new_program") {
        assert_eq!(*found, new["site_new_program"]);
    }
    assert!(format!("{}", report["meta"]["targets"]).contains("exec"), "the report is silent about the exec");
    target.quit();
}

#[test]
fn children_that_allocate_and_exit() {
    let Some(_live) = support::live() else { return };
    let children = by_length("53", "503", "10007");
    assert_exact(&Build::c("forks.c"), &["--children", children], &[]);
}

#[test]
fn a_thread_storm() {
    let Some(_live) = support::live() else { return };
    let threads = by_length("1009", "10007", "100003");
    assert_exact(&Build::c("threads.c"), &["--threads", threads, "--mallocs", "7"], &[]);
}

#[test]
fn a_library_that_comes_and_goes() {
    let Some(_live) = support::live() else { return };
    let plugin = Build::c("dl_plugin.c").named("dl_plugin.so").flags(&["-shared", "-fPIC"]).build();
    let cycles = by_length("53", "211", "1009");
    assert_exact(&Build::c("dl.c"), &["--library", plugin.to_str().unwrap(), "--cycles", cycles], &[]);
}

/// A signal handler jumps out of the allocation function, again and again: those calls are abandoned and counted as such, and
/// the calls of the same thread after them are exact.
#[test]
fn longjmp_out_of_a_probed_function() {
    let Some(_live) = support::live() else { return };
    let rounds: u64 = by_length(53, 503, 503);
    let report = assert_exact(&Build::c("longjmp.c"), &["--rounds", &rounds.to_string()], &POOL);
    assert_eq!(account::quality(&report, "abandoned"), rounds);
}

/// A return probe on a function that throws ends the process: the C++ unwinder cannot pass the probe's trampoline. So
/// profiler either observes such a function without one, exactly, or refuses it. The target lives in any case.
#[test]
fn an_exception_through_a_probed_function() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::cpp("throw.cpp").build(), &["--rounds", "503"]);
    let mut arguments = vec!["memleak", "--max-cost", "off", "--format", "json", "--pid"];
    let pid = target.pid_argument();
    arguments.push(&pid);
    arguments.extend(POOL);
    let mut observer = Observer::spawn(&arguments);
    let attached = observer.attached_or_ended();
    let books = target.run();
    let outcome = observer.interrupt();
    if attached {
        account::assert_books(&outcome.report(0), target.pid(), &books);
    } else {
        outcome.assert_error(4, &["pool_get", "exception"]);
    }
    target.quit();
}

/// The allocator's own `operator new` throws when it fails, in jemalloc, tcmalloc and mimalloc alike. Without sessions it
/// is not followed, and the report says so.
#[test]
fn an_exception_out_of_operator_new() {
    let Some(_live) = support::live() else { return };
    let build = |library| Build::cpp("books.cpp").link(&["-Wl,--no-as-needed", library]).build();
    for (library, program) in ["-ljemalloc", "-ltcmalloc_minimal"].map(|library| (library, build(library))) {
        let mut target = Workload::spawn(&program, &["--wait", "--ops", "20011"]);
        let observer = Observer::attach("memleak", target.pid(), &[]);
        let books = target.run();
        assert!(books["failed_calls"].as_u64().unwrap() > 20, "{library}: nothing was thrown");
        account::assert_books_unless_new_is_left_out(&observer.interrupt().report(0), target.pid(), &books);
        target.quit();
    }
}

/// An `operator new` of the program itself throws whenever it likes, not only when the machine has no memory: it is
/// followed without a return probe, on every kernel.
#[test]
fn an_exception_out_of_a_programs_own_operator_new() {
    let Some(_live) = support::live() else { return };
    assert_exact(&Build::cpp("own_new.cpp"), &["--rounds", "503"], &[]);
}

/// A return probe that needs a system call of its own dies under a filter that does not know it. The checksum is the
/// one that the same run has without an observer.
#[test]
fn a_seccomp_filter() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("seccomp.c").build();
    let mut alone = Workload::spawn(&program, &["--ops", "20011"]);
    alone.say("go");
    let checksum = alone.expect_line("checksum", PATIENCE);
    alone.quit();

    let mut target = Workload::spawn(&program, &["--ops", "20011"]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("go");
    let books = target.books();
    assert_eq!(target.expect_line("checksum", PATIENCE), checksum);
    let report = observer.interrupt().report(0);
    account::assert_books(&report, target.pid(), &books);
    target.quit();
}

/// A stopped target does not answer; attaching, observing and detaching work all the same, and it can go on.
#[test]
fn a_stopped_target() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn::<&str>(&Build::c("idle.c").build(), &[]);
    target.signal(Signal::STOP);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    sleep(Duration::from_millis(200));
    account::assert_nothing_lost(&observer.interrupt().report(0));
    target.signal(Signal::CONT);
    assert!(target.lives());
    target.quit();
}

/// Observes one run of a workload and asserts that it is exact. Returns the report.
#[track_caller]
fn assert_exact(build: &Build, workload: &[&str], arguments: &[&str]) -> serde_json::Value {
    let mut target = Workload::spawn(&build.build(), workload);
    let observer = Observer::attach("memleak", target.pid(), arguments);
    let books = target.run();
    let report = observer.interrupt().report(0);
    account::assert_books(&report, target.pid(), &books);
    target.quit();
    report
}

//! What is not in sight is said, and passes no gate: children that a target only waits for, what a command leaves behind,
//! and calls that a coarse sampling has left out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::account;
use support::cgroup::Group;
use support::compile::Build;
use support::observer::{Observer, program};
use support::workload::{PATIENCE, Workload, send};

/// The rule and the text of the first finding.
fn first(report: &Value) -> (&str, &str) {
    let finding = &report["findings"][0];
    (finding["rule"].as_str().unwrap(), finding["text"].as_str().unwrap())
}

/// The number behind `(pid ` in what follows `name`.
fn pid_of(name: &str, text: &str) -> u32 {
    let (_, rest) =
        text.split_once(&format!("{name} (pid ")).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split([',', ')']).next().unwrap().parse().unwrap()
}

/// The shell of `sh -c 'server & wait'` leaks nothing, and nothing is known of the server.
#[test]
fn a_command_that_only_waits_for_its_child_does_not_pass_a_gate() {
    let Some(_live) = support::live_beside_others() else { return };
    let options = ["memleak", "--format", "json", "--gate", "--older", "200ms", "--for", "1s"];
    let report = Observer::spawn(&[&options[..], &["--", "sh", "-c", "sleep 1000; true"]].concat())
        .finish(PATIENCE)
        .report(3);
    let (rule, text) = first(&report);
    assert_eq!((rule, &report["verdict"]["word"]), ("memleak.children", &"children".into()), "{text}");
    assert!(text.starts_with("sh (pid ") && text.contains("only waits for its child sleep (pid "), "{text}");
    // That process has ended with the observation.
    assert!(!text.contains("--pid 1") && text.contains("`exec`"), "{text}");
}

#[test]
fn a_process_that_only_waits_for_its_child_says_what_to_observe() {
    let Some(_live) = support::live_beside_others() else { return };
    let target = Workload::spawn("sh".as_ref(), &["-c", "echo READY; sleep 1000; true"]);
    let report =
        Observer::attach("memleak", target.pid(), &["--gate", "--for", "1s"]).finish(PATIENCE).report(3);
    let (rule, text) = first(&report);
    let child = pid_of("its child sleep", text);
    send(child, Signal::KILL);
    assert_eq!(rule, "memleak.nothing_seen");
    assert!(text.starts_with("No allocation was seen in 1s: sh (pid "), "{text}");
    assert!(text.ends_with(&format!("not observed. Observe it: --pid {child}")), "{text}");
}

/// What did not run was not observed. First line, verdict and gate say the same.
#[test]
fn a_stopped_target_is_not_called_free_of_leaks() {
    let Some(_live) = support::live_beside_others() else { return };
    let program = Build::c("leaks.c").build();
    let [stays, goes_on, leaks] = [&["calm", "10"][..], &["calm", "10"], &["bursts", "1", "10"]]
        .map(|arguments| Workload::spawn(&program, arguments));
    let options = ["--gate", "--older", "1s", "--for", "12s"];
    let [of_stays, of_goes_on, of_leaks] =
        [&stays, &goes_on, &leaks].map(|target| Observer::attach("memleak", target.pid(), &options));
    sleep(Duration::from_millis(5000));
    for target in [&stays, &goes_on, &leaks] {
        target.signal(Signal::STOP);
    }
    sleep(Duration::from_millis(1200));
    goes_on.signal(Signal::CONT);

    let report = of_stays.finish(PATIENCE).report(3);
    let (rule, text) = first(&report);
    assert_eq!((rule, &report["verdict"]["word"]), ("memleak.halted", &"halted".into()), "{text}");
    let expected = format!("Undecided: leaks (pid {}) is stopped, so it allocates nothing.", stays.pid());
    assert!(
        text.starts_with(&expected)
            && text.contains("It was observed for ")
            && text.ends_with(" of 12s only.")
            && !text.contains("for 12s"),
        "{text}"
    );
    assert!(!report["findings"].to_string().contains("No leak found"), "{}", report["findings"]);

    let report = of_goes_on.finish(PATIENCE).report(3);
    let (rule, text) = first(&report);
    assert_eq!(rule, "memleak.halted", "{text}");
    let expected = format!("Undecided: leaks (pid {}) was stopped for at least ", goes_on.pid());
    assert!(text.starts_with(&expected), "{text}");
    assert!(!report["findings"].to_string().contains("No leak found"), "{}", report["findings"]);

    // Proved by what was seen before, with ages of that time.
    let report = of_leaks.finish(PATIENCE).report(1);
    let (rule, text) = first(&report);
    assert_eq!(rule, "memleak.leak", "{text}");
    assert!(text.contains(" of what got older than ") && !text.contains(" in 12s"), "{text}");
    assert_eq!(report["findings"][1]["rule"], "memleak.halted", "{}", report["findings"]);
    for target in [stays, goes_on, leaks] {
        target.signal(Signal::CONT);
    }
}

/// As `systemctl freeze` and `docker pause` do it: the state of the process is that of one that sleeps.
#[test]
fn a_frozen_target_is_not_called_free_of_leaks() {
    let Some(_live) = support::live_beside_others() else { return };
    let program = Build::c("leaks.c").build();
    let [mut calm, mut leaks] =
        [&["calm", "10"][..], &["bursts", "1", "10"]].map(|arguments| Workload::spawn(&program, arguments));
    let group = Group::of(&[&calm, &leaks]);
    let options = ["--gate", "--older", "1s", "--for", "9s"];
    let [of_calm, of_leaks] =
        [&calm, &leaks].map(|target| Observer::attach("memleak", target.pid(), &options));
    sleep(Duration::from_millis(5000));
    group.freeze("1");

    let report = of_calm.finish(PATIENCE).report(3);
    let (rule, text) = first(&report);
    assert_eq!(rule, "memleak.halted", "{text}");
    let expected = format!("Undecided: leaks (pid {}) is frozen with its control group ", calm.pid());
    assert!(text.starts_with(&expected) && text.ends_with(" of 9s only."), "{text}");
    let report = of_leaks.finish(PATIENCE).report(1);
    assert_eq!(first(&report).0, "memleak.leak", "{}", report["findings"]);
    assert_eq!(report["findings"][1]["rule"], "memleak.halted", "{}", report["findings"]);
    group.freeze("0");
    calm.kill();
    leaks.kill();
    group.end();
}

/// What leaks does not only wait, however little it does.
#[test]
fn a_target_that_leaks_is_not_reported_as_waiting_for_its_child() {
    let Some(_live) = support::live_beside_others() else { return };
    let script = format!("sleep 1000 & exec {} bursts 1 10", Build::c("leaks.c").build().display());
    let options =
        ["memleak", "--format", "json", "--older", "200ms", "--for", "2s", "--", "sh", "-c", &script];
    let report = Observer::spawn(&options).finish(PATIENCE).report(0);
    let (rule, text) = first(&report);
    assert_eq!(rule, "memleak.leak", "{text}");
    let all = report["findings"].to_string();
    assert!(!all.contains("only waits for") && all.contains(" has the child sleep (pid "), "{all}");
}

/// Beside a target that allocates, it is the one that is said to wait, and not both.
#[test]
fn of_several_targets_only_the_idle_one_is_reported_as_idle() {
    let Some(_live) = support::live_beside_others() else { return };
    let honest = Workload::spawn(&Build::c("leaks.c").build(), &["calm", "10"]);
    let target = Workload::spawn("sh".as_ref(), &["-c", "echo READY; sleep 1000; true"]);
    let other = honest.pid_argument();
    let options = ["--pid", &other, "--gate", "--older", "200ms", "--for", "1s"];
    let report = Observer::attach("memleak", target.pid(), &options).finish(PATIENCE).report(3);
    let (rule, text) = first(&report);
    send(pid_of("its child sleep", text), Signal::KILL);
    assert_eq!(rule, "memleak.children");
    assert!(
        text.starts_with(&format!("sh (pid {}) only waits for its child sleep (pid ", target.pid())),
        "{text}"
    );
    let about_all = report["findings"].to_string();
    assert!(
        !about_all.contains("he targets only wait") && about_all.contains("No leak found"),
        "{about_all}"
    );
}

/// One of several targets becomes another program while it is attached to, or just after. Whichever it is: that program is
/// observed from then on, or it is said that nothing is seen of it, which passes no gate.
#[test]
fn one_of_several_targets_that_execs_is_observed_again_or_reported() {
    let Some(_live) = support::live_beside_others() else { return };
    let program = Build::c("leaks.c").build();
    let script = format!("echo READY; read go; exec {} calm 10", program.display());
    let honest = Workload::spawn(&program, &["calm", "10"]);
    let other = honest.pid_argument();
    let mut moments = support::Moments::new(0x5EED_0009);
    for round in 0..support::by_length(4, 6, 40) {
        let mut target = Workload::spawn("sh".as_ref(), &["-c", &script]);
        let options = ["--pid", &other, "--gate", "--older", "200ms", "--for", "1s"];
        let mut observer = Observer::start("memleak", target.pid(), &options);
        if round % 2 == 0 {
            observer.wait_attached();
        } else {
            sleep(moments.within_ms(300));
        }
        target.say("go");
        let outcome = observer.finish(PATIENCE);
        let report = outcome.json();
        let targets = report["meta"]["targets"].as_array().unwrap();
        let its = |of: &&Value| of["pid"] == target.pid();
        let is_anew = |of: &Value| of["ended"].is_null() && of["exe"] == program.to_str().unwrap();
        let unobserved = format!("(pid {}) goes on, and nothing is seen of it", target.pid());
        let rules: Vec<&str> =
            account::list(&report, "findings").iter().map(|of| of["rule"].as_str().unwrap()).collect();
        if report["findings"].to_string().contains(&unobserved) {
            assert_eq!(outcome.status.code(), Some(3), "{}", report["findings"]);
            assert_eq!(rules[0], "memleak.unobserved", "{}", report["findings"]);
        } else {
            assert!(targets.iter().filter(its).any(is_anew), "{:#}", report["meta"]["targets"]);
            assert!([Some(0), Some(3)].contains(&outcome.status.code()), "{}", report["findings"]);
        }
        account::assert_nothing_lost(&report);
        assert!(target.lives());
        target.kill();
    }
}

/// Beside another target, too, of which everything is known.
#[test]
fn a_target_that_becomes_a_program_without_an_allocator_does_not_pass_a_gate() {
    let Some(_live) = support::live_beside_others() else { return };
    let build = Build::plain_c("bare.c").flags(&["-O1", "-nostdlib", "-static", "-ffreestanding"]);
    let script = format!("echo READY; read go; exec {}", build.build().display());
    let honest = Workload::spawn(&Build::c("leaks.c").build(), &["calm", "10"]);
    for others in [vec![], vec!["--pid".to_owned(), honest.pid().to_string()]] {
        let mut target = Workload::spawn("sh".as_ref(), &["-c", &script]);
        let mut options: Vec<&str> = others.iter().map(String::as_str).collect();
        options.extend(["--gate", "--older", "200ms", "--for", "2s"]);
        let observer = Observer::attach("memleak", target.pid(), &options);
        target.say("go");
        let report = observer.finish(PATIENCE).report(3);
        let (rule, text) = first(&report);
        assert_eq!(rule, "memleak.unobserved", "{text}");
        let words = format!("(pid {}) goes on, and nothing is seen of it: ", target.pid());
        assert!(text.contains(&words) && text.contains("defines malloc"), "{text}");
        target.kill();
    }
}

/// Itself, or a script that starts one and ends, with the environment of the script or with none.
#[test]
fn a_command_that_becomes_a_daemon_is_reported_as_running() {
    let Some(_live) = support::live_beside_others() else { return };
    let program = Build::c("daemon.c").build();
    let program = program.to_str().unwrap();
    let [script, bare] = ["", "env -i "].map(|start| format!("{start}{program} && exit 0"));
    for command in [&[program][..], &["sh", "-c", &script], &["sh", "-c", &bare]] {
        let options = ["memleak", "--format", "json", "--gate", "--"];
        let outcome = Observer::spawn(&[&options[..], command].concat()).finish(PATIENCE);
        let report = outcome.report(3);
        let (rule, text) = first(&report);
        let child = pid_of("not observed: daemon", text);
        send(child, Signal::KILL);
        // It has a process group of its own and is not asked to end; the report says so.
        assert!(!outcome.stderr.contains("is asked to end"), "{}", outcome.stderr);
        let goes_on = format!("daemon (pid {child}) left the process group of the command, and goes on");
        assert!(outcome.stderr.contains(&goes_on), "{}", outcome.stderr);
        assert_eq!(rule, "memleak.children");
        let words = [" has ended, and what it started goes on", "stays in the foreground"];
        assert!(words.iter().all(|words| text.contains(words)), "{text}");
        assert!(text.ends_with(&format!("or observe it: --pid {child}")), "{text}");
    }
}

/// What somebody else starts meanwhile, of the same program, in a session of its own and with the same environment, has a
/// parent that lives: ours.
#[test]
fn a_program_that_others_start_is_not_left_behind() {
    let Some(_live) = support::live_beside_others() else { return };
    let mut observer =
        Observer::spawn(&["memleak", "--format", "json", "--", "sh", "-c", "echo begun >&2; sleep 0.5"]);
    observer.expect_line("begun");
    let other = Workload::spawn("setsid".as_ref(), &["sh", "-c", "echo READY; read quit"]);
    let report = observer.finish(PATIENCE).report(0);
    let text = report["findings"].to_string();
    assert!(!text.contains("goes on"), "{text}");
    drop(other);
}

/// Two of a few calls prove nothing, and none of a few does not either.
#[test]
fn a_sample_without_blocks_decides_nothing() {
    let Some(_live) = support::live_beside_others() else { return };
    let mut target = Workload::spawn(&Build::c("grow.c").build(), &["--what", "0", "--mib", "1"]);
    let observer = Observer::attach("memleak", target.pid(), &["--gate", "--sample-bytes", "1TiB"]);
    target.run();
    let report = observer.interrupt().report(3);
    target.quit();
    let (rule, text) = first(&report);
    assert_eq!(account::outcome(&report, "alloc_entry", "sampled_out"), 9);
    assert_eq!(rule, "memleak.undecided");
    assert!(text.contains("--sample-bytes 1TiB is too coarse: it has drawn none of 9 calls"), "{text}");
}

/// What a command has done by children that are gone is known only until it is collected itself.
#[test]
fn a_command_whose_children_did_the_work_says_so_when_it_has_ended() {
    let Some(_live) = support::live_beside_others() else { return };
    let work = "for child in 1 2 3 4; do (i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done); done; true";
    let report =
        Observer::spawn(&["memleak", "--format", "json", "--", "sh", "-c", work]).finish(PATIENCE).report(0);
    let text = report["findings"].to_string();
    assert!(text.contains("Children of the target that have ended used"), "{text}");
}

/// A target whose parent collects it at once cannot be asked when it has ended: what its children did is known from before.
#[test]
fn the_work_of_ended_children_is_known_when_their_parent_has_ended_too() {
    let Some(_live) = support::live_beside_others() else { return };
    // Some seconds of work: with probes on malloc each step takes longer.
    let memleak = ("memleak", &["--gate", "--older", "200ms"][..], 4_000);
    for (tool, options, steps) in [memleak, ("syscalls", &["--gate"], 50_000)] {
        let work = format!(
            "read go; for a in 1 2 3 4 5 6 7 8 9; do for b in 1 2 3 4 5 6 7 8 9; do \
             (i=0; while [ $i -lt {steps} ]; do i=$((i+1)); done); done; done"
        );
        let parent = format!("exec 3<&0; sh -c '{work}' <&3 & echo $!; wait");
        let mut shell = Command::new("sh");
        let mut shell =
            shell.args(["-c", &parent]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        let observer = Observer::attach(tool, pid.trim().parse().unwrap(), options);
        shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let report = observer.finish(PATIENCE).report(3);
        shell.wait().unwrap();
        let text = report["findings"].to_string();
        assert!(text.contains("Children of the target that have ended"), "{tool}: {text}");
    }
}

/// A child that has ended by the time of the report may have leaked all that there was: its parent only waited for it.
#[test]
fn a_command_whose_ended_child_filled_memory_does_not_pass_a_gate() {
    let Some(_live) = support::live_beside_others() else { return };
    let program = Build::c("waits.c").build();
    for (work, code) in [("leaks", 3), ("works", 0)] {
        let options = ["memleak", "--format", "json", "--gate", "--older", "200ms", "--"];
        let command = [program.to_str().unwrap(), work];
        let report = Observer::spawn(&[&options[..], &command].concat()).finish(PATIENCE).report(code);
        let (rule, text) = first(&report);
        if work == "leaks" {
            assert_eq!(rule, "memleak.children", "{text}");
            let words = ["Children of the target that have ended used", "what they allocated was not seen"];
            assert!(words.iter().all(|words| text.contains(words)), "{text}");
        } else {
            assert_eq!(rule, "memleak.clean", "{text}");
        }
        account::assert_nothing_lost(&report);
    }
}

/// The probes come and go one after the other, and releases are seen for longer than allocations are: these are of blocks that
/// nobody saw begin, not of memory from before. The target never holds more than 64 blocks.
#[test]
fn releases_during_attaching_do_not_count_as_memory_from_before() {
    let Some(_live) = support::live_beside_others() else { return };
    let arguments = ["--threads", "1", "--pairs-per-s", "200000", "--seconds", "60"];
    let mut target = Workload::spawn(&Build::c("loop.c").build(), &arguments);
    target.say("go");
    let report = Observer::attach("memleak", target.pid(), &["--for", "1s"]).finish(PATIENCE).report(0);
    target.kill();
    let text = report["coverage"]["before_attach"].as_str().unwrap();
    let freed = text.split_once("; up to ").map_or("0", |(_, rest)| rest.split(' ').next().unwrap());
    assert!(freed.parse::<u64>().is_ok_and(|freed| freed <= 64), "{text}");
}

#[test]
fn quiet_is_obeyed_with_verbose() {
    let Some(_live) = support::live_beside_others() else { return };
    let said = |options: &[&str]| {
        let command = ["memleak", "--", "true"];
        let output = Command::new(program()).args(options).args(command).output().unwrap();
        String::from_utf8(output.stderr).unwrap().matches("DEBUG").count()
    };
    assert!(said(&["-vv"]) > 0);
    assert_eq!(said(&["-q", "-vv"]), 0);
}

/// A worker of the same name ends while it is observed, as at a reload: its parent is told all that it has used, also before.
#[test]
fn an_observed_child_that_ends_is_not_called_unseen() {
    let Some(_live) = support::live_beside_others() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("a-reloader");
    std::fs::copy("/bin/sh", &program).unwrap();
    let worker = "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done; echo READY; read go <&3";
    let parent = format!("exec 3<&0; ({worker}) & wait $!; echo DONE; read quit");
    let mut target = Workload::spawn(&program, &["-c", &parent]);
    let mut observer = Observer::spawn(&["syscalls", "--format", "json", "--name", "a-reloader"]);
    observer.wait_attached();
    target.say("go");
    target.expect_line("DONE", PATIENCE);
    let report = observer.interrupt().report(0);
    let findings = account::list(&report, "findings");
    assert!(findings.iter().all(|finding| finding["rule"] != "syscalls.children"), "{findings:#?}");
    target.say("quit");
    target.quit();
}

//! `profiler doctor` with few rights: without root, with wrong arguments, with no reader of its output. It always
//! answers.

mod support;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use profiler::doctor::{Answer, Diagnosis, Readiness};
use support::observer::{NOBODY, Observer, Outcome, program, public_copy};
use support::pty::Terminal;
use support::workload::PATIENCE;

fn doctor(arguments: &[&str]) -> Outcome {
    Observer::spawn(&[&["doctor"], arguments].concat()).finish(PATIENCE)
}

/// As a user without any rights.
fn doctor_of_nobody(arguments: &[&str]) -> Outcome {
    let (_folder, copy) = public_copy(&program());
    let mut command = Command::new(copy);
    command.arg("doctor").args(arguments);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Observer::spawn_command(command).finish(PATIENCE)
}

fn read(outcome: &Outcome) -> Diagnosis {
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {}", outcome.text()))
}

#[test]
fn without_root_it_says_what_is_missing_and_what_it_cannot_tell() {
    let outcome = doctor_of_nobody(&[]);
    assert_eq!(outcome.status.code(), Some(4), "{}", outcome.stderr);
    let text = outcome.text();
    assert!(text.starts_with("NOT READY: root: effective user id "), "{text}");
    assert!(text.contains("           $ sudo profiler doctor\n"), "{text}");
    assert!(text.contains("  ?    uprobe_multi        trying takes privileges that are missing\n"), "{text}");
    let long = text.lines().find(|line| line.chars().count() > 80);
    assert_eq!(long, None);
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
}

#[test]
fn without_root_the_json_says_the_same() {
    let outcome = doctor_of_nobody(&["--format", "json"]);
    assert_eq!(outcome.status.code(), Some(4), "{}", outcome.stderr);
    let diagnosis = read(&outcome);
    assert_eq!(diagnosis.verdict.readiness, Readiness::NotReady);
    let check = |name: &str| diagnosis.checks.iter().find(|check| check.name == name).expect(name);
    assert_eq!(check("root").answer, Answer::No);
    let untried = check("ring_buffer");
    assert_eq!(untried.answer, Answer::CannotTell);
    assert_eq!(untried.fix.as_deref(), Some("sudo profiler doctor"));
    assert!(diagnosis.cost.is_none() && diagnosis.cost_unknown.is_some());
    assert!(!diagnosis.tools.is_empty());
    for tool in &diagnosis.tools {
        assert_eq!(tool.answer, Answer::CannotTell, "{tool:?}");
        assert!(!tool.sees.is_empty() && !tool.cannot_see.is_empty(), "{}", tool.name);
    }
}

/// A process whose files it may read is described: finding out what would be probed needs no privileges.
#[test]
fn without_root_an_own_process_is_described() {
    let (_folder, copy) = public_copy(&program());
    let mut command = Command::new("sh");
    command.args(["-c", "\"$0\" doctor --format json --pid $$; true"]).arg(copy);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let diagnosis = read(&Observer::spawn_command(command).finish(PATIENCE));
    let target = diagnosis.target.expect("a target");
    assert!(target.code.expect("its code").files >= 1);
    let sites = &diagnosis.tools[0].sites;
    assert!(sites.iter().any(|site| site.function.terminal() == "malloc"), "{sites:?}");
}

#[test]
fn a_process_that_is_gone() {
    let mut gone = Command::new("true").spawn().unwrap();
    let pid = gone.id().to_string();
    gone.wait().unwrap();
    for format in ["human", "json"] {
        doctor(&["--format", format, "--pid", &pid]).assert_error(4, &[&pid, "no such process"]);
    }
}

#[test]
fn arguments_that_are_wrong() {
    for (arguments, words) in [
        (&["--pid", "0"][..], &["--pid"][..]),
        (&["--pid", "x"], &["--pid"]),
        (&["--format", "svg"], &["human", "json"]),
        (&["4242"], &["4242"]),
    ] {
        let outcome = doctor(arguments);
        assert_eq!(outcome.status.code(), Some(2), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stdout.is_empty());
        for word in words {
            assert!(outcome.stderr.contains(word), "{arguments:?}: {}", outcome.stderr);
        }
    }
}

/// As with `| head -1`, when that is fast: the reader is gone, which is not a failure.
#[test]
fn nobody_reads_it() {
    let mut child = Command::new(program())
        .arg("doctor")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("to run profiler");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("to run profiler");
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_first_line_stands_alone() {
    let shell = format!("{} doctor | head -1", program().display());
    let output = Command::new("sh").args(["-c", &shell]).output().expect("to run a shell");
    let line = String::from_utf8_lossy(&output.stdout);
    assert!(line.starts_with("READY") || line.starts_with("NOT READY: "), "{line}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

/// Passed checks are counted, and the answer is repeated as the last line if the page is longer than the screen.
#[test]
fn the_answer_is_first_and_last_and_passed_checks_need_verbose() {
    let mut command = Command::new(program());
    command.args(["doctor", "--no-count"]).env("LC_ALL", "C.UTF-8");
    let mut terminal = Terminal::start(command, "xterm", 80, 10);
    assert!(matches!(terminal.finish().code(), Some(0 | 4)), "{}", terminal.screen());
    let last = terminal.screen().trim_end().lines().last().unwrap_or_default().trim_end().to_owned();
    let brief = doctor(&["--no-count"]).text().to_owned();
    assert!(last.starts_with("READY") || last.starts_with("NOT READY: "), "{last}");
    assert!(brief.starts_with(&last), "{last}: {brief}");
    let whole = doctor(&["--no-count", "--verbose"]).text().to_owned();
    assert!(brief.contains("--verbose shows each") && !brief.contains("types (BTF)"), "{brief}");
    assert!(
        whole.contains("  yes  types (BTF)         ") && !whole.contains("--verbose shows each"),
        "{whole}"
    );
}

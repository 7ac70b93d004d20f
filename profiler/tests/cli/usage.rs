//! Usage errors: one line with the error, and one with a hint.

use std::process::{Command, Output};

use testbed::place;

use super::{NO_PROCESS, profiler, text};

/// The error line and the hint for a command line that is wrong.
fn said(line: &str) -> (String, String) {
    errors(&profiler(&line.split(' ').collect::<Vec<_>>()))
}

fn errors(output: &Output) -> (String, String) {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let mut lines = text(&output.stderr).lines().map(str::to_owned);
    let (error, hint) = (lines.next().expect("an error"), lines.next().expect("a hint"));
    assert_eq!(lines.next(), None, "{error}");
    (error, hint.strip_prefix("hint: ").expect(&hint).to_owned())
}

#[test]
fn typing_errors_get_a_suggestion() {
    for (line, hint) in [
        ("memleak --pdi 1", "did you mean `--pid`?"),
        ("memleak --oldr 30m", "did you mean `--older`?"),
        ("memleak --sample 1k", "did you mean `--sample-bytes`?"),
        ("memleak --outptu x.json", "did you mean `--output`?"),
        ("memleak --outptu=x.json", "did you mean `--output`?"),
        ("doctor --pdi 1", "did you mean `--pid`?"),
        ("report x.json --tpo 3", "did you mean `--top`?"),
        ("memlaek --pid 1", "did you mean `memleak`?"),
        ("memleak --pid 1 --colour", "see `profiler memleak --help`"),
        ("--versoin", "did you mean `--version`?"),
    ] {
        assert_eq!(said(line).1, hint, "{line}");
    }
}

#[test]
fn hidden_commands_are_in_no_hint() {
    let commands = "the commands are memleak, syscalls, disk, sockets, doctor, report, help";
    for line in ["floor", "flor", "__flor", "tables", "walks", "walk", "help floor", "-v"] {
        assert_eq!(said(line).1, commands, "{line}");
    }
    assert_eq!(errors(&profiler(&[])), ("error: no command was given".to_owned(), commands.to_owned()));
    for line in ["memleak --plcement first", "memleak --metod perf"] {
        assert_eq!(said(line).1, "see `profiler memleak --help`", "{line}");
    }
}

#[test]
fn a_stray_word_gets_a_hint_for_what_it_may_be() {
    for (line, hint) in [
        ("memleak 4242", "to observe process 4242: --pid 4242"),
        ("doctor 4242", "to observe process 4242: --pid 4242"),
        ("memleak redis-server", "to observe what runs: --name redis-server; to start it: -- redis-server"),
        ("memleak ./pong", "to observe what runs: --name pong; to start it: -- ./pong"),
        ("memleak /srv/game/", "to observe what runs: --name game; to start it: -- /srv/game/"),
        ("memleak --sample-bytes 512 KiB", "write a size as one word: 512KiB"),
        ("report a.json b.json", "give one report at a time"),
        ("report - -", "give one report at a time"),
        ("memleak --older -30m", "no option takes a value below 0, such as -30m"),
    ] {
        assert_eq!(said(line).1, hint, "{line}");
    }
}

#[test]
fn a_wrong_value_comes_with_the_possible_ones() {
    assert_eq!(said("doctor --format xml").1, "possible values: human, json");
    let (cause, _) = said("memleak --pid 12,x");
    assert_eq!(
        cause,
        "error: invalid value '12,x' for '--pid <PID>...': 'x' is not a process id, which is a whole number from 1 on"
    );
    for (line, option) in [
        ("memleak --name ", "--name <GLOB>"),
        ("memleak --name=", "--name <GLOB>"),
        ("memleak --cgroup ", "--cgroup <PATH>"),
        ("memleak --user  -- true", "--user <NAME>"),
        ("report x --match ", "--match <PATTERN>"),
    ] {
        let hint = "is a shell variable in it unset?".to_owned();
        assert_eq!(said(line), (format!("error: the value of '{option}' is empty"), hint));
    }
    assert_eq!(said("memleak --name").1, "see `profiler memleak --help`");
    assert_eq!(said("doctor --format ").1, "possible values: human, json");
    assert_eq!(
        said("report x --top -1").0,
        "error: invalid value '-1' for '--top <N>': it takes a whole number from 0 to 4294967295"
    );
    assert_eq!(said("flor").0, "error: there is no command 'flor'");
}

/// Also without root: the limits are checked first.
#[test]
fn limits_that_are_too_low_are_refused_at_once() {
    for (limit, hint) in [("ulimit -n 6", "ulimit -n 256"), ("ulimit -v 300000", "ulimit -v unlimited")] {
        for tool in ["syscalls", "memleak"] {
            let script = format!(r#"{limit}; exec "$0" {tool} {NO_PROCESS}"#);
            let output = Command::new("sh").arg("-c").arg(script).arg(place::program("profiler")).output();
            let output = output.expect("to run profiler");
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{limit}, {tool}: {}\n{stderr}", output.status);
            assert!(stderr.contains(hint), "{limit}, {tool}:\n{stderr}");
        }
    }
}

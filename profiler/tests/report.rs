//! `profiler report` on a recorded report: with the requested width, characters and rows. No root.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::observer::program;
use support::pty::Terminal;
use testbed::place;

/// A report of 60 rows.
fn recorded() -> PathBuf {
    place::package().join("tests/fixtures/reports/many.json")
}

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program());
    for name in ["COLUMNS", "TERM", "LC_ALL", "LC_CTYPE", "LANG", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.arg("report").arg(recorded()).args(arguments).envs(environment.iter().copied());
    command
}

fn piped(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(arguments, environment).output().expect("to run profiler")
}

#[track_caller]
fn text(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

/// The functions of the rows of the table.
fn functions(text: &str) -> Vec<&str> {
    let rows =
        text.lines().filter(|line| ["  LEAK  ", "  CACHE ", "  LONG-"].iter().any(|v| line.starts_with(v)));
    let rows = rows.take_while(|line| !line.contains("live > 30m"));
    rows.filter_map(|line| line.split_whitespace().nth(1)).collect()
}

/// Schema 1 was the first.
#[test]
fn a_report_of_the_first_schema_is_the_same_page_as_one_of_today() {
    let old = place::package().join("tests/fixtures/reports/schema-1.json");
    let schema = |path: &Path| {
        let json = std::fs::read(path).expect("to read the fixture");
        serde_json::from_slice::<serde_json::Value>(&json).expect("JSON")["schema"].as_u64()
    };
    assert_eq!((schema(&old), schema(&recorded())), (Some(1), Some(2)));
    for arguments in [&["--verbose"][..], &["--format", "json"], &["--format", "folded"]] {
        let output = Command::new(program()).arg("report").arg(&old).args(arguments).output();
        let page = text(output.expect("to run profiler"));
        assert_eq!(page, text(piped(arguments, &[])), "{arguments:?}");
    }
}

#[test]
fn a_pipe_is_as_wide_as_columns_says() {
    let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    let default = text(piped(&[], &[]));
    assert!((70..=80).contains(&widest(&default)), "{default}");
    assert_eq!(text(piped(&[], &[("COLUMNS", "80")])), default);
    let wide = text(piped(&[], &[("COLUMNS", "120")]));
    assert!((100..=120).contains(&widest(&wide)), "{wide}");
    let narrow = text(piped(&[], &[("COLUMNS", "60")]));
    assert!(widest(&narrow) <= 60, "{narrow}");
}

#[test]
fn a_locale_without_other_characters_gets_ascii() {
    assert!(!text(piped(&[], &[("LC_ALL", "C.UTF-8")])).is_ascii());
    for locale in [("LC_ALL", "C"), ("LANG", "POSIX")] {
        let plain = text(piped(&[], &[locale]));
        assert!(plain.is_ascii(), "{plain}");
        assert!(plain.lines().all(|line| line.len() <= 80), "{plain}");
    }
    // For programs it is UTF-8, whatever the locale is.
    assert_eq!(
        text(piped(&["--format", "json"], &[("LC_ALL", "C")])),
        text(piped(&["--format", "json"], &[]))
    );
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let mut terminal = Terminal::start(command(&[], &[("LC_ALL", "C.UTF-8")]), "dumb", 80, 24);
    assert_eq!(terminal.finish().code(), Some(0));
    let strange = terminal.raw.iter().find(|byte| !(b' '..=b'~').contains(*byte) && !b"\r\n".contains(*byte));
    assert_eq!(strange, None, "{}", String::from_utf8_lossy(&terminal.raw));
}

#[test]
fn the_answer_is_also_the_last_line_on_the_screen() {
    let mut terminal = Terminal::start(command(&[], &[("LC_ALL", "C.UTF-8")]), "xterm", 80, 24);
    assert_eq!(terminal.finish().code(), Some(0));
    let screen = terminal.screen();
    let lines: Vec<&str> = screen.trim_end().lines().rev().take(2).collect();
    assert_eq!(
        lines.iter().rev().map(|line| line.trim()).collect::<Vec<_>>().join(" "),
        "LEAK: 1 of 214 call stacks keeps every block it allocates: chat::History::push grows by 549 MiB/h and holds \
         412 MiB that are older than 30m."
    );
    assert!(terminal.scrolled() > 20, "{screen}");
    let mut tall = Terminal::start(command(&[], &[("LC_ALL", "C.UTF-8")]), "xterm", 80, 200);
    assert_eq!(tall.finish().code(), Some(0));
    assert_eq!(tall.screen().matches("LEAK: 1 of 214").count(), 1, "{}", tall.screen());
    assert_eq!(text(piped(&[], &[])).matches("LEAK: 1 of 214").count(), 1);
}

#[test]
fn rows_are_chosen_by_pattern_and_size() {
    let all = functions(&text(piped(&["--top", "100"], &[]))).len();
    assert_eq!(all, 60);
    let found = text(piped(&["--match", "cache_4"], &[]));
    assert_eq!(functions(&found), ["cache_41"], "{found}");
    assert!(found.contains("  1 of 60 rows: --match 'cache_4'\n"), "{found}");
    let by_frame = text(piped(&["--match", "room::*TICK", "--top", "100"], &[]));
    assert_eq!(functions(&by_frame).len(), 6, "{by_frame}");
    let large = text(piped(&["--min-bytes", "140MiB", "--top", "100"], &[]));
    assert_eq!(functions(&large).len(), 30, "six that leak, and 24 others: {large}");
    let json = text(piped(&["--match", "cache_*1", "--format", "json"], &[]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["sections"][0]["rows"].as_array().unwrap().len(), 6);
    assert!(!text(piped(&["--match", "cache_1", "--format", "folded"], &[])).contains("History"));
}

#[test]
fn rows_are_sorted_by_name_or_title_of_a_column() {
    let by_name = text(piped(&["--sort", "function", "--top", "2"], &[]));
    assert_eq!(functions(&by_name), ["cache_1", "cache_11"], "{by_name}");
    let by_title = text(piped(&["--sort", "freed late/h", "--top", "1"], &[]));
    assert_eq!(functions(&by_title), ["cache_1"], "{by_title}");
    let output = piped(&["--sort", "weight"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("hint: the columns are verdict, function, old_bytes"), "{stderr}");
}

/// A report that was made with a gate is shown without one, and with a file that cannot be written: the words fit the code.
#[test]
fn the_message_of_the_gate_fits_the_exit_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let gated = directory.path().join("gated.json");
    let made = piped(&["--gate", "-o", gated.to_str().expect("a path in UTF-8")], &[]);
    assert_eq!(made.status.code(), Some(1));
    let decision = |page: &str, start: &str| {
        let line = page.lines().find(|line| line.starts_with(start)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {start} in {page}"))
    };
    let made = decision(&String::from_utf8_lossy(&made.stdout), "Gate failed: ");
    assert!(made.contains("found") && !made.contains("exit code"), "{made}");
    let shown = Command::new(program()).arg("report").arg(&gated).env("NO_COLOR", "1").output();
    let shown = shown.expect("to run profiler");
    assert_eq!(shown.status.code(), Some(0));
    let shown = text(shown);
    assert_eq!(decision(&shown, "When recorded: gate"), made.replace("Gate", "When recorded: gate"));
    assert!(!shown.contains("\nGate "), "{shown}");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 0 && exec \"$0\" report \"$1\" --gate -o \"$2\""]);
    let run = shell.arg(program()).arg(&gated).arg(directory.path().join("again.json")).output();
    let run = run.expect("to run sh");
    assert_eq!(run.status.code(), Some(7));
    assert_eq!(decision(&String::from_utf8_lossy(&run.stdout), "Gate failed: "), made);
}

/// A report may come through a pipe: from standard input, from `<(...)`, or from a FIFO.
#[test]
fn a_report_that_comes_through_a_pipe() {
    let whole = text(piped(&[], &[]));
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("fifo");
    for script in [
        "cat \"$1\" | \"$0\" report -",
        "\"$0\" report - < \"$1\"",
        "\"$0\" report <(cat \"$1\")",
        "mkfifo \"$2\" && { cat \"$1\" > \"$2\" & \"$0\" report \"$2\"; }",
    ] {
        let mut shell = Command::new("bash");
        shell.args(["-c", script]).arg(program()).arg(recorded()).arg(&fifo).env_clear();
        shell.env("PATH", "/usr/bin:/bin");
        assert_eq!(text(shell.output().expect("to run bash")), whole, "{script}");
    }
    let mut shell = Command::new("bash");
    shell.args(["-c", "false | \"$0\" report -"]).arg(program());
    let run = shell.output().expect("to run bash");
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(6), "{stderr}");
    assert!(
        stderr.starts_with("error: tried to read the report from standard input: it is empty\n"),
        "{stderr}"
    );
}

#[test]
fn a_report_is_not_read_from_a_terminal() {
    let mut command = Command::new(program());
    command.args(["report", "-"]);
    let mut terminal = Terminal::start(command, "xterm", 80, 24);
    assert_eq!(terminal.finish().code(), Some(2));
    assert!(terminal.screen().contains("from standard input: it is a terminal"), "{}", terminal.screen());
}

/// What is read, and what standard output goes to, is not written over.
#[test]
fn outputs_do_not_overwrite_files_that_are_needed() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().canonicalize().expect("its path");
    let (leak, known) = (directory.join("leak.json"), directory.join("known.txt"));
    std::fs::copy(recorded(), &leak).expect("to copy the report");
    std::fs::write(&known, "*::push\n").expect("to write a file");
    let before = std::fs::read(&leak).expect("to read the report");
    for (script, why) in [
        ("\"$0\" report leak.json --top 1 -o leak.json", "it is the report that is read"),
        ("\"$0\" report leak.json -o new.svg -o ./leak.json", "it is the report that is read"),
        ("\"$0\" report - -o leak.json < leak.json", "it is the report that is read"),
        (
            "\"$0\" report leak.json --gate --known known.txt -o known.txt",
            "it is the file of known leaks (--known)",
        ),
        ("\"$0\" report leak.json -o out.txt > out.txt", "standard output goes there, too"),
    ] {
        let mut shell = Command::new("bash");
        let run = shell.args(["-c", script]).arg(program()).current_dir(&directory).output();
        let run = run.expect("to run bash");
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{script}: {stderr}");
        assert!(stderr.contains(why) && run.stdout.is_empty(), "{script}: {stderr}");
        assert!(std::fs::read(&leak).expect("to read the report") == before, "{script}");
        assert_eq!(std::fs::read_to_string(&known).expect("to read the file"), "*::push\n");
        assert!(!directory.join("new.svg").exists());
    }
}

#[test]
fn an_output_that_is_named_twice_is_written_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let again = directory.path().join("again.json");
    let again = again.to_str().expect("a path in UTF-8");
    let json = text(piped(&["--format", "json", "-o", "-", "-o", again, "-o", again], &[]));
    assert!(json == text(piped(&["--format", "json"], &[])));
    assert!(std::fs::read_to_string(again).expect("to read the file") == json);
}

/// As on a phone: text is broken at spaces, and the table keeps the columns that people act on.
#[test]
fn a_narrow_screen_is_readable() {
    let mut terminal = Terminal::start(command(&[], &[("LC_ALL", "C.UTF-8")]), "xterm", 40, 200);
    assert_eq!(terminal.finish().code(), Some(0));
    let screen = terminal.screen();
    let first: Vec<&str> = screen.lines().take(4).map(str::trim_end).collect();
    assert_eq!(
        first,
        [
            "LEAK: 1 of 214 call stacks keeps every",
            "block it allocates: chat::History::push",
            "grows by 549 MiB/h and holds 412 MiB",
            "that are older than 30m."
        ]
    );
    assert!(screen.contains("Verdict         30m     Live  Growth/h"), "{screen}");
    assert!(screen.contains("no room for: Survive 30m, Freed late/h"), "{screen}");
    assert!(screen.contains("      chat::History::push  …/room.rs:41"), "{screen}");
    assert!(
        text(piped(&[], &[("COLUMNS", "40")])).lines().all(|line| line.chars().count() <= 40),
        "{screen}"
    );
}

//! Recorded reports in other forms, and where results go.

use super::*;

/// As with `| head -3`: the reader is gone.
#[test]
fn a_closed_pipe_is_not_a_failure() {
    for arguments in ["--help", "doctor", "__tables /bin/true"] {
        let shell =
            format!("{} {arguments} | true; exit ${{PIPESTATUS[0]}}", place::program("profiler").display());
        let output = Command::new("bash").args(["-c", &shell]).output().unwrap();
        let stderr = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 4)) && stderr.is_empty(), "{arguments}: {stderr}");
    }
}

/// Help and version must work where stdout is full; they fail as an output does.
#[test]
fn a_full_stdout() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(place::program("profiler")).arg("--help").stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(7));
}

/// The report that `docs/report-format.md` shows: one leak, of 1 GiB/h.
fn recorded(directory: &std::path::Path) -> String {
    let page = place::checkout().join("docs/report-format.md");
    let page = std::fs::read_to_string(page).expect("to read the documentation");
    let example =
        page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let path = directory.join("leak.json");
    std::fs::write(&path, example).expect("to write a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn a_recorded_leak_fails_a_gate_unless_it_is_known() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = recorded(directory.path());
    let known = directory.path().join("known.txt");
    std::fs::write(&known, "*::push   # ticket 4711\n").expect("to write a file");
    let known = known.to_str().expect("a path in UTF-8");
    for (more, code, said) in [
        (&[][..], 0, "LEAK: chat::History::push keeps every block."),
        (&["--gate"], 1, "Gate failed: 1 problem found."),
        (&["--gate", "--known", known], 0, "Excused: chat::History::push: it is known"),
    ] {
        let output = profiler(&[&["report", &report][..], more].concat());
        let page = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{more:?}: {page}");
        assert!(page.contains(said) && page.starts_with("LEAK: "), "{more:?}: {page}");
    }
}

#[test]
fn known_leaks_need_a_gate_and_a_file() {
    assert_usage_error(&["memleak", NO_PROCESS, "--user", "nobody"], &["--user", "--pid"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--known", "x"], &["--gate"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--gate-above", "1MiB/h"], &["--gate"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--gate", "--gate-above", "1MiB"], &["1MiB/h"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--gate", "--known", "/no/such/file"], &["/no/such/file"]);
}

#[test]
fn a_recorded_report_as_lines() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = recorded(directory.path());
    let lines = directory.path().join("leak.jsonl");
    let lines = lines.to_str().expect("a path in UTF-8");
    let output = profiler(&["report", &report, "--format", "jsonl", "-o", lines]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(lines).expect("to read the file"), output.stdout);
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON");
    let lines: Vec<_> = text(&output.stdout).lines().map(parse).collect();
    assert_eq!((&lines[0]["kind"], &lines[0]["verdict"]["word"]), (&"report".into(), &"leak".into()));
    assert_eq!((&lines[1]["kind"], &lines[1]["rule"]), (&"finding".into(), &"memleak.leak".into()));
    assert_eq!(
        (&lines[2]["function"], &lines[2]["live_bytes"]),
        (&"chat::History::push".into(), &432_013_312.into())
    );
    assert_eq!(lines[2]["stack"], serde_json::json!(["chat::History::push src/chat.rs:41"]));
}

#[test]
fn a_recorded_report_as_comma_separated_values() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = recorded(directory.path());
    let table = directory.path().join("leak.csv");
    let table = table.to_str().expect("a path in UTF-8");
    let output = profiler(&["report", &report, "--section", "stacks", "--format", "csv", "-o", table]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(table).expect("to read the file"), output.stdout);
    assert_eq!(
        text(&output.stdout),
        "length_ms,verdict,function,live_bytes,survival_ratio,survival_low_ratio,survival_high_ratio,stack_id,stack\n\
         2700000,LEAK,chat::History::push,432013312,1,0.999,1,9edbb4e0de7a4e4f,chat::History::push src/chat.rs:41\n"
    );
    let output = profiler(&["report", &report, "--section", "site"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the sections are stacks"), "{}", text(&output.stderr));
}

/// SIGXFSZ would end profiler in the middle of a file.
#[test]
fn a_file_beyond_the_limit_of_sizes_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = recorded(directory.path());
    let output = directory.path().join("again.json");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 0 && exec \"$0\" report \"$1\" -o \"$2\""]);
    let run = shell.arg(place::program("profiler")).arg(&report).arg(&output).output().expect("to run sh");
    let stderr = text(&run.stderr);
    assert_eq!(run.status.code(), Some(7), "{}: {stderr}", run.status);
    assert!(stderr.contains("again.json") && stderr.contains("ulimit -f"), "{stderr}");
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["leak.json"], "a part is left behind");
}

/// As with `>&-`: what is written goes to `/dev/null`, where the runtime leads it.
#[test]
fn a_closed_stdout_is_not_a_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = recorded(directory.path());
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" report \"$1\" >&-"]).arg(place::program("profiler")).arg(&report);
    let run = shell.output().expect("to run sh");
    assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""));
}

/// As with `| head -1`: the code is the one that a reader of the whole output would have got.
#[test]
fn a_pipe_without_a_reader_does_not_change_the_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = recorded(directory.path());
    for (arguments, code) in
        [(&[][..], 0), (&["--gate"], 1), (&["--format", "json"], 0), (&["--top", "x"], 2)]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(place::program("profiler"));
        command.arg("report").arg(&report).args(arguments).stdout(writer);
        let run = command.stderr(std::process::Stdio::piped()).output().expect("to run profiler");
        assert_eq!(run.status.code(), Some(code), "{arguments:?}: {}", text(&run.stderr));
        assert_eq!(run.stderr.is_empty(), code != 2, "{arguments:?}: {}", text(&run.stderr));
    }
}

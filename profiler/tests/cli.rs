//! The command line, without root and without a target: help, version, and usage errors, which are reported before
//! anything else is looked at.

use std::process::{Command, Output};
use testbed::place;

/// More than the kernel gives (2^22): nothing is observed if a command line is taken that should not be.
const NO_PROCESS: &str = "--pid=4194305";

fn profiler(arguments: &[&str]) -> Output {
    let mut command = Command::new(place::program("profiler"));
    command.args(arguments).env("NO_COLOR", "1").env("COLUMNS", "80");
    command.output().expect("to run profiler")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

/// Asserts a usage error: exit code 2, nothing on stdout, an error line with each of `words`.
#[track_caller]
fn assert_usage_error(arguments: &[&str], words: &[&str]) {
    let output = profiler(arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}\n{stderr}", output.status);
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
    assert!(stderr.starts_with("error: "), "{arguments:?}:\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?}: no `{word}` in:\n{stderr}");
    }
}

#[test]
fn help_names_the_tools() {
    let output = profiler(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    for tool in ["memleak", "doctor"] {
        assert!(text(&output.stdout).contains(tool), "{tool}");
    }
}

#[test]
fn help_of_memleak_names_every_option() {
    let output = profiler(&["memleak", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let options = [
        "--pid",
        "--name",
        "--older",
        "--for",
        "--every",
        "--top",
        "--min-bytes",
        "--sample-bytes",
        "--max-cost",
        "--alloc-fn",
        "--free-fn",
        "--max-blocks",
        "--max-stacks",
        "--output",
        "--format",
        "--user",
        "--grace",
        "--leave-running",
        "--gate",
        "--gate-above",
        "--known",
        "--quiet",
        "--verbose",
    ];
    for option in options {
        assert!(text(&output.stdout).contains(option), "{option} is not in the help");
    }
}

#[test]
fn help_fits_80_columns() {
    for arguments in
        [&["--help"][..], &["-h"], &["memleak", "--help"], &["memleak", "-h"], &["doctor", "--help"]]
    {
        let output = profiler(arguments);
        let long = text(&output.stdout).lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None, "{arguments:?}");
    }
}

#[test]
fn version_is_the_crate_version() {
    let output = profiler(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), format!("profiler {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_tool() {
    let output = profiler(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("memleak"), "the tools are not named");
}

#[test]
fn unknown_tool() {
    assert_usage_error(&["memlaek", NO_PROCESS], &["memlaek", "memleak"]);
}

#[test]
fn unknown_option() {
    assert_usage_error(&["memleak", NO_PROCESS, "--oldr", "30m"], &["--oldr", "--older"]);
}

#[test]
fn no_target() {
    assert_usage_error(&["memleak"], &["--pid"]);
}

#[test]
fn two_kinds_of_target() {
    assert_usage_error(&["memleak", NO_PROCESS, "--", "true"], &["--pid"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--name", "srv"], &["--name"]);
}

#[test]
fn what_is_for_a_command_needs_one() {
    for option in ["--grace=5s", "--user=nobody", "--leave-running"] {
        let name = option.split('=').next().unwrap();
        assert_usage_error(&["memleak", NO_PROCESS, option], &[name]);
    }
}

#[test]
fn pids_that_are_none() {
    for pid in ["0", "-1", "abc", "4242x", "99999999999", ""] {
        assert_usage_error(&["memleak", &format!("--pid={pid}")], &["--pid"]);
    }
}

#[test]
fn durations_that_are_none() {
    for duration in ["30", "30 parsecs", "-1s", "NaNs", "1e400h", "99999999999999h", ""] {
        assert_usage_error(&["memleak", NO_PROCESS, &format!("--older={duration}")], &["--older"]);
    }
    assert_usage_error(&["memleak", NO_PROCESS, "--for=0s"], &["--for"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--every=0s"], &["--every"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--every=99ms"], &["--every", "must be 100ms or more"]);
}

#[test]
fn sizes_that_are_none() {
    for size in ["5XB", "-1KiB", "1.5.5M", "99999999999TiB", ""] {
        assert_usage_error(&["memleak", NO_PROCESS, &format!("--min-bytes={size}")], &["--min-bytes"]);
        assert_usage_error(&["memleak", NO_PROCESS, &format!("--sample-bytes={size}")], &["--sample-bytes"]);
    }
    assert_usage_error(&["memleak", NO_PROCESS, "--sample-bytes=0"], &["--sample-bytes"]);
    for cost in ["30", "0%", "101%", "often"] {
        assert_usage_error(&["memleak", NO_PROCESS, &format!("--max-cost={cost}")], &["--max-cost"]);
    }
}

#[test]
fn counts_that_are_none() {
    for option in ["--top", "--max-blocks", "--max-stacks"] {
        for count in ["-1", "1.5", "many", "99999999999999999999"] {
            assert_usage_error(&["memleak", NO_PROCESS, &format!("{option}={count}")], &[option]);
        }
    }
    assert_usage_error(&["memleak", NO_PROCESS, "--max-blocks=0"], &["--max-blocks"]);
}

#[test]
fn an_unknown_format_names_the_known_ones() {
    let known = ["human", "json", "folded", "svg"];
    assert_usage_error(&["memleak", NO_PROCESS, "--format", "xml"], &known);
}

#[test]
fn an_unknown_extension_names_the_known_ones() {
    assert_usage_error(&["memleak", NO_PROCESS, "-o", "report.pdf"], &[".json", ".svg", ".folded", ".txt"]);
    assert_usage_error(&["memleak", NO_PROCESS, "-o", "report"], &[".json"]);
}

#[test]
fn functions_that_make_no_sense() {
    let wrong = [
        "pool_get",
        "pool_get:",
        "pool_get:ptr=ret",
        "pool_get:size=arg9,ptr=ret",
        "pool_get:size=ret,ptr=ret",
        "pool_get:size=arg1,ptr=ret,ptr=ret",
        "pool_get:size=arg1,colour=red",
        ":size=arg1,ptr=ret",
    ];
    for spec in wrong {
        let arguments = ["memleak", NO_PROCESS, "--alloc-fn", spec, "--free-fn", "pool_put:ptr=arg0"];
        assert_usage_error(&arguments, &["--alloc-fn"]);
    }
    for spec in ["pool_put", "pool_put:ptr=ret", "pool_put:ptr=arg9", "pool_put:size=arg0"] {
        let arguments =
            ["memleak", NO_PROCESS, "--alloc-fn", "pool_get:size=arg1,ptr=ret", "--free-fn", spec];
        assert_usage_error(&arguments, &["--free-fn"]);
    }
}

#[test]
fn a_command_is_missing() {
    assert_usage_error(&["memleak", "--"], &["--pid"]);
}

#[test]
fn names_that_are_empty() {
    assert_usage_error(&["memleak", "--", ""], &["its name is empty", "is a variable"]);
    assert_usage_error(&["memleak", NO_PROCESS, "-o", ""], &["its name is empty", "is a variable"]);
}

#[test]
fn servers_that_have_no_address() {
    for (urls, words) in [("garbage", "\"garbage\" is not a URL"), ("ima:enforcing", "DEBUGINFOD_URLS")] {
        let mut command = Command::new(place::program("profiler"));
        command.args(["memleak", NO_PROCESS, "--debuginfod"]).env("DEBUGINFOD_URLS", urls);
        let output = command.output().expect("to run profiler");
        assert_eq!(
            (output.status.code(), text(&output.stderr).contains(words)),
            (Some(2), true),
            "{output:?}"
        );
    }
}

/// Arguments may hold control characters.
#[test]
fn hostile_arguments_are_not_repeated_raw() {
    let output = profiler(&["memleak", "--pid", "1\u{1b}[31m\u{202e}"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!text(&output.stderr).contains(['\u{1b}', '\u{202e}']));
}

/// What is no report is called none, whatever it holds.
#[test]
fn files_that_are_no_report() {
    for file in ["/etc/passwd", "/bin/ls", "/tmp", "/no/such/file", "/proc/self/mem"] {
        assert_usage_error(
            &["report", file],
            &[file, "hint: name a file that was written by `-o FILE.json`"],
        );
    }
    assert_usage_error(&["report", "/etc/passwd"], &["it is no report of profiler"]);
}

/// As with `| head -3`: the reader is gone.
#[test]
fn a_closed_pipe_is_no_failure() {
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
fn help_lists_every_exit_code() {
    let output = profiler(&["--help"]);
    for code in profiler::exit::ExitCode::ALL {
        let line = format!("  {:>3}  {}", code.code(), code.meaning());
        assert!(text(&output.stdout).lines().any(|l| l == line), "no `{line}` in:\n{}", text(&output.stdout));
    }
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
fn what_does_not_count_needs_a_gate_and_a_file() {
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
fn a_closed_stdout_is_no_failure() {
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

#[test]
fn help_does_not_mind_a_width_that_is_none() {
    let help = |columns: &str| {
        let mut command = Command::new(place::program("profiler"));
        command.arg("--help").env("COLUMNS", columns).env("NO_COLOR", "1");
        String::from_utf8(command.output().expect("to run profiler").stdout).expect("UTF-8")
    };
    for columns in ["0", "x", "", "100000"] {
        assert_eq!(help(columns), help("80"), "COLUMNS={columns}");
    }
}

//! The command line, without root and without a target: help, version, and usage errors, which are reported before
//! anything else is looked at.

mod output;
mod usage;

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

/// The first line of a tool's help, and its line in the list of commands, are the question that it answers.
#[test]
fn help_says_what_each_tool_answers() {
    let all = profiler(&["--help"]);
    for (tool, question) in [
        ("memleak", "Which call stacks allocate memory that is never freed?"),
        ("syscalls", "Where is time spent in the kernel, with which errors, called from where?"),
    ] {
        let help = profiler(&[tool, "--help"]);
        assert!(text(&help.stdout).starts_with(question), "{}", text(&help.stdout));
        // The list breaks lines.
        let words: Vec<&str> = text(&all.stdout).split_whitespace().collect();
        assert!(words.join(" ").contains(&format!("{tool} {question}")), "{}", text(&all.stdout));
    }
}

/// What is for leaks is not offered by a tool that finds none.
#[test]
fn options_for_leaks_are_those_of_memleak() {
    let help = profiler(&["syscalls", "--help"]);
    let help = text(&help.stdout);
    assert!(help.contains("--gate") && help.contains("--slow"), "{help}");
    for word in ["--known", "--gate-above", "eak", "alloc"] {
        assert!(!help.contains(word), "{word} is in:\n{help}");
    }
    assert_usage_error(&["syscalls", NO_PROCESS, "--gate", "--known", "leaks"], &["--known"]);
    assert_usage_error(&["syscalls", NO_PROCESS, "--gate", "--gate-above", "1MiB/h"], &["--gate-above"]);
}

#[test]
fn help_fits_80_columns() {
    let memleak =
        [&["--help"][..], &["-h"], &["memleak", "--help"], &["memleak", "-h"], &["doctor", "--help"]];
    let others = [&["syscalls", "--help"][..], &["syscalls", "-h"], &["report", "--help"], &["report", "-h"]];
    for arguments in memleak.into_iter().chain(others) {
        let output = profiler(arguments);
        let long = text(&output.stdout).lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None, "{arguments:?}");
    }
}

#[test]
fn help_lists_the_formats() {
    for command in ["memleak", "syscalls", "report"] {
        let output = profiler(&[command, "--help"]);
        let help = text(&output.stdout);
        for line in [
            "- human:  text for people\n",
            "- csv:    the rows of the first table, for",
            "- svg:    a flame graph",
        ] {
            assert!(help.contains(line), "{command}: {help}");
        }
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
fn options_for_a_command_need_one() {
    for option in ["--grace=5s", "--user=nobody", "--leave-running"] {
        let name = option.split('=').next().unwrap();
        assert_usage_error(&["memleak", NO_PROCESS, option], &[name]);
    }
}

#[test]
fn invalid_pids() {
    for pid in ["0", "-1", "abc", "4242x", "99999999999", ""] {
        assert_usage_error(&["memleak", &format!("--pid={pid}")], &["--pid"]);
    }
}

#[test]
fn invalid_durations() {
    for duration in ["30", "30 parsecs", "-1s", "NaNs", "1e400h", "99999999999999h", ""] {
        assert_usage_error(&["memleak", NO_PROCESS, &format!("--older={duration}")], &["--older"]);
    }
    assert_usage_error(&["memleak", NO_PROCESS, "--for=0s"], &["--for"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--every=0s"], &["--every"]);
    assert_usage_error(&["memleak", NO_PROCESS, "--every=99ms"], &["--every", "must be 100ms or more"]);
}

#[test]
fn invalid_sizes() {
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
fn invalid_counts() {
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

/// A file that is not a report is refused, whatever it holds.
#[test]
fn files_that_are_no_report() {
    for file in ["/etc/passwd", "/bin/ls", "/tmp", "/no/such/file", "/proc/self/mem"] {
        assert_usage_error(
            &["report", file],
            &[file, "hint: name a file that was written by `-o FILE.json`"],
        );
    }
    assert_usage_error(&["report", "/etc/passwd"], &["it is not a report of profiler"]);
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
fn help_ignores_an_invalid_width() {
    let help = |columns: &str| {
        let mut command = Command::new(place::program("profiler"));
        command.arg("--help").env("COLUMNS", columns).env("NO_COLOR", "1");
        String::from_utf8(command.output().expect("to run profiler").stdout).expect("UTF-8")
    };
    for columns in ["0", "x", "", "100000"] {
        assert_eq!(help(columns), help("80"), "COLUMNS={columns}");
    }
}

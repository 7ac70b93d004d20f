//! The C++ twin behaves as planned. Its plan is run without waiting, and the books are held against the
//! distributions in its table. Needs g++.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use testbed::place;

/// The age that the plan is relative to, and how long it runs, in seconds.
const AGE_S: f64 = 2.0;
const RUN_S: f64 = 60.0;

static TWIN: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = place::package().join("native/twin.cpp");
    let binary = place::kept_files().join("twin");
    let flags = "-std=c++17 -O2 -g -fno-omit-frame-pointer -pthread -Wall -Wextra -Werror";
    let compiled = Command::new("g++").args(flags.split(' ')).arg("-o").arg(&binary).arg(source).status();
    assert!(compiled.expect("g++ is needed: apt install g++").success(), "twin.cpp does not compile");
    binary
});

/// Runs the plan at once and returns the books.
fn books(flags: &str) -> Value {
    let run = Command::new(&*TWIN)
        .args(["--unpaced", "--age", &AGE_S.to_string(), "--for", &RUN_S.to_string()])
        .args(flags.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(run.status.success(), "{:?} {}", run.status, String::from_utf8_lossy(&run.stderr));
    let stdout = String::from_utf8(run.stdout).unwrap();
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].starts_with("pid ") && lines[1] == "READY" && lines.len() == 3, "{stdout}");
    serde_json::from_str(lines[2]).unwrap()
}

fn kind<'a>(books: &'a Value, name: &str) -> &'a Value {
    books["kinds"].as_array().unwrap().iter().find(|kind| kind["kind"] == name).unwrap()
}

fn number(books: &Value, name: &str, field: &str) -> f64 {
    kind(books, name)[field].as_f64().unwrap()
}

/// A Poisson count must lie within five standard deviations of its mean; the seeds are fixed, so it always does.
#[track_caller]
fn assert_poisson(count: f64, mean: f64, what: &str) {
    assert!((count - mean).abs() < 5.0 * mean.sqrt(), "{what}: {count}, expected about {mean}");
}

#[test]
fn the_same_flags_give_the_same_books() {
    assert_eq!(books("--seed 7"), books("--seed 7"));
    assert_ne!(books("--seed 7"), books("--seed 8"));
}

#[test]
fn blocks_arrive_at_the_planned_rate() {
    let books = books("");
    let ages = RUN_S / AGE_S;
    for (name, per_age) in [
        ("leak_pure", 300.0),
        ("leak_mixed", 10_000.0),
        ("leak_new", 300.0),
        ("session_exp", 400.0),
        ("session_lognormal", 400.0),
        ("ttl_cache", 300.0),
        ("lru_cache", 300.0),
        ("churn", 4_000.0 * AGE_S),
        ("long_ttl", 300.0),
    ] {
        assert_poisson(number(&books, name, "allocs"), per_age * ages, name);
    }
    assert_poisson(number(&books, "fills_then_stops", "allocs"), 200.0 * 1.5, "fills_then_stops");
    assert_eq!(number(&books, "startup_tables", "allocs"), 256.0);
}

/// Arrivals per A times the mean life in A is the mean number alive, whatever the distribution.
#[test]
fn blocks_live_as_long_as_planned() {
    for seed in 1..=3 {
        let books = books(&format!("--seed {seed}"));
        let live = |name| number(&books, name, "live");
        assert_poisson(live("session_exp"), 400.0 * 0.8, "session_exp");
        assert_poisson(live("session_lognormal"), 400.0 * 0.5 * 0.5_f64.exp(), "session_lognormal");
        assert_poisson(live("ttl_cache"), 300.0 * 0.66, "ttl_cache");
        assert_poisson(live("long_ttl"), 300.0 * 1.5, "long_ttl");
        assert_eq!(live("lru_cache"), 210.0);
        assert_eq!(live("startup_tables"), 256.0);
        assert_eq!(number(&books, "fills_then_stops", "frees"), 0.0);
    }
}

#[test]
fn planted_leaks_leak_their_share_and_only_they() {
    let all = books("");
    for name in ["leak_pure", "leak_new"] {
        assert_eq!(number(&all, name, "frees"), 0.0, "{name}");
    }
    // One in a hundred is forgotten; at any moment 2 % of an A's arrivals are in use.
    let forgotten = 0.01 * number(&all, "leak_mixed", "allocs");
    assert_poisson(number(&all, "leak_mixed", "live"), forgotten + 0.99 * 10_000.0 * 0.02, "leak_mixed");

    let one = books("--leaks leak_mixed");
    let none = books("--leaks none");
    assert_poisson(number(&one, "leak_pure", "live"), 300.0 * 0.3, "leak_pure, off");
    assert_poisson(number(&none, "leak_new", "live"), 300.0 * 0.3, "leak_new, off");
    assert_poisson(number(&none, "leak_mixed", "live"), 10_000.0 * 0.02, "leak_mixed, off");

    for (books, planted) in
        [(&all, &["leak_pure", "leak_mixed", "leak_new"][..]), (&one, &["leak_mixed"]), (&none, &[])]
    {
        for kind in books["kinds"].as_array().unwrap() {
            let name = kind["kind"].as_str().unwrap();
            assert_eq!(kind["planted"], planted.contains(&name), "{name}");
        }
    }
}

#[test]
fn books_add_up() {
    let books = books("");
    for kind in books["kinds"].as_array().unwrap() {
        let field = |name: &str| kind[name].as_u64().unwrap();
        assert_eq!(field("live"), field("allocs") - field("frees"), "{kind}");
        assert_eq!(field("live_bytes"), field("live") * field("block_bytes"), "{kind}");
        assert_eq!(kind["function"], kind["kind"]);
    }
}

#[test]
fn unknown_leaks_and_flags_are_refused() {
    for flags in [&["--leaks", "leak_pure,typo"][..], &["--ages", "3"], &["--age"], &["--age", "x"]] {
        let run = Command::new(&*TWIN).args(flags).stdin(Stdio::null()).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{flags:?}");
        assert!(run.stdout.is_empty());
    }
}

/// The way a test drives it: everything is still alive when the books are out.
#[test]
fn waits_for_go_and_holds_until_quit() {
    use std::io::{BufRead, BufReader, Write};
    let mut twin = Command::new(&*TWIN)
        .args(["--wait", "--hold", "--for", "0.2", "--age", "0.1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = twin.stdin.take().unwrap();
    let mut lines = BufReader::new(twin.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next(), Some(format!("pid {}", twin.id())));
    assert_eq!(lines.next().as_deref(), Some("READY"));
    orders.write_all(b"go\n").unwrap();
    let books: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(number(&books, "startup_tables", "live"), 256.0);
    assert_eq!(twin.try_wait().unwrap(), None, "holds");
    orders.write_all(b"quit\n").unwrap();
    assert!(twin.wait().unwrap().success());
    assert_eq!(lines.next(), None, "the books are printed once");
}

use std::io::Write as _;

use super::{EXCUSED, FAILED, Gate, Known, PASSED, STALE, UNDECIDED, mark_as_recorded};
use crate::{
    exit::ExitCode,
    report::{Ended, Finding, Report, RowRef, Severity, Value, sample},
};

fn rules(report: &Report) -> Vec<&str> {
    let of_gate = report.findings.iter().filter(|finding| finding.rule.starts_with("gate."));
    of_gate.map(|finding| finding.rule.as_ref()).collect()
}

fn said<'a>(report: &'a Report, rule: &str) -> &'a str {
    &report.findings.iter().find(|finding| finding.rule == rule).expect(rule).text
}

fn known(lines: &str) -> Gate {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    Gate { known: Known::open(file.path()).unwrap(), ..Gate::default() }
}

/// A report with this answer and without problems.
fn answer(rule: &'static str, severity: Severity) -> Report {
    let mut report = sample::many(0);
    report.findings = vec![
        Finding::plain(rule, severity, "The answer."),
        Finding::plain("sample.note", Severity::Limit, "Note: the heap of V8 is not seen."),
    ];
    report
}

#[test]
fn a_leak_fails() {
    let mut report = sample::pong();
    assert_eq!(Gate::default().decide(&mut report), ExitCode::Refuted);
    assert_eq!(rules(&report), [FAILED]);
    assert_eq!(said(&report, FAILED), "Gate failed: 1 problem found.");
    assert_eq!(report.check(), Ok(()));
}

#[test]
fn no_leak_passes_and_a_remark_does_not_change_that() {
    let mut report = answer("sample.clean", Severity::Info);
    assert_eq!(Gate::default().decide(&mut report), ExitCode::Ok);
    assert_eq!(said(&report, PASSED), "Gate passed: no problem found.");
}

#[test]
fn an_open_answer_is_undecided() {
    for rule in ["sample.too_early", "sample.undecided", "sample.nothing_seen", ""] {
        let mut report = answer(rule, Severity::Limit);
        assert_eq!(Gate::default().decide(&mut report), ExitCode::Inconclusive, "{rule}");
        assert_eq!(rules(&report), [UNDECIDED]);
        let why = if rule.is_empty() { String::new() } else { format!(" ({rule})") };
        assert_eq!(said(&report, UNDECIDED), format!("Gate undecided: the answer is open or limited{why}."));
    }
    // A clean answer with another finding that is open.
    let mut report = answer("sample.clean", Severity::Info);
    report.findings.push(Finding::plain("sample.undecided", Severity::Limit, "3 stacks are open."));
    report.findings.push(Finding::plain("sample.halted", Severity::Limit, "It was stopped."));
    assert_eq!(Gate::default().decide(&mut report), ExitCode::Inconclusive);
    assert!(said(&report, UNDECIDED).ends_with(" (sample.undecided, sample.halted)."));
}

#[test]
fn incomplete_data_do_not_pass_and_a_problem_has_priority() {
    let mut report = sample::incomplete();
    report.findings = vec![Finding::plain("sample.incomplete", Severity::Limit, "No verdict.")];
    assert_eq!(Gate::default().decide(&mut report), ExitCode::Incomplete);
    report.findings.insert(0, Finding::plain("command.failed", Severity::Problem, "Exit code 3."));
    assert_eq!(Gate::default().decide(&mut report), ExitCode::Refuted);
}

#[test]
fn a_safety_stop_has_its_own_code() {
    let mut report = answer("sample.undecided", Severity::Limit);
    report.meta.ended = Ended::StoppedByGuard;
    assert_eq!(Gate::default().decide(&mut report), ExitCode::SafetyStop);
    assert!(said(&report, FAILED).contains("safety guard"), "{}", said(&report, FAILED));
    let mut report = answer("sample.undecided", Severity::Limit);
    report.meta.targets[0].killed_by = Some(libc::SIGTRAP);
    assert_eq!(Gate::default().decide(&mut report), ExitCode::SafetyStop);
    assert_eq!(said(&report, FAILED), "Gate failed: a target died of SIGTRAP under observation.");
    assert_eq!(report.verdict.word, "undecided", "the decision is not the answer");
}

#[test]
fn a_known_leak_does_not_fail_and_is_still_reported() {
    let mut report = sample::pong();
    let gate = known("# accepted\nchat::*::push   # with the season\n");
    assert_eq!(gate.decide(&mut report), ExitCode::Ok);
    assert_eq!(rules(&report), [PASSED, EXCUSED]);
    assert!(said(&report, EXCUSED).contains("chat::History::push: it is known ("), "{:?}", report.findings);
    assert!(said(&report, EXCUSED).ends_with(", line 2)."));
    assert_eq!(report.findings[0], sample::pong().findings[0], "the answer stays");
}

#[test]
fn an_entry_that_matches_nothing_is_named() {
    let mut report = sample::pong();
    let gate = known("chat::History::push\nroom::Gone::load\n");
    assert_eq!(gate.decide(&mut report), ExitCode::Ok);
    assert!(said(&report, STALE).ends_with(", line 2, matches no leak: room::Gone::load"));
    // A long-lived row of this report is not a leak.
    let gate = known("player::Session::new\n");
    assert_eq!(gate.decide(&mut report), ExitCode::Refuted);
    assert_eq!(rules(&report), [FAILED, STALE], "an earlier decision is replaced");
}

#[test]
fn few_of_many_entries_without_a_match_are_named() {
    let stale = |lines: usize| {
        let mut report = sample::pong();
        known(&(0..lines).map(|line| format!("gone{line}\n")).collect::<String>()).decide(&mut report);
        let stale = report.findings.into_iter().filter(|finding| finding.rule == STALE);
        stale.map(|finding| finding.text).collect::<Vec<_>>()
    };
    assert_eq!(stale(3).len(), 3);
    let many = stale(20_000);
    assert_eq!(many.len(), 4);
    assert!(many[3].ends_with(": 19997 more lines match no leak."), "{}", many[3]);
    assert!(stale(4)[3].ends_with(": 1 more line matches no leak."));
}

#[test]
fn of_two_leaks_one_is_known() {
    let mut report = sample::many(20);
    let sites = report.sites_of(&report.findings[0]);
    let name = |site: usize| sites[site].label.as_ref().unwrap().terminal();
    let (first, second) = (name(0), name(1));
    let gate = known(&format!("{first}\n"));
    assert_eq!(gate.decide(&mut report), ExitCode::Refuted);
    assert_eq!(said(&report, FAILED), "Gate failed: 1 problem found, 1 excused.");
    let both = known(&format!("{first}\n{second}\n"));
    assert_eq!(both.decide(&mut report), ExitCode::Ok);
}

#[test]
fn a_leak_counts_by_the_growth_of_its_whole_site() {
    const MIB: f64 = 1_048_576.0;
    let decide = |above: f64, rows: usize| {
        let mut report = sample::pong();
        report.sections[0].rows = vec![report.sections[0].rows[0].clone(); rows];
        report.findings[0].rows = (0..rows).map(|row| RowRef { section: 0, row }).collect();
        let gate = Gate { above_bytes_per_hour: Some(above), ..Gate::default() };
        let code = gate.decide(&mut report);
        (code, report)
    };
    assert_eq!(decide(549.0 * MIB, 1).0, ExitCode::Refuted, "as fast as the limit counts");
    let (code, report) = decide(550.0 * MIB, 1);
    assert_eq!(code, ExitCode::Ok);
    assert_eq!(
        said(&report, EXCUSED),
        "Excused: chat::History::push: it grows by less than 550 MiB/h (--gate-above)."
    );
    let (_, report) = decide(549.1 * MIB, 1);
    assert_eq!(
        said(&report, EXCUSED),
        "Excused: chat::History::push: it grows by 549.0 MiB/h, less than 549.1 MiB/h (--gate-above)."
    );
    assert_eq!(decide(550.0 * MIB, 2).0, ExitCode::Refuted, "two stacks of one site");
}

#[test]
fn lines_of_one_function_count_together() {
    const MIB: f64 = 1_048_576.0;
    let two_lines = || {
        let mut report = sample::grouped();
        // Two lines of one function count together, whatever their stacks are.
        report.sections[0].rows[0].cells[1] = Value::Name("room::Room::tick  room.rs:41".into());
        report.sections.truncate(1);
        report
    };
    let gate = |mib: f64, known: Gate| Gate { above_bytes_per_hour: Some(mib * MIB), ..known };
    let mut report = two_lines();
    assert_eq!(gate(3.5, Gate::default()).decide(&mut report), ExitCode::Refuted, "3 and 1 MiB/h");
    assert_eq!(rules(&report), [FAILED]);
    assert_eq!(
        said(&report, FAILED),
        "Gate failed: 2 problems found. room::Room::tick grows by 4.0 MiB/h at 2 sites together (--gate-above)."
    );
    let mut report = two_lines();
    assert_eq!(gate(4.5, Gate::default()).decide(&mut report), ExitCode::Ok);
    assert_eq!(said(&report, PASSED), "Gate passed: no problem found, 2 excused.");
    assert_eq!(
        said(&report, EXCUSED),
        "Excused: room::Room::tick (room.rs:41): its function grows at 2 sites by less than 4.5 MiB/h (--gate-above)."
    );
    // Known leaks are not added.
    let mut report = two_lines();
    let known = gate(2.0, known("room.rs:41\nroom::Room::tick room.rs:41\n"));
    assert_eq!(known.decide(&mut report), ExitCode::Ok, "{:?}", report.findings);
    // If one alone exceeds the limit, the total is not shown.
    let mut report = two_lines();
    gate(2.0, Gate::default()).decide(&mut report);
    assert_eq!(said(&report, FAILED), "Gate failed: 2 problems found.");
}

#[test]
fn a_function_counts_with_what_it_calls() {
    const MIB: f64 = 1_048_576.0;
    let decide = |above: f64, change: fn(&mut Report)| {
        let mut report = sample::grouped();
        // A leak in another function that only this one calls.
        report.sections[0].rows[1].cells[1] = Value::Name("net::broadcast".into());
        report.sections[1].rows[3].stacks = crate::report::StackRef::user(Some(2));
        change(&mut report);
        let gate = Gate { above_bytes_per_hour: Some(above * MIB), ..Gate::default() };
        (gate.decide(&mut report), report)
    };
    let (code, report) = decide(3.5, |_| {});
    assert_eq!(code, ExitCode::Refuted, "3 MiB/h of what it calls, and 1 MiB/h of one that it calls");
    assert!(said(&report, FAILED).contains("room::Room::tick grows by 4.0 MiB/h at 2 sites together"));
    let (code, _) = decide(3.5, |report| {
        // The leak also has another caller.
        report.stacks[2].frames.pop();
        let broadcast = report.stacks[2].frames.clone();
        report.stacks[2].frames = broadcast.into_iter().take(2).collect();
    });
    assert_eq!(code, ExitCode::Ok);
    let (code, _) = decide(3.5, |report| {
        // A row of the function itself does not cover its callees.
        report.sections[0].rows[0].cells[1] = Value::Name("room::Room::tick".into());
    });
    assert_eq!(code, ExitCode::Ok);
}

#[test]
fn a_decision_that_was_recorded_is_not_one_of_this_run() {
    let mut report = sample::pong();
    known("chat::*::push\nroom::Gone::load\n").decide(&mut report);
    mark_as_recorded(&mut report);
    let once = report.clone();
    assert_eq!(said(&report, PASSED), "When recorded: gate passed: no problem found, 1 excused.");
    assert!(said(&report, EXCUSED).starts_with("When recorded: excused: chat::History::push: it is known"));
    assert!(said(&report, STALE).starts_with("When recorded: note: "));
    assert_eq!(report.findings[0], sample::pong().findings[0], "the answer is what it was");
    mark_as_recorded(&mut report);
    assert_eq!(report, once);
}

#[test]
fn a_problem_without_rows_cannot_be_excused() {
    let mut report = answer("command.failed", Severity::Problem);
    let gate = Gate { above_bytes_per_hour: Some(1e18), ..known("command.failed\nmain*\n") };
    assert_eq!(gate.decide(&mut report), ExitCode::Refuted);
}

#[test]
fn reports_of_versions_without_rules_are_decided_by_their_marked_rows() {
    let mut report = sample::pong();
    report.findings[0].rule = "".into();
    report.findings[0].rows.clear();
    assert_eq!(Gate::default().decide(&mut report), ExitCode::Refuted);
    assert_eq!(known("chat::History::push").decide(&mut report), ExitCode::Ok);
}

#[test]
fn a_file_that_excuses_everything_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for all in ["*", "* ?*"] {
        std::fs::write(file.path(), format!("a::b\n {all} \n")).unwrap();
        let error = Known::open(file.path()).unwrap_err();
        assert!(error.to_string().ends_with("line 2 matches every leak"), "{error}");
    }
    assert_eq!(Known::open("/no/such/file".as_ref()).unwrap_err().exit_code(), ExitCode::Usage);
}

#[test]
fn the_documentation_names_every_rule() {
    let page = std::fs::read_to_string(testbed::place::checkout().join("docs/ci.md")).unwrap();
    for rule in super::RULES {
        assert!(page.contains(&format!("`{rule}`")), "docs/ci.md does not name {rule}");
    }
}

//! What an observation costs its target: predicted, measured, and bounded.

mod support;

use std::time::Duration;

use profiler::doctor::Diagnosis;
use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::process;
use support::rounds::{assert_near, is_near, medians};
use support::workload::{PATIENCE, Workload};

/// A program that does nothing but allocate and release, on request, for a given time.
fn hot(milliseconds: &str, spins: &str) -> Workload {
    working(milliseconds, &["--spins", spins])
}

/// The same with other work between its calls.
fn working(milliseconds: &str, work: &[&str]) -> Workload {
    let program = Build::c("loop.c").build();
    Workload::spawn(&program, &[&["--milliseconds", milliseconds], work].concat())
}

fn share(report: &Value, name: &str) -> f64 {
    let share = &report["meta"]["cost"][name];
    share.as_f64().unwrap_or_else(|| panic!("{name} is {share}: {:#}", report["meta"]["cost"]))
}

#[test]
fn a_target_that_costs_too_much_is_refused_with_the_price() {
    let Some(_live) = support::live() else { return };
    let mut target = hot("8000", "0");
    target.say("go");
    let pid = target.pid_argument();
    let outcome = Observer::spawn(&["memleak", "--pid", &pid]).finish(PATIENCE);
    let price_and_option = ["thread loop", "would lose ~", "of its time", "--max-cost 30%", "--max-cost off"];
    outcome.assert_error(5, &price_and_option);
    // Most of its time; how much depends on what a trap costs here.
    let (_, price) = outcome.stderr.split_once("would lose ~").unwrap();
    let percent: f64 = price.split_once(' ').unwrap().0.parse().unwrap();
    assert!((75.0..100.0).contains(&percent), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("attached:"), "{}", outcome.stderr);
    process::assert_code_unchanged(target.pid());
    // Doctor says first what would be refused.
    let doctor = Observer::spawn(&["doctor", "--pid", &pid]).finish(PATIENCE);
    assert_eq!(doctor.status.code(), Some(0), "another tool can observe it: {}", doctor.text());
    let answer = "READY with 1 limit, NOT for memleak: thread loop";
    assert!(doctor.text().starts_with(answer), "{}", doctor.text());
    process::assert_code_unchanged(target.pid());
    // It still runs, and reacts to the next word.
    let report = Observer::attach("memleak", target.pid(), &["--for", "300ms"]).finish(PATIENCE).report(0);
    account::assert_nothing_lost(&report);
    assert!(report["meta"]["cost"]["hits"].as_u64().unwrap() > 0);
    target.books();
    target.quit();
}

/// Only the guard can notice this: the target was idle when its calls were counted.
#[test]
fn a_target_that_turns_hot_is_left_alone_after_ten_seconds() {
    let Some(_live) = support::live() else { return };
    let mut target = hot("14000", "0");
    let pid = target.pid_argument();
    let mut observer = Observer::spawn(&["memleak", "--format", "json", "--pid", &pid]);
    observer.wait_attached();
    target.say("go");
    let outcome = observer.finish(PATIENCE);
    let report = outcome.report(5);
    assert_eq!(report["meta"]["ended"], "stopped_by_guard");
    assert_eq!(report["findings"][0]["rule"], "observation.guard", "{:#}", report["findings"]);
    for words in
        ["cost in the first seconds: ~", "stopped by the safety guard: thread loop", "--max-cost off"]
    {
        assert!(outcome.stderr.contains(words), "no `{words}`:\n{}", outcome.stderr);
    }
    let seconds = report["meta"]["length_ns"].as_f64().unwrap() / 1e9;
    assert!((10.0..13.0).contains(&seconds), "{seconds}");
    assert!(share(&report, "worst_second_share") > 0.9);
    account::assert_nothing_lost(&report);
    process::assert_code_unchanged(target.pid());
    target.books();
    target.quit();
}

/// As on Linux before 6.6: nothing is counted beforehand, and the first two seconds decide.
#[test]
fn without_multi_links_the_cost_of_the_first_seconds_decides() {
    let Some(_live) = support::live() else { return };
    let mut target = hot("9000", "0");
    target.say("go");
    let pid = target.pid_argument();
    let arguments = ["memleak", "--format", "json", "--method", "perf", "--pid", &pid];
    let report = Observer::spawn(&arguments).finish(PATIENCE).report(5);
    assert_eq!(report["meta"]["ended"], "stopped_by_guard");
    assert_eq!(report["meta"]["cost"]["count_ns"], Value::Null);
    let seconds = report["meta"]["length_ns"].as_f64().unwrap() / 1e9;
    assert!((2.0..5.0).contains(&seconds), "{seconds}");
    account::assert_nothing_lost(&report);
    process::assert_code_unchanged(target.pid());
    target.books();
    target.quit();
}

/// The work that a thread does in its time, before and under observation, is the truth with which doctor's forecast,
/// memleak's own forecast and the report must agree.
#[test]
fn forecast_report_and_truth_agree() {
    let Some(_live) = support::live() else { return };
    let mut target = hot("3000", "6000");
    let round = || {
        let bare = ns_per_pair(&mut target);
        target.say("go");
        let pid = target.pid_argument();
        let diagnosed = Observer::spawn(&["doctor", "--format", "json", "--pid", &pid]).finish(PATIENCE);
        let diagnosis: Diagnosis = serde_json::from_slice(&diagnosed.stdout).unwrap();
        process::assert_code_unchanged(target.pid());
        target.books();
        let forecast = diagnosis.tools[0].forecast.as_ref().expect("a forecast");
        assert!(forecast.sampled_share.is_some_and(|share| share < forecast.share));
        let (report, observed) = observed(&mut target);
        let [reported, predicted] =
            ["busiest_thread_share", "predicted_share"].map(|name| share(&report, name));
        [1.0 - bare / observed, reported, predicted, forecast.share]
    };
    let holds = |[truth, said @ ..]: [f64; 4]| said.into_iter().all(|said| is_near(said, truth));
    let [truth, reported, predicted, by_doctor] = medians(round, holds);
    assert_near("the report", reported, truth);
    assert_near("memleak's forecast", predicted, truth);
    assert_near("doctor's forecast", by_doctor, truth);
    target.quit();
}

/// The kernel works between two calls, so traps find the caches cold. How much longer they take depends on the machine, by 15 to 50 %.
#[test]
fn the_report_and_truth_agree_where_the_kernel_is_busy() {
    let Some(_live) = support::live() else { return };
    let mut warm = hot("1500", "0");
    let mut target = working("2500", &["--messages", "1"]);
    let round = || {
        let (warm, _) = observed(&mut warm);
        let bare = ns_per_pair(&mut target);
        let (report, observed) = observed(&mut target);
        let [warm_share, warm_ns] = ["cold_share", "trap_ns_per_hit"].map(|name| share(&warm, name));
        let [cold_share, cold_ns] = ["cold_share", "trap_ns_per_hit"].map(|name| share(&report, name));
        let reported = share(&report, "busiest_thread_share");
        [warm_share, cold_share, warm_ns, cold_ns, 1.0 - bare / observed, reported]
    };
    let is_dearer = |warm_ns: f64, cold_ns: f64| cold_ns > warm_ns;
    let holds = |[_, _, warm_ns, cold_ns, truth, reported]: [f64; 6]| {
        is_near(reported, truth) && is_dearer(warm_ns, cold_ns)
    };
    let [warm_share, cold_share, warm_ns, cold_ns, truth, reported] = medians(round, holds);
    assert_near("the report", reported, truth);
    assert!(
        cold_share > 0.8 && warm_share < 0.4,
        "{cold_share} after work in the kernel, {warm_share} without"
    );
    assert!(is_dearer(warm_ns, cold_ns), "{cold_ns} ns after work in the kernel, {warm_ns} ns without");
    warm.quit();
    target.quit();
}

/// Processor time per pair of calls.
fn ns_per_pair(target: &mut Workload) -> f64 {
    target.say("go");
    target.books()["cpu_ns_per_pair"].as_f64().expect("a time")
}

/// What memleak reports on two intervals of work, in the first of which it attached; and the time per pair in the other.
fn observed(target: &mut Workload) -> (Value, f64) {
    target.say("go");
    let pid = target.pid_argument();
    let arguments = ["memleak", "--max-cost", "100%", "--format", "json", "--pid", &pid];
    let mut observer = Observer::spawn(&arguments);
    observer.wait_attached();
    target.books();
    let observed = ns_per_pair(target);
    let report = observer.interrupt().report(0);
    assert_eq!(report["meta"]["cost"]["calibrated"], true);
    (report, observed)
}

/// A limit that is not reached leaves everything as it is.
#[test]
fn a_cheap_target_is_observed() {
    let Some(_live) = support::live() else { return };
    let mut target = hot("2500", "400000");
    target.say("go");
    let pid = target.pid_argument();
    let arguments = ["memleak", "--format", "json", "--for", "1s", "--pid", &pid];
    let report = Observer::spawn(&arguments).finish(PATIENCE).report(0);
    assert_eq!(report["meta"]["ended"], "elapsed");
    assert!(share(&report, "busiest_thread_share") < 0.1);
    let counted = Duration::from_nanos(report["meta"]["cost"]["count_ns"].as_u64().unwrap());
    assert!(counted < Duration::from_secs(3), "{counted:?}");
    target.books();
    target.quit();
}

/// The first instruction of glibc's `free` is one that the kernel has to single-step, and a third of all calls are of it.
#[test]
fn a_function_that_is_single_stepped_is_named_if_it_is_called_often() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn(&Build::c("idle.c").build(), &["--leak-every", "3"]);
    for (placement, is_said) in [("first", true), ("cheapest", false)] {
        let pid = target.pid_argument();
        let arguments = ["memleak", "--placement", placement, "--for", "2500ms", "--pid", &pid];
        let outcome = Observer::spawn(&arguments).finish(PATIENCE);
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
        let said = outcome.stderr.lines().find(|line| line.contains("single-step"));
        assert!(outcome.stderr.contains("cost in the first seconds"), "{}", outcome.stderr);
        assert_eq!(said.is_some(), is_said, "{}", outcome.stderr);
        assert!(
            said.is_none_or(|line| line.contains(" us each instead of ~") && line.contains("free")),
            "{said:?}"
        );
    }
    target.quit();
}

/// While a hit is under way it is counted, and its outcome is not: no report may be made of that.
#[test]
fn interim_reports_account_for_every_hit() {
    let Some(_live) = support::live() else { return };
    let mut target = hot("4000", "300");
    target.say("go");
    let how = ["--older", "1s", "--every", "100ms", "--for", "2s"];
    let outcome = Observer::attach("memleak", target.pid(), &how).finish(PATIENCE);
    target.books();
    target.quit();
    let reports = serde_json::Deserializer::from_slice(&outcome.stdout).into_iter::<Value>();
    let reports: Vec<Value> = reports.map(|report| report.expect("a report")).collect();
    assert!(reports.len() > 10, "{} reports", reports.len());
    reports.iter().for_each(account::assert_all_accounted);
}

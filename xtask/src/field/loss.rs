//! What an observation costs a server, measured on the server and according to the report.
//!
//! Rounds without and with observation take turns, so that a machine that gets slower meanwhile slows both.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::Pid;
use serde_json::Value;

use super::{
    observe::Rig,
    server::{Place, Work},
    stop::Stop,
};
use crate::bench::{median, observer::Observer};

const ROUNDS: usize = 3;
/// Length of one measurement.
const WINDOW: Duration = Duration::from_secs(4);

/// How far the predicted share may be from the measured one: a part of it, or points of a hundred.
const TOLERANCE_RATIO: f64 = 0.25;
const TOLERANCE_SHARE: f64 = 0.02;

/// Medians of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Loss {
    /// Pieces of work per second; `None` for a server that does the same work every second.
    pub(super) work_per_s: Option<Pair>,
    /// Processor seconds of the server per second.
    pub(super) busy: Pair,
    /// The share of the server's busy time that the probes took.
    pub(super) measured_share: f64,
    /// The same as it was predicted before the probes came.
    pub(super) predicted_share: f64,
    /// The same as the report says it.
    pub(super) reported_share: f64,
}

/// A figure without and with observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) without: f64,
    pub(super) with: f64,
}

/// What a server did in one window.
#[derive(Clone, Copy, Debug)]
struct Window {
    work_per_s: Option<f64>,
    busy: f64,
}

impl Window {
    /// Work for a second of its processor time: other programs of this machine change it less than work per second.
    fn work_per_busy_second(self) -> f64 {
        self.work_per_s.unwrap_or(1.0) / self.busy
    }
}

impl Loss {
    /// The figures that differ too much from the measured ones.
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let is_near = |said: f64| {
            let off = (said - self.measured_share).abs();
            off <= TOLERANCE_SHARE || off <= self.measured_share * TOLERANCE_RATIO
        };
        let said = [
            (self.predicted_share, "the predicted cost is not the measured one"),
            (self.reported_share, "the reported cost is not the measured one"),
        ];
        said.into_iter().filter(|(share, _)| !is_near(*share)).map(|(_, fault)| fault).collect()
    }
}

/// Measures what an observation costs this process under the load that runs.
pub(super) fn measure(rig: &Rig, place: &Place, pid: Pid, work: &Work, stop: &Stop) -> Result<Loss> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut measured, mut predicted, mut reported) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let free = window(place, pid, work, stop)?;
        let mut memleak = rig.memleak(pid);
        let observer = Observer::start(memleak.args(["--format", "json"]), rig.privilege, "attached")?;
        let observed = window(place, pid, work, stop)?;
        let report: Value =
            serde_json::from_str(&observer.end()?.stdout).context("the report is not JSON")?;
        measured.push(share(free, observed));
        predicted.push(said(&report, "predicted_share")?);
        reported.push(said(&report, "busiest_thread_share")?);
        without.push(free);
        with.push(observed);
        println!("round {round}/{ROUNDS}: {free:?} -> {observed:?}; {}", report["meta"]["cost"]);
    }
    let pair = |of: fn(&Window) -> Option<f64>| {
        let [without, with] =
            [&without, &with].map(|windows| windows.iter().filter_map(of).collect::<Vec<_>>());
        (!with.is_empty()).then(|| Pair { without: median(&without), with: median(&with) })
    };
    Ok(Loss {
        work_per_s: pair(|window| window.work_per_s),
        busy: pair(|window| Some(window.busy)).context("nothing was measured")?,
        measured_share: median(&measured),
        predicted_share: median(&predicted),
        reported_share: median(&reported),
    })
}

/// The share of the server's busy time that the probes took.
fn share(without: Window, with: Window) -> f64 {
    1.0 - with.work_per_busy_second() / without.work_per_busy_second()
}

/// The figure of this name in the report's cost.
fn said(report: &Value, name: &str) -> Result<f64> {
    let cost = report.pointer("/meta/cost").and_then(|cost| cost.get(name)?.as_f64());
    cost.with_context(|| format!("the report has no {name}"))
}

/// Looks at a server for a while.
fn window(place: &Place, pid: Pid, work: &Work, stop: &Stop) -> Result<Window> {
    let now = || -> Result<(Option<u64>, f64, Instant)> {
        let done = match work {
            Work::Counter(count) => Some(count(place)?),
            Work::SamePerSecond => None,
        };
        Ok((done, processor_seconds(pid)?, Instant::now()))
    };
    let (done_before, busy_before, began) = now()?;
    stop.pass(WINDOW)?;
    let (done, busy, ended) = now()?;
    let seconds = (ended - began).as_secs_f64();
    let done = done.zip(done_before).map(|(done, before)| done.saturating_sub(before) as f64);
    Ok(Window { work_per_s: done.map(|done| done / seconds), busy: (busy - busy_before) / seconds })
}

/// Processor time of a process's threads.
fn processor_seconds(pid: Pid) -> Result<f64> {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let mut nanoseconds = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        // A thread that has ended meanwhile has no file.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds += on_cpu_ns(&text).with_context(|| format!("no processor time in `{text}`"))?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// The first number of `schedstat`.
fn on_cpu_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(measured_share: f64, predicted_share: f64) -> usize {
        let busy = Pair { without: 0.5, with: 1.0 };
        let reported_share = measured_share;
        Loss { work_per_s: None, busy, measured_share, predicted_share, reported_share }.faults().len()
    }

    #[test]
    fn a_prediction_is_honest_within_a_quarter_or_two_points() {
        assert_eq!(faults(0.40, 0.49), 0);
        assert_eq!(faults(0.40, 0.51), 1);
        assert_eq!(faults(0.89, 0.51), 1);
        assert_eq!(faults(0.01, 0.029), 0);
        assert_eq!(faults(0.01, 0.031), 1);
    }

    #[test]
    fn what_is_lost_is_a_share_of_the_servers_time() {
        let always_busy = |work_per_s| Window { work_per_s: Some(work_per_s), busy: 1.0 };
        assert_eq!(share(always_busy(100.0), always_busy(25.0)), 0.75);
        let same_work = |busy| Window { work_per_s: None, busy };
        assert_eq!(share(same_work(0.1), same_work(0.4)), 0.75);
        let half_of_the_machine = Window { work_per_s: Some(12.5), busy: 0.5 };
        assert_eq!(share(always_busy(100.0), half_of_the_machine), 0.75);
    }

    #[test]
    fn processor_time_is_that_of_all_threads() {
        assert_eq!(on_cpu_ns("4711 815 3\n"), Some(4711));
        assert_eq!(on_cpu_ns(""), None);
        let us = rustix::process::getpid();
        assert!(processor_seconds(us).unwrap() > 0.0);
    }
}

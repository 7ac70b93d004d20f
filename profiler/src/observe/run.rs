//! One observation, from the first probe to the report.

use std::{
    os::fd::OwnedFd,
    pin::pin,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use super::{failures::Failures, joining::Joining, observation::Observation, settings::Settings};
use crate::{
    capture::detach::{self, Leaving},
    error::{Error, ErrorKind, Result},
    report::Report,
    target::ends::Ends,
    tool::{Counts, TOOLS, Tool},
};

/// How long calls in progress may take to return at the end.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often to check whether they have.
const PAUSE: Duration = Duration::from_millis(1);

/// The events of an observation while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// Everything is attached; one line for people.
    Attached(&'a str),
    /// Numbers so far, about four times a second.
    Progress(&'a Progress),
    /// An interim report is due (`--every`).
    Interim(&'a Report),
    /// Something the user should know at once; one line.
    Notice(&'a str),
}

/// Numbers so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Time since everything was attached.
    pub elapsed: Duration,
    /// Of all tools; the name of the things is that of the first.
    pub counts: Counts,
    /// How long it takes from the start until the first tool can answer.
    pub answers_after: Duration,
    /// Call stacks seen.
    pub stacks: usize,
    /// The share of the time in which it could run that the probes have recently cost the thread that pays most, from 0 to 1.
    /// `--max-cost` limits it. `None` before the first second is over, and if no thread runs long enough to say.
    pub cost: Option<f64>,
}

/// Observes with tools given by name, and their options as on the command line: see [`tool::commands`](crate::tool::commands).
/// Several tools share the targets, the unwind tables and the stack numbers, and write one report.
///
/// It observes until the time is over, the targets end, or `stop` is ready, and then reports. A launched command is ended
/// afterwards; `stop` is called a second time, and when that is ready, the command is killed. Dropping the future removes all
/// probes. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// If the targets cannot be found or observed, the kernel lacks what is needed, or a command cannot be started.
pub async fn observe(
    settings: &Settings,
    tools: &[(&str, &clap::ArgMatches)],
    stop: impl AsyncFnMut(),
    tell: impl FnMut(Event<'_>),
) -> Result<Report> {
    let make = |(name, matches): &(&str, &clap::ArgMatches)| {
        let wrong = || Error::new(ErrorKind::Usage, format_args!("tried to use the tool {name}"));
        let about = TOOLS.iter().find(|about| about.name == *name);
        let about = about.ok_or_else(|| wrong().because("there is no such tool"))?;
        (about.make)(matches, settings).map_err(|e| {
            let words = e.to_string();
            wrong()
                .because(words.trim().trim_start_matches("error: "))
                .hint(format_args!("`profiler {name} --help` has the options"))
        })
    };
    let tools = tools.iter().map(make).collect::<Result<Vec<_>>>()?;
    observe_with(settings, tools, stop, tell).await
}

/// The same with several tools on the same targets.
///
/// # Errors
/// As of [`observe`].
pub(crate) async fn observe_with(
    settings: &Settings,
    tools: Vec<Box<dyn Tool>>,
    mut stop: impl AsyncFnMut(),
    mut tell: impl FnMut(Event<'_>),
) -> Result<Report> {
    let mut run = Run::start(settings, tools)?;
    let ended = {
        let mut asked = pin!(stop());
        // A signal came meanwhile: an observation of a moment has no answer.
        if tokio::time::timeout(Duration::from_millis(1), asked.as_mut()).await.is_ok() {
            run.detach();
            return Err(Error::new(ErrorKind::Interrupted, "tried to observe")
                .because("a signal came while the probes were attached, before anything was measured"));
        }
        for tool in &run.tools {
            tell(Event::Attached(&tool.attached_line(&run.on)));
        }
        for line in run.tools.iter().filter_map(|tool| tool.too_short(settings)) {
            tell(Event::Notice(&line));
        }
        run.release_command()?;
        run.watch(asked, &mut tell).await?
    };
    run.detach();
    // After detaching: any process that a probe has killed is found here.
    run.take_in_spaces(&mut tell);
    run.note_ends();
    let mut report = run.report(ended)?;
    run.end_command(&mut report, stop(), &mut tell).await;
    Ok(report)
}

/// A running observation, its tools, and what it waits for.
pub(super) struct Run<'a> {
    pub(super) on: Observation<'a>,
    pub(super) tools: Vec<Box<dyn Tool>>,
    pub(super) ring: AsyncFd<OwnedFd>,
    pub(super) records: RingBuf<MapData>,
    /// State of processes that join.
    pub(super) joining: Joining,
    /// Probes of spaces that have ended.
    pub(super) leaving: Leaving,
    /// Stacks of processes that are not observed: those that could not join, and those that ended before they did.
    pub(super) unknown_stacks: u64,
    /// Reports when a target ends.
    pub(super) ends: Ends,
    /// When the maps of targets were last read to find new libraries.
    pub(super) rescanned: Instant,
    /// Over how many seconds the guard averages before it may stop the observation.
    pub(super) guard_seconds: usize,
    /// Reads that have failed.
    pub(super) failures: Failures,
    /// Whether the notice on its cost was sent.
    pub(super) cost_told: bool,
    /// Follow forks, execs and ends, as long as they are held.
    pub(super) _processes: Vec<OwnedFd>,
}

impl Run<'_> {
    /// Detaches all probes, in the order that the tools want. Before that, calls in progress may return, because the outcome of a
    /// call is not known if its return is not seen.
    fn detach(&mut self) {
        let begun = Instant::now();
        self.on.settings.stage.begin("detaching");
        let reading = self.cost_reading().ok();
        self.on.cost.before_detach(reading);
        self.tools.iter_mut().for_each(|tool| tool.closing());
        self.drain_calls();
        // Before the probes are removed, which may take seconds.
        self.on.let_commands_go_on();
        detach::all_at_once(self.tools.iter_mut().flat_map(|tool| tool.take_first(None)).collect());
        detach::all_at_once(self.tools.iter_mut().flat_map(|tool| tool.take_last(None)).collect());
        self.leaving.wait();
        // A call that was about to stop the command has done so: the kernel waits for running calls of a probe that it removes.
        self.on.let_commands_go_on();
        self.on.cost.detached(begun.elapsed());
        self.on.settings.stage.end();
    }

    /// Follows no new calls, and waits a little for those in progress: a thread may have ended inside one, or sleep
    /// there.
    fn drain_calls(&self) {
        let running = || self.on.spaces.iter().filter(|space| space.ended.is_none());
        running().for_each(|space| space.close(&self.on.ground));
        let deadline = Instant::now() + PATIENCE;
        while running().next().is_some() {
            // First of all: a hit from before the space was closed may still be on its way to the ledger.
            std::thread::sleep(PAUSE);
            if !self.tools.iter().any(|tool| tool.has_calls_under_way()) || Instant::now() >= deadline {
                break;
            }
        }
    }
}

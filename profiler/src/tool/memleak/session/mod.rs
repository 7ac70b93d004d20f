//! One observation, from the first probe to the report.

mod ending;
mod found;
mod lately;
mod load;
mod moments;
mod price;
mod setup;
mod targets;
mod watch;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    pin::pin,
    time::{Duration, Instant},
};

use aya::maps::RingBuf;
use profiler_common::memleak::counters::Counter;
use tokio::io::unix::AsyncFd;

pub(super) use self::{
    ending::predicate as how_it_ended,
    lately::{Freed, Lately},
    load::{OBJECT, load_small},
    setup::PROGRAMS,
};
use super::{
    before::Before,
    blocks::Blocks,
    memory::Memory,
    options::Options,
    section,
    space::Space,
    stacks::Stacks,
    totals::{self, Totals},
};
use crate::{
    capture::{cost::CostMeter, detach, object::Object, uprobe::Attacher},
    error::{Error, ErrorKind, Result},
    observe::ground::Ground,
    report::{Ended, Report},
    symbolize::Worker,
    target::{ends::Ends, launch, modules::Modules},
    unwind::tracker::Tracker,
};

/// How long calls under way may take to return at the end.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often it is looked whether they have.
const PAUSE: Duration = Duration::from_millis(1);

/// What an observation tells while it runs.
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
    /// Probe hits.
    pub hits: u64,
    /// Hits that were lost.
    pub lost: u64,
    /// Blocks recorded and not released.
    pub live_blocks: u64,
    /// Call stacks seen.
    pub stacks: usize,
    /// Share of the time in which it could run that the probes took lately from the thread that pays most, from 0 to 1: what
    /// `--max-cost` bounds. `None` before the first second is over, and if no thread runs long enough to say.
    pub cost: Option<f64>,
}

/// Observes until the time is over, the targets end, or `stop` is ready, and reports. Then a launched command is ended;
/// `stop` is called a second time, and when it is ready again, the command is given no more time. Dropping the future takes
/// all probes away. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// If the targets cannot be found or observed, the kernel lacks what is needed, or a command cannot be started.
pub async fn observe(
    options: &Options,
    mut stop: impl AsyncFnMut(),
    mut tell: impl FnMut(Event<'_>),
) -> Result<Report> {
    let mut session = Session::start(options)?;
    let ended = {
        let mut asked = pin!(stop());
        // A signal that came meanwhile: nothing can be said of a target that was seen for a moment.
        if tokio::time::timeout(Duration::from_millis(1), asked.as_mut()).await.is_ok() {
            session.detach();
            return Err(Error::new(ErrorKind::Interrupted, "tried to observe")
                .because("a signal came while the probes were attached, before anything was measured"));
        }
        tell(Event::Attached(&session.attached_line()));
        if let Some(line) = options.too_short() {
            tell(Event::Notice(&line));
        }
        session.release_command()?;
        session.run(asked, &mut tell).await?
    };
    session.detach();
    // Behind the probes: whatever died of one is found here.
    session.note_ends();
    let mut report = session.report(ended)?;
    session.end_command(&mut report, stop(), &mut tell).await;
    Ok(report)
}

/// A running observation.
pub(super) struct Session<'a> {
    pub(super) options: &'a Options,
    pub(super) ground: Ground,
    pub(super) object: Object,
    pub(super) attacher: Attacher,
    pub(super) spaces: Vec<Space>,
    pub(super) modules: Modules,
    pub(super) stacks: Stacks,
    pub(super) totals: Totals,
    pub(super) blocks: Blocks,
    pub(super) tracker: Tracker,
    pub(super) worker: Worker,
    pub(super) cost: CostMeter,
    /// Seconds over which the guard averages before it may stop the observation.
    guard_seconds: usize,
    /// Whether the user was told what it costs.
    cost_told: bool,
    pub(super) started_unix_ns: u64,
    pub(super) start_ns: u64,
    pub(super) began: Instant,
    pub(super) length: Option<Duration>,
    /// When that length was over, on the clock of ages. Ages are counted to here: to take the probes away takes
    /// time, in which a leak would seem to have ended.
    end_ns: Option<u64>,
    pub(super) max_blocks: u32,
    /// Anonymous memory of the targets before anything was attached, in bytes.
    pub(super) bytes_before: u64,
    /// Their memory by kind, from then on.
    pub(super) memory: Memory,
    /// What they held a moment ago.
    pub(super) lately: Lately,
    /// Counters when the last probe was attached.
    early: [u64; Counter::COUNT],
    /// Counters when detaching began.
    late: Option<[u64; Counter::COUNT]>,
    /// What the interim report before said.
    pub(super) before: Before,
    ring: AsyncFd<OwnedFd>,
    records: RingBuf<aya::maps::MapData>,
    launched: Option<launch::Waiting>,
    /// Address spaces of programs that processes were for a moment, between two execs, with their pids.
    passing: BTreeMap<u16, u32>,
    /// Tells when a target ends.
    ends: Ends,
    rescanned: Instant,
    in_initial_namespace: bool,
    /// Follow what targets become, as long as they are held.
    _processes: Vec<OwnedFd>,
}

impl<'a> Session<'a> {
    /// Takes all probes away: allocations first, so that every recorded block's release can still be seen. Before
    /// that, the calls under way may return: of a realloc whose return is not seen, nobody would know what became of
    /// its block.
    fn detach(&mut self) {
        let begun = Instant::now();
        self.options.stage.begin("detaching");
        let reading = self.cost_reading().ok();
        self.cost.before_detach(reading);
        self.late = totals::counters(&self.object).ok();
        self.drain_calls();
        // Before the probes go, which may take seconds.
        self.let_commands_go_on();
        detach::all_at_once(self.spaces.iter_mut().flat_map(Space::take_allocs).collect());
        detach::all_at_once(self.spaces.iter_mut().flat_map(Space::take_frees).collect());
        // A call that was on its way to stop the command has done so: the kernel waits for the calls of a probe that it takes away.
        self.let_commands_go_on();
        self.cost.detached(begun.elapsed());
        self.options.stage.end();
    }

    /// Lets commands go on that are stopped, or about to be.
    fn let_commands_go_on(&mut self) {
        for space in &mut self.spaces {
            space.let_go_on_at_last(&self.object);
        }
    }

    /// What was counted while all probes were attached. While they come and go, releases are seen of blocks whose allocation
    /// was not.
    pub(super) fn counts_while_all_attached(
        &self,
        counters: &[u64; Counter::COUNT],
    ) -> [u64; Counter::COUNT] {
        let until = self.late.as_ref().unwrap_or(counters);
        std::array::from_fn(|at| until[at].saturating_sub(self.early[at]))
    }

    /// The command that was started, if that is observed.
    pub(super) fn command(&self) -> Option<&launch::Waiting> {
        self.launched.as_ref()
    }

    /// Follows no new calls, and waits a little for those under way: a thread may have ended inside one, or sleep there.
    fn drain_calls(&self) {
        let running = || self.spaces.iter().filter(|space| space.ended.is_none());
        for space in running() {
            if let Err(error) = space.close_to_allocs(&self.object) {
                tracing::debug!("process {}: {error}", space.process.pid());
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let under_way =
            || totals::counters(&self.object).is_ok_and(|counters| totals::under_way(&counters) > 0);
        while running().next().is_some() {
            // First of all: a hit that came before the space was closed may still be on its way to the ledger.
            std::thread::sleep(PAUSE);
            if !under_way() || Instant::now() >= deadline {
                break;
            }
        }
    }

    /// The report of what is known now.
    fn report(&mut self, ended: Ended) -> Result<Report> {
        // What still waits in the ring belongs to the report.
        self.drain(&mut |_| {})?;
        self.memory.look(&self.spaces, ended != Ended::Running);
        let begun = Instant::now();
        let moments = self.moments()?;
        let mut snapshot = self.snapshot(&moments)?;
        if ended == Ended::Running {
            self.keep(&snapshot.rows, &moments, begun);
        }
        self.as_they_lived(&mut snapshot.rows, &moments);
        let mut report = section::report(self, &snapshot, &moments.whole, ended)?;
        report.sum_up();
        Ok(report)
    }
}

impl Drop for Session<'_> {
    /// An error may end an observation before anything else lets a stopped command go on.
    fn drop(&mut self) {
        self.let_commands_go_on();
    }
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

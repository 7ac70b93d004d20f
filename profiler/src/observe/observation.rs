//! The state of a running observation, for its tools.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{files::Files, ground::Ground, settings::Settings, space::Space};
use crate::{
    capture::cost::CostMeter,
    elf::runtime::Runtime,
    report::{Frames, Stack},
    stack::{Spaces, stacks::Stacks},
    symbolize::{Location, Worker},
    target::{launch, modules::Modules},
    unwind::tracker::Tracker,
};

/// A running observation.
pub(crate) struct Observation<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) ground: Ground,
    pub(crate) spaces: Vec<Space>,
    /// Address spaces of processes that were to join and are not observed. Something of them may have been counted before that was known.
    pub(crate) left_out: BTreeSet<u16>,
    pub(crate) modules: Modules,
    pub(crate) stacks: Stacks,
    pub(crate) files: Files,
    pub(crate) worker: Worker,
    pub(super) tracker: Tracker,
    pub(super) cost: CostMeter,
    pub(crate) started_unix_ns: u64,
    pub(crate) began: Instant,
    /// The same on the monotonic clock, in nanoseconds; see [`Observation::begin_at`].
    pub(super) began_ns: u64,
    /// How long it lasted, once it is over.
    pub(crate) length: Option<Duration>,
    /// When that time was over, on the monotonic clock. Ages are counted to here, because detaching takes time.
    pub(crate) end_ns: Option<u64>,
    pub(super) launched: Option<launch::Waiting>,
    pub(crate) in_initial_namespace: bool,
}

impl Observation<'_> {
    /// Whether it is over: later events do not belong to it.
    pub(super) fn is_over(&self) -> bool {
        self.length.is_some()
    }

    /// The processes that have not ended.
    pub(crate) fn living(&self) -> impl Iterator<Item = u32> {
        self.spaces.iter().filter(|space| space.ended.is_none()).map(|space| space.process.pid())
    }

    /// The processes that have not ended, with the numbers of their address spaces, and whether they began while they were observed.
    pub(crate) fn living_spaces(&self) -> impl Iterator<Item = (u32, u16, bool)> {
        let living = self.spaces.iter().filter(|space| space.ended.is_none());
        let all_began = self.command().is_some();
        living.map(move |space| (space.process.pid(), space.number, all_began || space.begun.is_some()))
    }

    /// How long it has lasted.
    pub(crate) fn lasted(&self) -> Duration {
        self.length.unwrap_or_else(|| self.began.elapsed())
    }

    /// How much of it a space was observed: from when it joined until its end, or until it was stopped if it still is.
    pub(crate) fn lasted_of(&self, space: &Space) -> Duration {
        let now_ns = self.end_ns.unwrap_or_else(monotonic_ns);
        Duration::from_nanos(space.seen.ran_ns(self.began_ns, now_ns))
    }

    /// Notes when it began. Call it once: reading both clocks again would give another time, and keys in reports that
    /// depend on it would change.
    pub(super) fn begin_at(&mut self, began: Instant) {
        self.began = began;
        self.began_ns = monotonic_ns().saturating_sub(began.elapsed().as_nanos() as u64);
    }

    /// When it began, on the monotonic clock in nanoseconds.
    pub(crate) fn began_ns(&self) -> u64 {
        self.began_ns
    }

    /// How long it took to attach everything.
    pub(crate) fn attach_time(&self) -> Duration {
        self.cost.attach_time()
    }

    /// The targets, for people.
    pub(crate) fn who(&self) -> String {
        match self.spaces.as_slice() {
            [one] => format!("{} (pid {})", one.process.name().terminal(), one.process.pid()),
            many => format!("{} processes", many.len()),
        }
    }

    /// The command that was started, if that is observed.
    pub(crate) fn command(&self) -> Option<&launch::Waiting> {
        self.launched.as_ref()
    }

    /// Which process each address space belongs to: by number of the space, its pid, and how many spaces that process had before.
    /// A process that ended at once is known to the kernel side only.
    pub(crate) fn owners(&self) -> Vec<(u32, u64)> {
        let mut of_pid: BTreeMap<u32, u64> = BTreeMap::new();
        let ours: BTreeMap<u16, u32> =
            self.spaces.iter().map(|space| (space.number, space.process.pid())).collect();
        let owner = |number| {
            let pid = ours.get(&number).copied().unwrap_or_else(|| self.ground.space(number).tgid);
            let spaces = of_pid.entry(pid).or_default();
            *spaces += 1;
            (pid, *spaces - 1)
        };
        (0..self.ground.taken_spaces()).map(owner).collect()
    }

    /// The pid and the space of a stack; 0 if it is not known.
    pub(crate) fn program_of(&self, stack: u32) -> (u32, u16) {
        let number = self.stacks.get(stack).map(|stack| stack.space);
        let space = self.spaces.iter().find(|space| Some(space.number) == number);
        space.map_or((0, 0), |space| (space.process.pid(), space.number))
    }

    /// A stack in the form of the report; `None` if its frames are not known.
    pub(crate) fn stack_of(&self, number: u32, frames: &mut Frames) -> Option<Stack> {
        self.stacks.get(number)?;
        self.stacks.report(number, self.program_of(number).0, &self.modules, frames)
    }

    /// Publishes new mappings to the kernel side.
    pub(super) fn publish_mappings(&mut self) {
        let Observation { ground, spaces, modules, tracker, .. } = self;
        for space in spaces {
            space.publish_mappings(ground, tracker, modules);
        }
    }

    /// Resumes commands that are stopped, or about to be.
    pub(super) fn let_commands_go_on(&mut self) {
        for space in &mut self.spaces {
            space.let_go_on_at_last(&self.ground);
        }
    }
}

impl Drop for Observation<'_> {
    /// If an error ends the observation early, nothing else resumes a stopped command.
    fn drop(&mut self) {
        self.let_commands_go_on();
    }
}

impl Spaces for [Space] {
    fn made_code(&self, number: u16) -> Option<Location> {
        self.iter().find(|space| space.number == number).and_then(|space| space.made_code.clone())
    }

    fn runtimes(&self, number: u16) -> BTreeSet<Runtime> {
        self.iter()
            .find(|space| space.number == number)
            .map(|space| space.runtimes.clone())
            .unwrap_or_default()
    }
}

/// The monotonic clock, which the kernel side uses too, in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

//! Processes that join an observation: those that targets fork (`--children`), and those that begin later and have the name or are
//! in the cgroup that was asked for.

mod execs;
mod state;

pub(super) use state::Joining;

use std::time::Instant;

use profiler_common::space::{EXECED, FORKED};

use super::{
    observation::monotonic_ns,
    run::{Event, Run},
    settings::Targets,
    space::{Came, STARTING, Seen, Space},
};
use crate::{
    error::{Error, ErrorKind, Result},
    target::{find, process::Process, stat::Stat},
};

/// Notes on processes that joined. [`Joining::remarks`] counts those that did not.
const BEGAN: &str = "began during the observation: what came before the probes were in place is not seen";
const LATE: &str = "joined the observation late: what came before the probes were in place is not seen";

/// What happened to a process that was to join.
enum Joined {
    /// It is observed.
    Observed,
    /// It has already become another program, whose address space comes next.
    Passing(Process),
}

impl Run<'_> {
    /// The observation is over: later processes do not join if that takes probes, which would be inserted while all others are
    /// removed.
    pub(super) fn close_to_others(&mut self) {
        if self.tools.iter().any(|tool| tool.about().has_uprobes) {
            self.joining.close(self.on.ground.taken_spaces());
        }
    }

    /// Adds the address spaces that the kernel side has created since the last call, in order.
    pub(super) fn take_in_spaces(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        while self.joining.next < self.on.ground.taken_spaces() {
            let number = self.joining.next;
            // Its number was taken a moment ago. It will be complete at the next look.
            let Some(space) = self.on.ground.complete_space(number) else { return };
            self.joining.next += 1;
            match space.origin {
                FORKED => self.forked(number, space.tgid, space.before as u16, tell),
                EXECED => self.replaced(number, space.tgid, space.before as u16, tell),
                // We have created it.
                _ => {}
            }
        }
        self.note_unfollowed_execs(tell);
    }

    /// A target has forked a process. If it has already ended, only tools without probes in the process have counted it.
    fn forked(&mut self, number: u16, pid: u32, parent: u16, tell: &mut impl FnMut(Event<'_>)) {
        if self.joining.is_closed_to(number) {
            return;
        }
        let parent = self.on.ground.space(parent).tgid;
        let joined = Process::open(pid).and_then(|process| self.join(process, number, Came::Forked));
        self.announce(pid, number, Came::Forked, &format!("{parent} forked it"), joined, tell);
    }

    /// Observes processes that have started since the last look, if the user asked for a name or a cgroup.
    pub(super) fn join_newcomers(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        let found = match &self.on.settings.targets {
            Targets::Name(pattern) => find::by_name(pattern),
            Targets::Cgroup(directory) => find::by_cgroup(directory),
            Targets::Pids(_) | Targets::Command(_) => return,
        };
        let Run { on, joining, .. } = self;
        let is_of_target = |pid: u32| {
            let parent = Stat::of_process(pid).and_then(|stat| stat.parent());
            parent.is_some_and(|parent| on.ground.space_of(parent).is_some())
        };
        let may_be_forked = |pid| on.settings.children && is_of_target(pid);
        for pid in joining.newcomers(found.unwrap_or_default().into_iter().collect(), may_be_forked) {
            self.join_newcomer(pid, tell);
        }
    }

    /// The kernel side has reported a process that has started or has become another program.
    pub(super) fn begun(&mut self, pid: u32, tell: &mut impl FnMut(Event<'_>)) {
        // Processes do not count while all probes are being removed.
        if !self.on.is_over() && self.is_wanted(pid) && self.joining.met.insert(pid) {
            self.join_newcomer(pid, tell);
        }
    }

    /// Whether a process has the name, or is in the cgroup, that was asked for.
    fn is_wanted(&self, pid: u32) -> bool {
        match &self.on.settings.targets {
            Targets::Name(pattern) => find::has_name(pid, pattern),
            Targets::Cgroup(directory) => find::is_in_cgroup(pid, directory),
            Targets::Pids(_) | Targets::Command(_) => false,
        }
    }

    fn join_newcomer(&mut self, pid: u32, tell: &mut impl FnMut(Event<'_>)) {
        let is_observed = |space: &Space| space.process.pid() == pid && space.ended.is_none();
        // A process that the kernel side knows is a child, which is about to be added.
        if self.on.ground.space_of(pid).is_some() || self.on.spaces.iter().any(is_observed) {
            return;
        }
        let Some(number) = self.on.ground.take_space() else {
            self.joining.no_room += 1;
            return;
        };
        let mut came = Came::Began;
        let joined = Process::open(pid).and_then(|process| {
            // It was renamed, or moved into the cgroup.
            if process.began_before(self.joining.began_ticks) {
                came = Came::Late;
            }
            self.join(process, number, came)
        });
        if joined.is_ok() {
            self.joining.newcomers.insert(pid);
        }
        let why = match (came, &self.on.settings.targets) {
            (Came::Late, Targets::Cgroup(_)) => "it is in the cgroup by now",
            (Came::Late, _) => "it has the name by now",
            _ => "it began during the observation",
        };
        self.announce(pid, number, came, why, joined, tell);
    }

    /// Observes a process.
    fn join(&mut self, process: Process, number: u16, came: Came) -> Result<Joined> {
        let pid = process.pid();
        let knows_pids = self.on.in_initial_namespace;
        let is_forked = came == Came::Forked;
        // The process is held, so the kernel side's record is of this very process.
        if is_forked && self.on.ground.is_replaced(number) {
            return Ok(Joined::Passing(process));
        }
        if is_forked && self.on.ground.space_of(pid) != Some(number) {
            return Err(Error::new(ErrorKind::NoSuchProcess, format_args!("tried to observe process {pid}"))
                .because("it has ended"));
        }
        self.try_probes_under_seccomp()?;
        let Run { on, tools, ends, .. } = self;
        let mut space = Space::new(number, process, &mut on.modules)?;
        tools.iter().try_for_each(|tool| tool.check(&space, &on.modules))?;
        if !is_forked {
            space.register(&on.ground, false, knows_pids)?;
            // What was read may be about the previous program.
            if space.is_another_program() {
                space.refresh(&on.ground, &mut on.modules);
            }
        }
        // An older process has mapped its libraries, and so has the parent of a forked one.
        let is_starting = came == Came::Began || came == Came::Late && space.process.age() < STARTING;
        for tool in &mut *tools {
            tool.attach_anew(&mut space, &on.ground, &mut on.modules, is_starting)?;
        }
        space.seen = Seen::since(came, monotonic_ns());
        space.begun = is_starting.then(Instant::now);
        // Tracepoints see a forked process from its first call on.
        if !is_forked || tools.iter().any(|tool| tool.about().has_uprobes) {
            space.notes.push(if came == Came::Late { LATE } else { BEGAN }.to_owned());
        }
        ends.add(&space.process).map_err(|e| {
            Error::new(ErrorKind::Limit, format_args!("tried to wait for the end of process {pid}"))
                .because_of(e)
        })?;
        on.spaces.push(space);
        Ok(Joined::Observed)
    }

    /// Tests probes under a seccomp filter once, on a process of our own: a process that has just started may install a filter
    /// at any time.
    fn try_probes_under_seccomp(&mut self) -> Result<()> {
        let Run { on, tools, joining, .. } = self;
        let method = on.settings.method;
        let mut with_probes = tools.iter().map(|tool| tool.about()).filter(|about| about.has_uprobes);
        let trial = || with_probes.try_for_each(|about| (about.trial)(method).map(drop));
        let tried = joining.trial.get_or_insert_with(trial).clone();
        // Whatever happened to our own process, the one that joins has not ended.
        tried.map_err(|error| match error.kind() {
            ErrorKind::NoSuchProcess => {
                Error::new(ErrorKind::Kernel, "tried probes on a process of our own").because_of(error)
            }
            _ => error,
        })
    }

    fn announce(
        &mut self,
        pid: u32,
        number: u16,
        came: Came,
        why: &str,
        joined: Result<Joined>,
        tell: &mut impl FnMut(Event<'_>),
    ) {
        let line = match joined {
            Ok(Joined::Observed) => format!("process {pid} is observed too: {why}"),
            Ok(Joined::Passing(process)) => {
                self.joining.passing.insert(number, process);
                return;
            }
            Err(error) => {
                if error.kind() == ErrorKind::NoSuchProcess {
                    self.forget(number);
                    self.joining.too_short +=
                        u64::from(self.tools.iter().any(|tool| tool.about().has_uprobes));
                    return;
                }
                self.leave_out(pid, number);
                self.joining.refuse(pid, came, &error);
                format!("process {pid} is not observed ({why}): {error}")
            }
        };
        if let Some(line) = self.joining.announcement(line) {
            tell(Event::Notice(&line));
        }
    }

    /// Removes the probes from an observed process that would be harmed by them.
    pub(super) fn refuse(&mut self, number: u16, error: &Error, tell: &mut impl FnMut(Event<'_>)) {
        let Some(space) = self.on.spaces.iter_mut().find(|space| space.number == number) else { return };
        space.refused = true;
        let (pid, came) = (space.process.pid(), space.seen.came);
        self.leave_out(pid, number);
        self.joining.refuse(pid, came, error);
        tell(Event::Notice(&format!("process {pid} is not observed: {error}")));
    }

    /// A process is not observed after all, by any tool: its calls do not count, and its children are not followed.
    pub(super) fn leave_out(&mut self, pid: u32, number: u16) {
        self.on.left_out.insert(number);
        self.on.ground.forget_target(pid, number);
        self.forget(number);
    }

    /// Detaches everything from a space that is not observed.
    pub(super) fn forget(&mut self, number: u16) {
        let links = self
            .tools
            .iter_mut()
            .flat_map(|tool| tool.take_first(Some(number)).into_iter().chain(tool.take_last(Some(number))));
        self.leaving.close(links.collect());
    }
}

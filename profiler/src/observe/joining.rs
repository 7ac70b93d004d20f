//! Processes that join an observation: those that targets fork (`--children`), and those that begin later and have the name or are
//! in the cgroup that was asked for.

mod execs;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use profiler_common::space::{EXECED, FORKED};

use super::{
    observation::monotonic_ns,
    run::{Event, Run},
    settings::Targets,
    space::{Seen, Space},
};
use crate::{
    error::{Error, ErrorKind, Result},
    target::{find, process::Process},
};

/// Processes that are announced one by one; others only with `-v`.
const ANNOUNCED: u32 = 5;
/// Note on a process that joined. [`Joining::remarks`] counts those that did not.
const BEGAN: &str = "began during the observation: what came before the probes were in place is not seen";

/// What is known of processes that join.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// Address spaces with a number below this one are taken in.
    next: u16,
    /// Programs that processes were for a moment, until their next exec, by the number of their space.
    pub(super) passing: BTreeMap<u16, Process>,
    /// Processes of the name or the cgroup that was asked for, at the last look.
    met: BTreeSet<u32>,
    /// Whether probes are safe for processes with a seccomp filter, if that was tried.
    trial: Option<Result<()>>,
    announced: u32,
    /// Execs that were followed.
    execs: u32,
    /// Processes for which there was no room.
    pub(super) no_room: u64,
    /// Processes that joined because of their name or cgroup.
    newcomers: BTreeSet<u32>,
    /// Processes that ended before anything could be attached to them.
    too_short: u64,
    /// Processes that cannot be observed: the first, why, and how many for the same reason.
    refused: BTreeMap<String, (u32, u64)>,
}

/// What became of a process that was to join.
enum Joined {
    /// It is observed.
    Observed,
    /// It has become another program already, whose address space is taken in next.
    Passing(Process),
}

impl Joining {
    /// Before anything has joined. `given`: how many address spaces there are.
    pub(super) fn new(given: u16, met: BTreeSet<u32>, trial: Option<Result<()>>) -> Joining {
        Joining { next: given, met, trial, ..Joining::default() }
    }

    /// What the report says of processes that did not join.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = self.refused.iter().map(|(why, (pid, count))| match count {
            1 => format!("process {pid} began during the observation and is not observed: {why}"),
            _ => format!(
                "{count} processes that began during the observation are not observed, process {pid} the first: {why}"
            ),
        }).collect();
        match self.too_short {
            0 => {}
            1 => remarks.push(
                "1 process ended before probes were in it: what these would have seen is missing".to_owned(),
            ),
            many => remarks.push(format!(
                "{many} processes ended before probes were in them: what these would have seen is missing"
            )),
        }
        remarks
    }

    fn refuse(&mut self, pid: u32, error: &Error) {
        // The same reason has other words for each process in front.
        let why = error.cause().map_or_else(|| error.to_string(), str::to_owned);
        self.refused.entry(why).or_insert((pid, 0)).1 += 1;
    }
}

impl Run<'_> {
    /// Takes in the address spaces that the kernel side has made since the last time, in their order.
    pub(super) fn take_in_spaces(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        while self.joining.next < self.on.ground.taken_spaces() {
            let number = self.joining.next;
            // Its number was taken an instant ago. The next look finds it complete.
            let Some(space) = self.on.ground.complete_space(number) else { return };
            self.joining.next += 1;
            match space.origin {
                FORKED => self.forked(number, space.tgid, space.before as u16, tell),
                EXECED => self.replaced(number, space.tgid, space.before as u16, tell),
                // We have taken it.
                _ => {}
            }
        }
        self.note_unfollowed_execs(tell);
    }

    /// A target has forked a process. One that ends at once is only in what tools without probes of their own have counted.
    fn forked(&mut self, number: u16, pid: u32, parent: u16, tell: &mut impl FnMut(Event<'_>)) {
        let parent = self.on.ground.space(parent).tgid;
        let joined = self.join(pid, number, false);
        self.announce(pid, number, &format!("{parent} forked it"), joined, tell);
    }

    /// Observes processes that have begun since the last look, if a name or a cgroup was asked for.
    pub(super) fn join_newcomers(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        let found = match &self.on.settings.targets {
            Targets::Name(pattern) => find::by_name(pattern),
            Targets::Cgroup(directory) => find::by_cgroup(directory),
            Targets::Pids(_) | Targets::Command(_) => return,
        };
        let found: BTreeSet<u32> = found.unwrap_or_default().into_iter().collect();
        let before = std::mem::replace(&mut self.joining.met, found.clone());
        for pid in found.difference(&before) {
            self.join_newcomer(*pid, tell);
        }
    }

    /// The kernel side has reported a process that has begun or has become another program.
    pub(super) fn begun(&mut self, pid: u32, tell: &mut impl FnMut(Event<'_>)) {
        if self.is_wanted(pid) && self.joining.met.insert(pid) {
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
        // One that the kernel side knows is a child that is about to be taken in.
        if self.on.ground.space_of(pid).is_some() || self.on.spaces.iter().any(is_observed) {
            return;
        }
        let number = self.on.ground.take_space();
        let joined = match number {
            Some(number) => self.join(pid, number, true),
            None => Err(Error::new(ErrorKind::Limit, format_args!("tried to observe process {pid}"))
                .because("there is no room for another one")),
        };
        if joined.is_ok() {
            self.joining.newcomers.insert(pid);
        }
        match number {
            Some(number) => self.announce(pid, number, "it began during the observation", joined, tell),
            None => self.joining.no_room += 1,
        }
    }

    /// Observes a process. `is_new`: it has just begun, and is not a copy of an observed one.
    fn join(&mut self, pid: u32, number: u16, is_new: bool) -> Result<Joined> {
        let process = Process::open(pid)?;
        let knows_pids = self.on.in_initial_namespace;
        // Held from here on: what the kernel side knows now is of this very process.
        if !is_new && self.on.ground.is_replaced(number) {
            return Ok(Joined::Passing(process));
        }
        if !is_new && self.on.ground.space_of(pid) != Some(number) {
            return Err(Error::new(ErrorKind::NoSuchProcess, format_args!("tried to observe process {pid}"))
                .because("it has ended"));
        }
        self.try_probes_under_seccomp()?;
        let Run { on, tools, ends, .. } = self;
        let mut space = Space::new(number, process, &mut on.modules)?;
        tools.iter().try_for_each(|tool| tool.check(&space, &on.modules))?;
        if is_new {
            space.register(&on.ground, false, knows_pids)?;
            // Whatever was read may be of the program before.
            if space.is_another_program() {
                space.refresh(&on.ground, &mut on.modules);
            }
        }
        for tool in &mut *tools {
            tool.attach_anew(&mut space, &on.ground, &mut on.modules, is_new)?;
        }
        space.seen = Seen::since(monotonic_ns());
        space.begun = is_new.then(Instant::now);
        if is_new || tools.iter().any(|tool| tool.about().has_uprobes) {
            space.notes.push(BEGAN.to_owned());
        }
        ends.add(&space.process).map_err(|e| {
            Error::new(ErrorKind::Limit, format_args!("tried to wait for the end of process {pid}"))
                .because_of(e)
        })?;
        on.spaces.push(space);
        Ok(Joined::Observed)
    }

    /// Tries probes on a process of our own under a seccomp filter, once: what has just begun may install a filter at any time.
    fn try_probes_under_seccomp(&mut self) -> Result<()> {
        let Run { on, tools, joining, .. } = self;
        let method = on.settings.method;
        let mut with_probes = tools.iter().map(|tool| tool.about()).filter(|about| about.has_uprobes);
        let trial = || with_probes.try_for_each(|about| (about.trial)(method));
        joining.trial.get_or_insert_with(trial).clone()
    }

    fn announce(
        &mut self,
        pid: u32,
        number: u16,
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
                self.forget(number);
                if error.kind() == ErrorKind::NoSuchProcess {
                    self.joining.too_short +=
                        u64::from(self.tools.iter().any(|tool| tool.about().has_uprobes));
                    return;
                }
                self.joining.refuse(pid, &error);
                format!("process {pid} is not observed ({why}): {error}")
            }
        };
        self.joining.announced += 1;
        match self.joining.announced {
            ..=ANNOUNCED => tell(Event::Notice(&line)),
            _ => tracing::info!("{line}"),
        }
    }

    /// Takes the probes out of a process that is observed, and would be harmed by them.
    pub(super) fn refuse(&mut self, number: u16, error: &Error, tell: &mut impl FnMut(Event<'_>)) {
        self.forget(number);
        let Some(space) = self.on.spaces.iter_mut().find(|space| space.number == number) else { return };
        space.refused = true;
        let pid = space.process.pid();
        self.joining.refuse(pid, error);
        tell(Event::Notice(&format!("process {pid} is not observed: {error}")));
    }

    /// Takes away what was attached for a space that is not observed.
    pub(super) fn forget(&mut self, number: u16) {
        let links = self
            .tools
            .iter_mut()
            .flat_map(|tool| tool.take_first(Some(number)).into_iter().chain(tool.take_last(Some(number))));
        self.leaving.close(links.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_join_is_counted_by_reason() {
        let mut joining = Joining::default();
        assert!(joining.remarks().is_empty());
        let error = |why: &str| Error::new(ErrorKind::UnsupportedTarget, "tried this").because(why);
        for (pid, why) in [(7, "one"), (8, "two"), (9, "two")] {
            joining.refuse(pid, &error(why));
        }
        joining.too_short = 2;
        let remarks = joining.remarks();
        assert_eq!(remarks.len(), 3, "{remarks:#?}");
        assert!(remarks[0].starts_with("process 7 began") && remarks[0].contains("one"), "{remarks:#?}");
        assert!(
            remarks[1].starts_with("2 processes that began") && remarks[1].contains("process 8"),
            "{remarks:#?}"
        );
        assert!(remarks[2].starts_with("2 processes ended before"), "{remarks:#?}");
    }
}

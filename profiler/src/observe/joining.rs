//! Processes that join an observation: those that targets fork (`--children`), and those that begin later and have the name or are in
//! the cgroup that was asked for.

use std::collections::BTreeSet;

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

impl Run<'_> {
    /// A target has forked a process, to which the kernel side has given an address space. One that ended at once is only in what
    /// tools without probes of their own have counted.
    pub(super) fn forked(&mut self, number: u16, parent: u32, tell: &mut impl FnMut(Event<'_>)) {
        let pid = self.on.ground.space(number).tgid;
        let parent = self.on.ground.space(parent as u16).tgid;
        let joined = self.join(pid, number);
        self.announce(pid, &format!("{parent} forked it"), joined, tell);
    }

    /// Observes processes that have begun since, if a name or a cgroup was asked for.
    pub(super) fn join_newcomers(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        let found = match &self.on.settings.targets {
            Targets::Name(pattern) => find::by_name(pattern),
            Targets::Cgroup(directory) => find::by_cgroup(directory),
            Targets::Pids(_) | Targets::Command(_) => return,
        };
        let found: BTreeSet<u32> = found.unwrap_or_default().into_iter().collect();
        let before = std::mem::replace(&mut self.met, found.clone());
        for pid in found.difference(&before) {
            let is_observed =
                self.on.spaces.iter().any(|space| space.process.pid() == *pid && space.ended.is_none());
            if !is_observed {
                let joined = self.begin_to_observe(*pid);
                self.announce(*pid, "it began during the observation", joined, tell);
            }
        }
    }

    fn begin_to_observe(&mut self, pid: u32) -> Result<()> {
        let number = self.on.ground.take_space().ok_or_else(|| {
            Error::new(ErrorKind::Limit, format_args!("tried to observe process {pid}"))
                .because("there is no room for another one")
        })?;
        self.join(pid, number)
    }

    fn join(&mut self, pid: u32, number: u16) -> Result<()> {
        let Run { on, tools, ends, .. } = self;
        let mut space = Space::new(number, Process::open(pid)?, &mut on.modules)?;
        tools.iter().try_for_each(|tool| tool.check(&space, &on.modules))?;
        if on.ground.space(number).tgid == 0 {
            space.register(&on.ground, false, on.in_initial_namespace)?;
        }
        for tool in &mut *tools {
            tool.attach_anew(&mut space, &on.ground, &mut on.modules, false)?;
        }
        space.seen = Seen::since(monotonic_ns());
        if tools.iter().any(|tool| tool.about().has_uprobes) {
            space.notes.push(format!(
                "process {pid} began during the observation: what it did before probes were in it is not seen"
            ));
        }
        ends.add(&space.process).map_err(|e| {
            Error::new(ErrorKind::Limit, format_args!("tried to wait for the end of process {pid}"))
                .because_of(e)
        })?;
        on.spaces.push(space);
        Ok(())
    }

    fn announce(&mut self, pid: u32, why: &str, joined: Result<()>, tell: &mut impl FnMut(Event<'_>)) {
        let line = match joined {
            Ok(()) => format!("process {pid} is observed too: {why}"),
            Err(error) if error.kind() == ErrorKind::NoSuchProcess => return,
            Err(error) => format!("process {pid} is not observed ({why}): {error}"),
        };
        self.announced += 1;
        match self.announced {
            ..=ANNOUNCED => tell(Event::Notice(&line)),
            _ => tracing::info!("{line}"),
        }
    }
}

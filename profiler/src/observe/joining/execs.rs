//! Programs that observed processes become by exec.

use std::time::Instant;

use super::super::{
    brief::REPLACED,
    observation::monotonic_ns,
    run::{Event, Run},
    space::{Came, Seen, Space},
};
use crate::{
    error::{Error, ErrorKind, Result},
    target::process::Process,
};

impl Run<'_> {
    /// A target has become another program, in address space `next`: the old space is complete.
    pub(super) fn replaced(&mut self, next: u16, pid: u32, before: u16, tell: &mut impl FnMut(Event<'_>)) {
        self.end_replaced(before);
        self.joining.passing.remove(&before);
        // A server that runs a command is two processes of its name for a moment.
        if !self.on.settings.children && self.joining.newcomers.contains(&pid) && !self.is_wanted(pid) {
            self.joining.newcomers.remove(&pid);
            self.leave_out(pid, next);
            return;
        }
        if self.joining.is_closed_to(next) {
            return;
        }
        let followed = self.follow_exec(pid, next);
        // The space of the new program holds its process now.
        if let [spaces @ .., last] = self.on.spaces.as_mut_slice()
            && last.number == next
        {
            spaces.iter_mut().filter(|space| space.number == before).for_each(Space::release);
        }
        match followed {
            Ok(Some(line)) => tell(Event::Notice(&line)),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::NoSuchProcess => {
                self.joining.too_short += u64::from(self.tools.iter().any(|tool| tool.about().has_uprobes));
            }
            Err(error) => {
                self.leave_out(pid, next);
                self.joining.refuse(pid, Came::Execed, &error);
                tell(Event::Notice(&format!("process {pid} replaced itself by exec: {error}")));
            }
        }
    }

    /// Ends the space of a replaced program. Returns whether it was observed.
    fn end_replaced(&mut self, number: u16) -> bool {
        let live = |space: &&mut Space| space.number == number && space.ended.is_none();
        let Some(old) = self.on.spaces.iter_mut().find(live) else { return false };
        old.end(REPLACED.to_owned(), monotonic_ns());
        self.joining.too_short += u64::from(!self.tools.iter().all(|tool| tool.sees(number)));
        self.on.tracker.forget(number);
        self.forget(number);
        true
    }

    /// Ends the spaces of replaced programs whose successor got no number, because none was left.
    pub(super) fn note_unfollowed_execs(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        let ground = &self.on.ground;
        let is_lost = |space: &&Space| space.ended.is_none() && ground.is_replaced(space.number);
        let lost = self.on.spaces.iter().filter(is_lost).map(|space| (space.number, space.process.pid()));
        for (number, pid) in lost.collect::<Vec<_>>() {
            // Its next space may have been created since.
            if self.joining.next < self.on.ground.taken_spaces() {
                return;
            }
            self.end_replaced(number);
            tell(Event::Notice(&format!(
                "process {pid} replaced itself by exec and is no longer observed: there is no room for another program"
            )));
        }
    }

    /// Observes the new program of a process. `None` if it has already become yet another one, or if there were too many to
    /// announce.
    fn follow_exec(&mut self, pid: u32, number: u16) -> Result<Option<String>> {
        let process = Process::open(pid)?;
        if self.on.ground.is_replaced(number) {
            self.joining.passing.insert(number, process);
            self.joining.too_short += u64::from(self.tools.iter().any(|tool| tool.about().has_uprobes));
            return Ok(None);
        }
        let knows_pids = self.on.in_initial_namespace;
        if knows_pids && self.on.ground.space_of(pid) != Some(number) {
            return Err(Error::new(ErrorKind::NoSuchProcess, format_args!("tried to observe process {pid}"))
                .because("it has ended"));
        }
        self.try_probes_under_seccomp()?;
        let Run { on, tools, ends, joining, .. } = self;
        let mut space = Space::new(number, process, &mut on.modules)?;
        tools.iter().try_for_each(|tool| tool.check(&space, &on.modules))?;
        if on.ground.is_replaced(number) || space.is_another_program() {
            joining.passing.insert(number, space.process);
            joining.too_short += u64::from(tools.iter().any(|tool| tool.about().has_uprobes));
            return Ok(None);
        }
        for tool in &mut *tools {
            tool.attach_anew(&mut space, &on.ground, &mut on.modules, true)?;
        }
        space.seen = Seen::since(Came::Execed, monotonic_ns());
        space.begun = Some(Instant::now());
        // Its dynamic linker may not have started: then later looks find what to probe.
        let is_seen = tools.iter().all(|tool| tool.sees(number));
        let anew = if is_seen { "observed anew" } else { "nothing of it is probed yet" };
        let line = format!("process {pid} is now {}: {anew}", space.exe.terminal());
        ends.add(&space.process).map_err(|e| {
            Error::new(ErrorKind::Limit, format_args!("tried to wait for the end of process {pid}"))
                .because_of(e)
        })?;
        on.spaces.push(space);
        Ok(joining.announcement(line))
    }
}

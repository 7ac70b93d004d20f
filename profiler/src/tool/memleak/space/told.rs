//! What the kernel side is told of an address space.

use std::{
    mem::offset_of,
    time::{Duration, Instant},
};

use profiler_common::{
    memleak::FREES_NEST,
    space::{CALLER_STEPS, HOLD, HOLD_CLAIMED, HOLD_SIGNALLED, OVER, Space as WireSpace, address_key},
    unwind::CallerStep,
};

use super::{Part, Space};
use crate::{
    capture::object::Object, error::Result, observe::ground::Ground, target::modules::Modules,
    tool::memleak::totals, unwind::tracker::Tracker,
};

/// How long a thread may take from its claim of the hold to the signal: some instructions, and more if it is preempted there.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(100);
/// How often it is looked whether it has sent it.
const SIGNAL_PAUSE: Duration = Duration::from_millis(1);

impl Space {
    /// What the kernel side is told of this space. `launched`: the process will become its command by one exec.
    pub(crate) fn register(
        &self,
        ground: &Ground,
        object: &Object,
        launched: bool,
        in_initial_namespace: bool,
    ) -> Result<()> {
        let space = WireSpace {
            tgid: if in_initial_namespace { self.process.pid() } else { 0 },
            execs_to_come: u32::from(launched),
            replaced: 0,
            flags: if self.held { HOLD } else { 0 },
            slot: 0,
            generation: 0,
        };
        if self.held {
            totals::want_hold(object, self.number)?;
        }
        ground.register(self.number, &space)
    }

    /// Tells the kernel side where things are mapped, if that has changed, so that it can walk stacks.
    pub(crate) fn tell_mappings(
        &mut self,
        object: &Object,
        tracker: &mut Tracker,
        modules: &Modules,
    ) -> Result<()> {
        if self.ended.is_some() || !std::mem::take(&mut self.untold) {
            return Ok(());
        }
        let Some(told) = tracker.tell(self.number, self.process.pid(), &self.layout, modules) else {
            return Ok(());
        };
        // In this order: what is remembered for a generation was walked in its slot.
        totals::set_in_space(object, self.number, offset_of!(WireSpace, slot), told.slot)?;
        totals::set_in_space(object, self.number, offset_of!(WireSpace, generation), told.generation)
    }

    /// Tells the kernel side what it has to watch for here.
    pub(super) fn set_flags(&self, object: &Object) -> Result<()> {
        let flags = if self.free_sites > 1 { FREES_NEST } else { 0 }
            | if self.stepped.is_empty() { 0 } else { CALLER_STEPS }
            | if self.held { HOLD } else { 0 };
        self.write_flags(object, |_| flags)
    }

    /// Whether the kernel side has stopped the process and nobody has let it go on.
    pub(crate) fn is_held_up(&self, object: &Object) -> bool {
        self.held && matches!(totals::hold(object, self.number), Ok(HOLD_SIGNALLED))
    }

    /// Lets a process go on that the kernel side has stopped. One that was not stopped gets no signal.
    pub(crate) fn let_go_on(&mut self, object: &Object) {
        if !self.is_held_up(object) {
            return;
        }
        self.held = false;
        let told = self.write_flags(object, |flags| flags & !HOLD);
        // Then every call looks whether there is a hold, and finds none.
        if let Err(error) = told {
            tracing::debug!("process {}: {error}", self.process.pid());
        }
        self.process.wake();
    }

    /// The same at the end, when no call will be told of any more: waits for the signal if it is about to be sent.
    pub(crate) fn let_go_on_at_last(&mut self, object: &Object) {
        let deadline = Instant::now() + SIGNAL_PATIENCE;
        while self.held
            && matches!(totals::hold(object, self.number), Ok(HOLD_CLAIMED))
            && Instant::now() < deadline
        {
            std::thread::sleep(SIGNAL_PAUSE);
        }
        self.let_go_on(object);
    }

    /// Tells the kernel side that the observation is over: what is allocated from now on does not count.
    pub(crate) fn close_to_allocs(&self, object: &Object) -> Result<()> {
        self.write_flags(object, |flags| flags | OVER)
    }

    /// Changes the flags, which nobody else writes.
    fn write_flags(&self, object: &Object, changed: impl FnOnce(u32) -> u32) -> Result<()> {
        let flags = totals::space(object, self.number)?.flags;
        totals::set_in_space(object, self.number, offset_of!(WireSpace, flags), changed(flags))
    }

    /// Tells the kernel side how to step out of `operator new`, where it is mapped.
    pub(super) fn teach_steps(&mut self, object: &Object, part: &Part) -> Result<()> {
        if part.plan.steps.is_empty() {
            return Ok(());
        }
        let mut written = false;
        for (mapping, _) in self.layout.files().filter(|(_, id)| *id == part.module) {
            for (offset, step) in &part.plan.steps {
                let Some(into) = offset.checked_sub(mapping.offset) else { continue };
                if into >= mapping.end - mapping.start {
                    continue;
                }
                let key = address_key(self.number, mapping.start + into);
                let value = CallerStep {
                    cfa_from_rsp_bytes: step.cfa_from_rsp.into(),
                    rbp_below_cfa_bytes: step.rbp_saved_at.unwrap_or(0).into(),
                };
                totals::write(object, "CALLER_STEPS", &key, &value)?;
                written = true;
            }
        }
        if written {
            self.stepped.insert(part.module);
        } else {
            // Not mapped yet: plan again when it is.
            self.planned.remove(&part.module);
        }
        Ok(())
    }

    /// Whether the process is another program by now, though we may not have been told yet.
    pub(crate) fn replaced(&self, object: &Object) -> bool {
        totals::space(object, self.number).is_ok_and(|space| space.replaced != 0)
    }
}

//! The kernel side's record of an address space.

use std::{
    mem::offset_of,
    time::{Duration, Instant},
};

use profiler_common::space::{HOLD, HOLD_CLAIMED, HOLD_SIGNALLED, OVER, Space as WireSpace};

use super::{super::ground::Ground, Space};
use crate::{error::Result, target::modules::Modules, unwind::tracker::Tracker};

/// How long a thread may take from claiming the hold to sending the signal: a few instructions, or more if it is preempted
/// there.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(100);
/// How often to check whether it has sent it.
const SIGNAL_PAUSE: Duration = Duration::from_millis(1);

impl Space {
    /// Registers this space with the kernel side. `launched`: the process will become its command by one exec.
    pub(crate) fn register(&self, ground: &Ground, launched: bool, in_initial_namespace: bool) -> Result<()> {
        let space = WireSpace {
            execs_to_come: u32::from(launched),
            flags: if self.held { HOLD } else { 0 },
            ..WireSpace::given(if in_initial_namespace { self.process.pid() } else { 0 })
        };
        if self.held {
            ground.want_hold(self.number)?;
        }
        ground.register(self.number, &space)
    }

    /// Publishes the mappings if they have changed, so that the kernel side can walk stacks.
    pub(crate) fn publish_mappings(&mut self, ground: &Ground, tracker: &mut Tracker, modules: &Modules) {
        if self.ended.is_some() || !std::mem::take(&mut self.dirty) {
            return;
        }
        let Some(published) = tracker.publish(self.number, self.process.pid(), &self.layout, modules) else {
            return;
        };
        // In this order: what the kernel side remembers for a generation was walked with the mappings of its slot.
        ground.set_in_space(self.number, offset_of!(WireSpace, slot), published.slot);
        ground.set_in_space(self.number, offset_of!(WireSpace, generation), published.generation);
    }

    /// Whether the kernel side has stopped the process and it was not resumed yet.
    pub(crate) fn is_held_up(&self, ground: &Ground) -> bool {
        self.held && ground.hold(self.number) == HOLD_SIGNALLED
    }

    /// Resumes a process that the kernel side has stopped. Other processes get no signal.
    pub(crate) fn let_go_on(&mut self, ground: &Ground) {
        if !self.is_held_up(ground) {
            return;
        }
        self.held = false;
        // While the flag is set, every call looks up the hold.
        ground.change_flags(self.number, |flags| flags & !HOLD);
        self.process.wake();
    }

    /// The same at the end, when no more calls are seen: waits for the signal if it is about to be sent.
    pub(crate) fn let_go_on_at_last(&mut self, ground: &Ground) {
        let deadline = Instant::now() + SIGNAL_PATIENCE;
        while self.held && ground.hold(self.number) == HOLD_CLAIMED && Instant::now() < deadline {
            std::thread::sleep(SIGNAL_PAUSE);
        }
        self.let_go_on(ground);
    }

    /// The observation is over: calls that begin from now on do not count.
    pub(crate) fn close(&self, ground: &Ground) {
        ground.change_flags(self.number, |flags| flags | OVER);
    }
}

//! What targets hold, read at intervals: a target is judged by what it held just before it ended.

use std::{collections::BTreeMap, time::Instant};

use super::{
    collect::{self, Snapshot},
    tool::Memleak,
};
use crate::{
    error::Result,
    observe::Observation,
    stats::lifetimes::{moments::Moments, rows::StackRow},
};

impl Memleak {
    /// Reads the maps, for these moments.
    pub(super) fn read(&self, on: &Observation<'_>, moments: &Moments) -> Result<Snapshot> {
        let stacks = on.settings.max_stacks as usize;
        let space_of = |stack| on.stacks.get(stack).map(|stack| stack.space);
        collect::snapshot(self.object()?, self.totals()?, self.blocks()?, stacks, moments, space_of)
    }

    /// Notes what the targets hold, unless the last look was too recent.
    pub(super) fn look_at_held(&mut self, on: &Observation<'_>) -> Result<()> {
        let begun = Instant::now();
        if self.recent.is_too_soon(begun) || on.spaces.iter().all(|space| space.ended.is_some()) {
            return Ok(());
        }
        let moments = self.moments(on)?;
        let snapshot = self.read(on, &moments)?;
        self.keep(on, &snapshot.rows, &moments, begun);
        Ok(())
    }

    /// Keeps what was read since `begun`, for targets that are still alive.
    pub(super) fn keep(
        &mut self,
        on: &Observation<'_>,
        rows: &[StackRow],
        moments: &Moments,
        begun: Instant,
    ) {
        let Memleak { recent, memory, .. } = self;
        let lives = on.spaces.iter().filter(|space| space.ended.is_none() && !space.process.ended());
        let mut of_spaces: BTreeMap<u16, Vec<StackRow>> =
            lives.map(|space| (space.number, Vec::new())).collect();
        for row in rows {
            if let Some(kept) = on.stacks.get(row.stack).and_then(|stack| of_spaces.get_mut(&stack.space)) {
                kept.push(row.clone());
            }
        }
        for (space, rows) in of_spaces {
            let held = recent.keep(space, rows, moments.of(space).0, begun);
            memory.note_followed(space, held);
        }
        recent.looked(begun);
    }

    /// Replaces the rows of targets that freed most of their old memory as they ended by those from just before.
    pub(super) fn as_they_lived(&mut self, on: &Observation<'_>, rows: &mut [StackRow], moments: &Moments) {
        let by_themselves =
            on.spaces.iter().filter(|space| space.ended.is_some() && space.killed_by != Some(libc::SIGKILL));
        for space in by_themselves.map(|space| space.number) {
            let is_of = |stack| on.stacks.get(stack).is_some_and(|stack| stack.space == space);
            self.recent.put_back(space, moments.of(space).0, rows, is_of);
        }
    }
}

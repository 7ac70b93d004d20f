//! What targets held a moment ago. Many programs free everything as they end: these are judged as they were just before.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use profiler_common::memleak::age::UNIT_NS;

use super::{
    collect::{self, Moments, Snapshot},
    rows::{Observed, StackRow},
    tool::Memleak,
};
use crate::{error::Result, observe::Observation};

/// What is held is not read again before so long. A little less than a second, for a look that is due every second.
const REST: Duration = Duration::from_millis(900);
/// Nor before so many times as long as it took: one percent of a processor.
const RESTS: u32 = 100;
/// To free much under observation may take longer than the time between two looks. While a target holds much less than it
/// did, what it held is not forgotten for so long.
const HOLD: Duration = Duration::from_secs(5);
/// Much less is less than this part.
const HOLD_PART: f64 = 0.75;

/// Targets as they were at the last look at which they lived.
#[derive(Debug, Default)]
pub(super) struct Lately {
    /// By number of the space.
    spaces: BTreeMap<u16, Lived>,
    again: Option<Instant>,
    /// The spaces that freed most of what was old, as they ended.
    pub(super) freed: BTreeMap<u16, Freed>,
}

/// One target as it was.
#[derive(Debug)]
struct Lived {
    rows: Vec<StackRow>,
    read: Instant,
    now_units: u64,
    length_units: u64,
}

/// What a target freed as it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Freed {
    /// An estimate in a sampled run.
    pub(super) bytes: f64,
    /// How long before its end it was looked at.
    pub(super) before: Duration,
}

impl Lately {
    /// Keeps how a target is now, unless it has just begun to free what it had.
    fn keep(&mut self, space: u16, now: Lived) {
        let is_ending = |kept: &Lived| {
            now.read.duration_since(kept.read) < HOLD
                && (old_bytes(&now.rows) as f64) < HOLD_PART * old_bytes(&kept.rows) as f64
        };
        if !self.spaces.get(&space).is_some_and(is_ending) {
            self.spaces.insert(space, now);
        }
    }

    fn live_bytes(&self, space: u16) -> f64 {
        self.spaces.get(&space).map_or(0.0, |kept| live_bytes(&kept.rows))
    }
}

impl Memleak {
    /// Reads the maps, for these moments.
    pub(super) fn read(&self, on: &Observation<'_>, moments: &Moments) -> Result<Snapshot> {
        let stacks = on.settings.max_stacks as usize;
        let space_of = |stack| on.stacks.get(stack).map(|stack| stack.space);
        collect::snapshot(self.object()?, self.totals()?, self.blocks()?, stacks, moments, space_of)
    }

    /// Keeps what the targets hold, where that is not too soon.
    pub(super) fn look_at_held(&mut self, on: &Observation<'_>) -> Result<()> {
        let begun = Instant::now();
        let too_soon = self.lately.again.is_some_and(|again| begun < again);
        if too_soon || on.spaces.iter().all(|space| space.ended.is_some()) {
            return Ok(());
        }
        let moments = self.moments(on)?;
        let snapshot = self.read(on, &moments)?;
        self.keep(on, &snapshot.rows, &moments, begun);
        Ok(())
    }

    /// Keeps what was read since `begun` of targets that still live.
    pub(super) fn keep(
        &mut self,
        on: &Observation<'_>,
        rows: &[StackRow],
        moments: &Moments,
        begun: Instant,
    ) {
        let Memleak { lately, memory, .. } = self;
        let lives = on.spaces.iter().filter(|space| space.ended.is_none() && !space.process.ended());
        let mut of_spaces: BTreeMap<u16, Vec<StackRow>> =
            lives.map(|space| (space.number, Vec::new())).collect();
        for row in rows {
            if let Some(kept) = on.stacks.get(row.stack).and_then(|stack| of_spaces.get_mut(&stack.space)) {
                kept.push(row.clone());
            }
        }
        for (space, rows) in of_spaces {
            let moment = moments.of(space).0;
            let (now_units, length_units) = (moment.now_units, moment.window().length_units);
            let live = live_bytes(&rows);
            lately.keep(space, Lived { rows, read: begun, now_units, length_units });
            memory.note_followed(space, live.max(lately.live_bytes(space)));
        }
        lately.again = Some(Instant::now() + REST.max(begun.elapsed() * RESTS));
    }

    /// Puts those that freed most of what was old as they ended back to how they were just before.
    pub(super) fn as_they_lived(&mut self, on: &Observation<'_>, rows: &mut [StackRow], moments: &Moments) {
        let lately = &mut self.lately;
        let by_themselves =
            on.spaces.iter().filter(|space| space.ended.is_some() && space.killed_by != Some(libc::SIGKILL));
        for space in by_themselves.map(|space| space.number) {
            let Some(lived) = lately.spaces.get(&space) else { continue };
            let is_of = |stack| on.stacks.get(stack).is_some_and(|stack| stack.space == space);
            if let Some(bytes) = put_back(rows, lived, is_of) {
                let units = moments.of(space).0.now_units.saturating_sub(lived.now_units);
                let before = Duration::from_nanos(units.saturating_mul(UNIT_NS));
                lately.freed.insert(space, Freed { bytes, before });
            }
        }
    }
}

/// If at least half of what was old is gone, makes the rows of this space those that it had while it lived, and returns how
/// many bytes it freed since. A stack that is newer keeps its row.
fn put_back(rows: &mut [StackRow], lived: &Lived, is_of: impl Fn(u32) -> bool) -> Option<f64> {
    let of_space: Vec<usize> =
        (0..rows.len()).filter(|&at| rows.get(at).is_some_and(|row| is_of(row.stack))).collect();
    let ended = || of_space.iter().filter_map(|&at| rows.get(at));
    let was_old = old_bytes(&lived.rows);
    if was_old == 0 || old_bytes(ended()) > was_old / 2 {
        return None;
    }
    let freed = (live_bytes(&lived.rows) - live_bytes(ended())).max(0.0);
    let observed = Observed { length_units: lived.length_units, ended: true };
    let by_stack: BTreeMap<u32, &StackRow> = lived.rows.iter().map(|row| (row.stack, row)).collect();
    for at in of_space {
        if let Some(row) = rows.get_mut(at)
            && let Some(lived) = by_stack.get(&row.stack)
        {
            *row = StackRow { observed: Some(observed), ..(*lived).clone() };
        }
    }
    Some(freed)
}

fn old_bytes<'a>(rows: impl IntoIterator<Item = &'a StackRow>) -> u64 {
    rows.into_iter().map(|row| row.old_bytes).sum()
}

/// In a sampled run an estimate.
fn live_bytes<'a>(rows: impl IntoIterator<Item = &'a StackRow>) -> f64 {
    let of = |row: &StackRow| row.weighted.as_ref().map_or(row.live_bytes as f64, |all| all.live_bytes.0);
    rows.into_iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stack: u32, live_bytes: u64, old_bytes: u64) -> StackRow {
        StackRow { stack, allocs: 9, live_bytes, old_bytes, ..StackRow::default() }
    }

    fn lived(rows: Vec<StackRow>, read: Instant) -> Lived {
        Lived { rows, read, now_units: 900, length_units: 800 }
    }

    /// Stacks from 10 on are of another space.
    fn ended(before: &[StackRow], mut end: Vec<StackRow>) -> (Option<f64>, Vec<StackRow>) {
        let freed = put_back(&mut end, &lived(before.to_vec(), Instant::now()), |stack| stack < 10);
        (freed, end)
    }

    #[test]
    fn what_was_freed_at_the_end_is_judged_as_it_was_before() {
        let before = [row(1, 1_000, 600), row(2, 50, 0)];
        let end = vec![row(1, 0, 0), row(2, 40, 0), row(3, 10, 0), row(11, 7, 7)];
        let (freed, rows) = ended(&before, end.clone());
        assert_eq!(freed, Some(1_000.0));
        let observed = Some(Observed { length_units: 800, ended: true });
        assert_eq!(rows[0], StackRow { observed, ..row(1, 1_000, 600) });
        assert_eq!(rows[1], StackRow { observed, ..row(2, 50, 0) });
        assert_eq!(rows[2..], end[2..], "a stack that is newer, and another space");
    }

    #[test]
    fn half_of_what_was_old_must_be_gone() {
        let before = [row(1, 100, 100)];
        assert_eq!(ended(&before, vec![row(1, 51, 51)]).0, None);
        assert_eq!(ended(&before, vec![row(1, 50, 50)]).0, Some(50.0));
        // What is gone was not old.
        let young = vec![row(1, 0, 0)];
        assert_eq!(ended(&[row(1, 100, 0)], young.clone()), (None, young));
    }

    #[test]
    fn freeing_that_takes_a_while_does_not_hide_what_was_there() {
        let mut lately = Lately::default();
        let begun = Instant::now();
        let mut look = |after_s: u64, old: u64| {
            lately.keep(1, lived(vec![row(1, old, old)], begun + Duration::from_secs(after_s)));
            lately.live_bytes(1)
        };
        assert_eq!([look(0, 100), look(1, 110), look(2, 60), look(3, 1)], [100.0, 110.0, 110.0, 110.0]);
        assert_eq!([look(6, 1), look(7, 2)], [1.0, 2.0], "it goes on without it");
    }
}

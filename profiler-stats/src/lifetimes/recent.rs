//! What was held a moment ago. Many programs release everything as they end: these are judged as they were just before.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use profiler_common::age::UNIT_NS;

use super::{
    moments::Moment,
    rows::{Observed, StackRow},
};

/// What is held is not read again before so long. A little less than a second, for a look that is due every second.
const REST: Duration = Duration::from_millis(900);
/// Nor before this many times as long as it took: one percent of a processor.
const RESTS: u32 = 100;
/// To release much under observation may take longer than the time between two looks. While much less is held than was, what
/// was held is not forgotten for so long.
const HOLD: Duration = Duration::from_secs(5);
/// Much less is less than this part.
const HOLD_PART: f64 = 0.75;

/// Address spaces as they were at the last look at which they lived.
#[derive(Debug, Default)]
pub struct Recent {
    /// By number of the space.
    spaces: BTreeMap<u16, Lived>,
    again: Option<Instant>,
    /// The spaces that released most of what was old, as they ended.
    pub released: BTreeMap<u16, Released>,
}

/// One of them as it was.
#[derive(Debug)]
struct Lived {
    rows: Vec<StackRow>,
    read: Instant,
    now_units: u64,
    length_units: u64,
}

/// What was released at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Released {
    /// An estimate in a sampled run.
    pub bytes: f64,
    /// How long before its end it was looked at.
    pub before: Duration,
}

impl Recent {
    /// Whether it is too soon for another look.
    pub fn is_too_soon(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| now < again)
    }

    /// A look that began at `begun` is over.
    pub fn looked(&mut self, begun: Instant) {
        self.again = Some(Instant::now() + REST.max(begun.elapsed() * RESTS));
    }

    /// Keeps what a space that lives holds at this moment, read since `begun`, unless it has just begun to release what it
    /// had. Returns how many live bytes are kept or are held now, whichever are more.
    pub fn keep(&mut self, space: u16, rows: Vec<StackRow>, moment: &Moment, begun: Instant) -> f64 {
        let live = live_bytes(&rows);
        let (now_units, length_units) = (moment.now_units, moment.window().length_units);
        self.keep_lived(space, Lived { rows, read: begun, now_units, length_units });
        live.max(self.live_bytes(space))
    }

    fn keep_lived(&mut self, space: u16, now: Lived) {
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

    /// Puts a space that ended at `end` by itself back to how it was just before, if it released most of what was old as it
    /// ended. `is_of` returns true for stacks of the space.
    pub fn put_back(&mut self, space: u16, end: &Moment, rows: &mut [StackRow], is_of: impl Fn(u32) -> bool) {
        let Some(lived) = self.spaces.get(&space) else { return };
        if let Some(bytes) = put_back(rows, lived, is_of) {
            let units = end.now_units.saturating_sub(lived.now_units);
            let before = Duration::from_nanos(units.saturating_mul(UNIT_NS));
            self.released.insert(space, Released { bytes, before });
        }
    }
}

/// If at least half of what was old is gone, makes the rows of this space those that it had while it lived, and returns how
/// many bytes it released since. A stack that is newer keeps its row.
fn put_back(rows: &mut [StackRow], lived: &Lived, is_of: impl Fn(u32) -> bool) -> Option<f64> {
    let of_space: Vec<usize> =
        (0..rows.len()).filter(|&at| rows.get(at).is_some_and(|row| is_of(row.stack))).collect();
    let ended = || of_space.iter().filter_map(|&at| rows.get(at));
    let was_old = old_bytes(&lived.rows);
    if was_old == 0 || old_bytes(ended()) > was_old / 2 {
        return None;
    }
    let released = (live_bytes(&lived.rows) - live_bytes(ended())).max(0.0);
    let observed = Observed { length_units: lived.length_units, ended: true };
    let by_stack: BTreeMap<u32, &StackRow> = lived.rows.iter().map(|row| (row.stack, row)).collect();
    for at in of_space {
        if let Some(row) = rows.get_mut(at)
            && let Some(lived) = by_stack.get(&row.stack)
        {
            *row = StackRow { observed: Some(observed), ..(*lived).clone() };
        }
    }
    Some(released)
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
        StackRow { stack, acquired: 9, live_bytes, old_bytes, ..StackRow::default() }
    }

    fn lived(rows: Vec<StackRow>, read: Instant) -> Lived {
        Lived { rows, read, now_units: 900, length_units: 800 }
    }

    /// Stacks from 10 on are of another space.
    fn ended(before: &[StackRow], mut end: Vec<StackRow>) -> (Option<f64>, Vec<StackRow>) {
        let released = put_back(&mut end, &lived(before.to_vec(), Instant::now()), |stack| stack < 10);
        (released, end)
    }

    #[test]
    fn what_was_released_at_the_end_is_judged_as_it_was_before() {
        let before = [row(1, 1_000, 600), row(2, 50, 0)];
        let end = vec![row(1, 0, 0), row(2, 40, 0), row(3, 10, 0), row(11, 7, 7)];
        let (released, rows) = ended(&before, end.clone());
        assert_eq!(released, Some(1_000.0));
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
    fn releasing_that_takes_a_while_does_not_hide_what_was_there() {
        let mut recent = Recent::default();
        let begun = Instant::now();
        let mut look = |after_s: u64, old: u64| {
            recent.keep_lived(1, lived(vec![row(1, old, old)], begun + Duration::from_secs(after_s)));
            recent.live_bytes(1)
        };
        assert_eq!([look(0, 100), look(1, 110), look(2, 60), look(3, 1)], [100.0, 110.0, 110.0, 110.0]);
        assert_eq!([look(6, 1), look(7, 2)], [1.0, 2.0], "it goes on without it");
    }
}

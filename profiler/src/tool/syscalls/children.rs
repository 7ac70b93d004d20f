//! Which row has the calls of a process. If many children of a target have ended, they share one row: think of a server that starts a
//! process for each match. The calls of a process that is not observed after all are in no row.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use profiler_common::syscalls::{CHILDREN, HAS_ENDED};

use super::counted::Counted;
use crate::observe::Observation;

/// How many ended children of one target have rows of their own.
const APART: usize = 16;

/// Bit of an address space number in rows: stands for the ended descendants of that target.
const OF_CHILDREN: u16 = CHILDREN as u16;

/// What is known of an address space.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The address space of the target that this process descends from by forks.
    target: Option<u16>,
    is_gone: bool,
}

/// The number that rows use for an address space.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    /// By the space's own number.
    numbers: Vec<u16>,
    /// Spaces that are in no row.
    left_out: BTreeSet<u16>,
}

impl Gathered {
    pub(super) fn of(on: &Observation<'_>) -> Gathered {
        let alive = on.spaces.iter().filter(|space| space.ended.is_none());
        let alive: HashSet<u16> = alive.map(|space| space.number).collect();
        let known = |number| {
            let space = on.ground.space(number);
            let target = space.child_of.checked_sub(1).and_then(|target| u16::try_from(target).ok());
            Known { target, is_gone: space.replaced != 0 || !alive.contains(&number) }
        };
        let spaces: Vec<Known> = (0..on.ground.taken_spaces()).map(known).collect();
        Gathered::from(&spaces, on.left_out.clone())
    }

    fn from(spaces: &[Known], left_out: BTreeSet<u16>) -> Gathered {
        let mut gone: BTreeMap<u16, usize> = BTreeMap::new();
        for target in spaces.iter().filter(|space| space.is_gone).filter_map(|space| space.target) {
            *gone.entry(target).or_default() += 1;
        }
        let number = |(own, space): (u16, &Known)| match space.target {
            Some(target) if space.is_gone && gone[&target] > APART => target | OF_CHILDREN,
            _ => own,
        };
        Gathered { numbers: (0..).zip(spaces).map(number).collect(), left_out }
    }

    /// The number that rows use for a space.
    pub(super) fn number(&self, space: u16) -> u16 {
        self.numbers.get(usize::from(space)).copied().unwrap_or(space)
    }

    /// Whether a space is in a row.
    pub(super) fn has(&self, space: u16) -> bool {
        !self.left_out.contains(&space)
    }

    /// Replaces the numbers of address spaces by those that rows use, and drops counts that are in no row. Counts that are put together
    /// no longer belong to a single thread.
    pub(super) fn gather(&self, counted: &mut Counted) {
        let has = |space: u32| self.has(space as u16);
        counted.cells.retain(|cell| has(cell.space));
        counted.errors.retain(|(key, _)| has(key.space));
        counted.callers.retain(|(key, _)| has(key.space));
        counted.uring.retain(|(key, _)| has(key.space));
        counted.threads.retain(|thread| has(thread.space));
        let is_gathered = |space: &mut u32| {
            let own = *space;
            *space = self.number(own as u16).into();
            *space != own
        };
        for cell in &mut counted.cells {
            if is_gathered(&mut cell.space) {
                cell.tid = 0;
            }
        }
        for (key, _) in &mut counted.errors {
            if is_gathered(&mut key.space) {
                key.tid = 0;
            }
        }
        for (key, _) in &mut counted.callers {
            is_gathered(&mut key.space);
        }
        counted.threads.retain(|thread| {
            thread.state & HAS_ENDED == 0 || self.number(thread.space as u16) == thread.space as u16
        });
    }

    /// Adds the spaces whose calls are in a common row.
    pub(super) fn with_gathered(&self, spaces: &mut BTreeSet<u16>) {
        let gathered = (0..).zip(&self.numbers).filter(|(own, number)| own != *number);
        let more: Vec<u16> =
            gathered.filter(|(_, number)| spaces.contains(number)).map(|(own, _)| own).collect();
        spaces.extend(more);
    }
}

/// The target, if rows use this number for its ended descendants.
pub(super) fn target_of(space: u16) -> Option<u16> {
    (space & OF_CHILDREN != 0).then_some(space & !OF_CHILDREN)
}

#[cfg(test)]
mod tests {
    use profiler_common::syscalls::{Cell, Counter, UringKey};

    use super::*;

    #[test]
    fn many_ended_children_are_gathered_and_few_are_not() {
        let target = Known { target: None, is_gone: false };
        let child = |is_gone| Known { target: Some(0), is_gone };
        let mut spaces = vec![target, child(false)];
        spaces.extend((0..APART).map(|_| child(true)));
        let few = Gathered::from(&spaces, BTreeSet::new());
        assert!((0..18).all(|number| few.number(number) == number));
        spaces.push(child(true));
        let many = Gathered::from(&spaces, BTreeSet::new());
        assert_eq!((many.number(0), many.number(1), many.number(2)), (0, 1, OF_CHILDREN));
        assert_eq!((target_of(many.number(18)), target_of(many.number(1))), (Some(0), None));
        let mut calling = BTreeSet::from([OF_CHILDREN]);
        many.with_gathered(&mut calling);
        assert_eq!(calling.len(), 1 + APART + 1);
    }

    #[test]
    fn what_is_not_observed_after_all_is_in_no_row() {
        let spaces = [false, true].map(|is_gone| Known { target: is_gone.then_some(0), is_gone });
        let gathered = Gathered::from(&spaces, BTreeSet::from([1]));
        // SAFETY: any bytes are valid for wire types.
        let mut cells = unsafe { std::mem::zeroed::<[Cell; 2]>() };
        cells[1].space = 1;
        let mut counted = Counted {
            cells: cells.to_vec(),
            threads: Vec::new(),
            errors: Vec::new(),
            uring: [0, 1].map(|space| (UringKey { space, operation: 3 }, 7)).to_vec(),
            callers: Vec::new(),
            counters: [0; Counter::COUNT],
        };
        gathered.gather(&mut counted);
        assert_eq!((counted.cells.len(), counted.cells[0].space, counted.uring.len()), (1, 0, 1));
    }
}

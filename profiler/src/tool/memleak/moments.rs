//! The time that is judged: of the whole observation, and of each address space up to its own end.

use std::collections::HashMap;

use profiler_common::{
    age::{UNIT_NS, UNIT_SHIFT},
    space::key_space,
};

use super::tool::Memleak;
use crate::{
    error::Result,
    observe::{
        Observation, monotonic_ns,
        space::{Seen, Space},
    },
    stats::lifetimes::moments::{Moment, Moments},
};

impl Memleak {
    /// From the beginning of the observation to now, or to its end.
    pub(super) fn moment(&self, on: &Observation<'_>) -> Moment {
        let now = self.units(on.end_ns.unwrap_or_else(monotonic_ns));
        let length_units = on.lasted().as_nanos() as u64 / UNIT_NS;
        Moment {
            began_units: now.saturating_sub(length_units),
            now_units: now,
            older_units: self.options.older.as_nanos() as u64 / UNIT_NS,
            sample_bytes: self.options.sample_bytes,
        }
    }

    /// The part of it in which a space was observed.
    pub(super) fn moment_of(&self, space: &Space, whole: Moment) -> Moment {
        // A stopped process does nothing: its blocks are as old as they were when it stopped.
        let halted = space.seen.halts.since_ns().map(|since| self.units(since));
        let end = self.ends.get(&space.number).copied().or(halted);
        let now_units = end.map_or(whole.now_units, |end| end.min(whole.now_units));
        let since = space.seen.since_ns.map_or(0, |since| self.units(since));
        Moment { began_units: since.max(whole.began_units).min(now_units), now_units, ..whole }
    }

    /// All of these moments.
    pub(super) fn moments(&mut self, on: &Observation<'_>) -> Result<Moments> {
        self.find_ends(on)?;
        let whole = self.moment(on);
        let mut moments = Moments::new(whole);
        for space in &on.spaces {
            let Seen { since_ns, halts, .. } = space.seen;
            if space.ended.is_some() || since_ns.is_some() || halts.since_ns().is_some() {
                moments.set(space.number, self.moment_of(space, whole), space.ended.is_some());
            }
        }
        Ok(moments)
    }

    /// When spaces that are gone ended: at their last allocation, if that came after they were last seen alive. The end is
    /// noticed later, and a leak must not seem to have stopped before its process did.
    fn find_ends(&mut self, on: &Observation<'_>) -> Result<()> {
        let open = || {
            on.spaces
                .iter()
                .filter(|space| space.seen.noticed_ns.is_some() && !self.ends.contains_key(&space.number))
        };
        let mut newest: HashMap<u16, u64> = open().map(|space| (space.number, 0)).collect();
        if newest.is_empty() {
            return Ok(());
        }
        self.blocks()?.for_each_placed(self.object()?, |key, live| {
            if let Some(newest) = newest.get_mut(&key_space(key)) {
                *newest = (*newest).max(live.part.born_units.into());
            }
        })?;
        let end = |space: &Space| {
            let (newest, noticed) = (newest.get(&space.number)?, self.units(space.seen.noticed_ns?));
            let alive = self.units(space.seen.alive_ns).min(noticed);
            Some((space.number, (*newest).clamp(alive, noticed)))
        };
        let ends: Vec<(u16, u64)> = open().filter_map(end).collect();
        self.ends.extend(ends);
        Ok(())
    }

    /// A moment of the monotonic clock on the clock of ages.
    fn units(&self, monotonic_ns: u64) -> u64 {
        units(monotonic_ns, self.start_ns)
    }
}

fn units(monotonic_ns: u64, start_ns: u64) -> u64 {
    monotonic_ns.saturating_sub(start_ns) >> UNIT_SHIFT
}

//! Rows for tests.

use profiler_common::age;

use super::{
    live::Live,
    moments::Moment,
    rows::{Lifetimes, StackRow, Window},
};

impl StackRow {
    /// Adds an item of 100 bytes, born `age_units` before the end of the window, that lives for `lifetime_units`.
    pub(super) fn acquire(&mut self, age_units: u64, lifetime_units: u64, window: &Window) {
        self.acquired += 1;
        if lifetime_units <= age_units {
            self.lifetimes.died[age::bin(lifetime_units as u32)] += 1;
            return;
        }
        let moment = Moment {
            began_units: 0,
            now_units: window.length_units,
            older_units: window.older_units,
            sample_bytes: None,
        };
        let born_units = (window.length_units - age_units) as u32;
        self.add_live(&Live::alone(100, born_units), &moment, window.slot_units());
    }
}

impl Lifetimes {
    /// Items that were released, and those that live: ages, and how many have each.
    pub(super) fn of(died: &[(u32, u64)], live: &[(u32, u64)]) -> Lifetimes {
        let mut all = Lifetimes::default();
        for &(units, count) in died {
            all.died[age::bin(units)] += count;
        }
        for &(units, count) in live {
            all.live[age::bin(units)] += count;
            all.live_age_units[age::bin(units)] += u64::from(units) * count;
        }
        all
    }
}

//! Rows and judgements for tests of what is made of them.

use profiler_common::memleak::{Block, age};

use super::{
    blocks::Live,
    collect::{Moment, add_live},
    estimate::Estimate,
    growth::Growth,
    hazard::LateHazard,
    rows::{StackRow, Window},
    verdict::{Judgement, Reason, Verdict},
};

impl StackRow {
    /// Adds a block of 100 bytes, born so many units before the end of the window, that lives for `lifetime_units`.
    pub(super) fn allocate(&mut self, age_units: u64, lifetime_units: u64, window: &Window) {
        self.allocs += 1;
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
        let block = Block { size_bytes: 100, born_units, stack: self.stack };
        add_live(self, &Live::alone(block), &moment, window.slot_units());
    }
}

impl Judgement {
    /// A judgement that rests on nothing.
    pub(super) fn sample(verdict: Verdict, reason: Reason, growth_bytes_per_hour: f64) -> Judgement {
        let estimate = |value| Estimate { value, low: value, high: Some(value), exact: true };
        Judgement {
            verdict,
            reason,
            survival: None,
            hazard: LateHazard {
                frees: 0,
                exposure_block_hours: 0.0,
                per_hour: estimate(0.0),
                from_units: 0,
                to_units: 0,
            },
            growth: Growth::Continues,
            growth_bytes_per_hour: Some(estimate(growth_bytes_per_hour)),
            kept: None,
            judged_after: None,
        }
    }
}

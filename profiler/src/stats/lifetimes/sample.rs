//! Rows and judgements for tests of what is made of them.

use profiler_common::age;

use super::{
    growth::Growth,
    hazard::LateHazard,
    live::Live,
    moments::Moment,
    rows::{StackRow, Window},
    verdict::{Judgement, Reason, Verdict},
};
use crate::stats::estimate::Estimate;

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

impl Judgement {
    /// A judgement that rests on nothing.
    pub(crate) fn sample(verdict: Verdict, reason: Reason, growth_bytes_per_hour: f64) -> Judgement {
        let estimate = |value| Estimate { value, low: value, high: Some(value), exact: true };
        Judgement {
            verdict,
            reason,
            survival: None,
            hazard: LateHazard {
                releases: 0,
                exposure_item_hours: 0.0,
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

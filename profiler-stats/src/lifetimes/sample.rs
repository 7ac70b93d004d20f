//! Judgements for tests of what is made of them.

use super::{
    growth::Growth,
    hazard::LateHazard,
    verdict::{Judgement, Reason, Verdict},
};
use crate::estimate::Estimate;

impl Judgement {
    /// A judgement that rests on nothing.
    pub fn sample(verdict: Verdict, reason: Reason, growth_bytes_per_hour: f64) -> Judgement {
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

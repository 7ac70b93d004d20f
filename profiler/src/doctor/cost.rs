//! What a hit costs here, in the form of a diagnosis.

use serde::{Deserialize, Serialize};

use crate::capture::{
    calibration::{self, Effort, HitCost},
    cost::prices::Traps,
    floor,
    uprobe::Method,
};

/// What a hit costs the thread that has it, without what a tool's program does at it. Estimates, measured on a process
/// of our own just now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// At an instruction that the kernel emulates.
    pub emulated: Figure,
    /// At an instruction that it runs under single step.
    pub stepped: Figure,
    /// At an emulated entry and at the return, both together.
    pub call: Figure,
    /// As `emulated`, where the process has been in the kernel for something else before.
    pub cold: Figure,
    /// As `call`, likewise.
    pub cold_call: Figure,
    /// How long measuring took, in nanoseconds.
    pub took_ns: u64,
}

/// A time, measured in several series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Figure {
    /// The median series, in nanoseconds per call.
    pub median_ns: f64,
    /// The fastest series.
    pub low_ns: f64,
    /// The slowest series.
    pub high_ns: f64,
    /// Calls in all series together.
    pub calls: u64,
}

impl From<HitCost> for Figure {
    fn from(cost: HitCost) -> Figure {
        let HitCost { median_ns, low_ns, high_ns, calls } = cost;
        Figure { median_ns, low_ns, high_ns, calls }
    }
}

/// The cost, with what follows for traps, or why it could not be measured.
pub(super) fn measure(method: Method) -> (Option<Cost>, Traps, Option<String>) {
    let measured = floor::empty(method)
        .and_then(|(object, attacher)| calibration::measure(&object, attacher, Effort::Thorough));
    match measured {
        Ok(costs) => {
            let cost = Cost {
                emulated: costs.emulated.into(),
                stepped: costs.stepped.into(),
                call: costs.call.into(),
                cold: costs.cold.into(),
                cold_call: costs.cold_call.into(),
                took_ns: costs.took.as_nanos() as u64,
            };
            (Some(cost), Traps::from(&costs), None)
        }
        Err(error) => (None, Traps::ASSUMED, Some(error.to_string())),
    }
}

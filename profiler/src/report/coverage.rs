//! Where every hit went, and how good the stacks and names are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{FileNames, Walks};

/// Where every hit went, and the quality of stacks and names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Coverage {
    /// False if losses could change the answer. An incomplete report has no verdict.
    pub complete: bool,
    /// The reasons why it is not complete, each with a remedy.
    pub incomplete_because: Vec<String>,
    /// One entry per kind of probe.
    pub ledger: Vec<Ledger>,
    /// Events that reduce quality, counted by the kernel side, by name. Zero counts are left out.
    pub quality: BTreeMap<String, u64>,
    /// How stacks were walked and how the walks ended. Absent if the tool walks no stacks.
    pub walks: Option<Walks>,
    /// Where the names of functions come from: one entry for each file that contains a frame.
    #[serde(default)]
    pub files: Vec<FileNames>,
    /// What already existed when the observation began, and therefore was not observed.
    pub before_attach: Option<String>,
}

impl Coverage {
    /// Hits of all probes.
    pub fn hits(&self) -> u64 {
        self.ledger.iter().fold(0, |sum, ledger| sum.saturating_add(ledger.hits))
    }

    /// Hits of all probes that ended as `class`.
    pub fn total(&self, class: OutcomeClass) -> u64 {
        self.ledger.iter().fold(0, |sum, ledger| sum.saturating_add(ledger.total(class)))
    }

    /// Hits without an outcome, as the sum of the absolute values over all probes. If it is not 0, profiler has a defect.
    pub fn unaccounted(&self) -> u64 {
        self.ledger.iter().fold(0, |sum, ledger| sum.saturating_add(ledger.unaccounted.unsigned_abs()))
    }
}

/// The ledger of one kind of probe: `hits` = sum of `outcomes` + `unaccounted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ledger {
    /// Name of the probe.
    pub probe: String,
    /// How often it was hit.
    pub hits: u64,
    /// How the hits ended. Zero counts are kept, so that the list is the same in every report.
    pub outcomes: Vec<Outcome>,
    /// Hits without an outcome. If it is not 0, profiler has a defect.
    pub unaccounted: i64,
}

impl Ledger {
    /// Makes the ledger of a probe. Hits that no outcome explains are unaccounted.
    pub fn new(probe: impl Into<String>, hits: u64, outcomes: Vec<Outcome>) -> Ledger {
        let explained: i128 = outcomes.iter().map(|outcome| i128::from(outcome.count)).sum();
        let rest = (i128::from(hits) - explained).clamp(i64::MIN.into(), i64::MAX.into());
        Ledger { probe: probe.into(), hits, outcomes, unaccounted: rest as i64 }
    }

    /// Hits that ended as `class`.
    pub fn total(&self, class: OutcomeClass) -> u64 {
        let counts =
            self.outcomes.iter().filter(|outcome| outcome.class == class).map(|outcome| outcome.count);
        counts.fold(0, u64::saturating_add)
    }
}

/// One way for a hit to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Outcome {
    /// Name of the cause.
    pub name: String,
    /// What it means for the data.
    pub class: OutcomeClass,
    /// Number of hits.
    pub count: u64,
}

/// What an outcome means for the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeClass {
    /// The hit is in the data.
    Recorded,
    /// The hit does not concern the question, such as a nested call.
    Filtered,
    /// Sampling left the hit out; estimates include it.
    SampledOut,
    /// The hit should be in the data and is missing.
    Lost,
}

impl OutcomeClass {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            OutcomeClass::Recorded => "recorded",
            OutcomeClass::Filtered => "filtered",
            OutcomeClass::SampledOut => "sampled out",
            OutcomeClass::Lost => "lost",
        }
    }
}

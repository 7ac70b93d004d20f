//! The model: what each call stack acquired, released and still holds.

use std::time::Duration;

use profiler_common::age::{BINS, UNIT_NS};

pub use super::arrivals::Arrivals;

/// What one call stack did during the observation. Counts of items; in a sampled run of the drawn items only,
/// and the `weighted` fields then carry the estimates.
#[derive(Clone, Debug, PartialEq)]
pub struct StackRow {
    /// Number of the stack; its frames are kept elsewhere under this number.
    pub stack: u32,
    /// Items acquired.
    pub acquired: u64,
    /// Their requested sizes, in bytes.
    pub acquired_bytes: u64,
    /// Items live at the end. One that grew (a block, by realloc) counts for each part that has an age of its own.
    pub live: u64,
    /// Their requested sizes, in bytes.
    pub live_bytes: u64,
    /// Items live at the end and at least `older` old.
    pub old: u64,
    /// Their requested sizes, in bytes.
    pub old_bytes: u64,
    /// Sum of the squares of their sizes, in bytes squared: the variance of a compound Poisson total. In a sampled
    /// run each square is divided by the chance that the item had to be drawn.
    pub old_bytes_squared: f64,
    /// Of `old_bytes`, those of which it is not known when they came: the item was made of one from before.
    pub old_inherited_bytes: u64,
    /// Their items by the time of that, in the slices of `births`, where they are not counted.
    pub inherited_births: [u64; BIRTH_SLICES],
    /// Bytes of live items that were made of others, as far as it is not known when they came; of a sampled run, the
    /// estimate.
    pub inherited_bytes: f64,
    /// Lifetimes, by bin of the age scale of `profiler_common::age`. An item that grew counts once, as old as its oldest part
    /// of this stack.
    pub lifetimes: Lifetimes,
    /// Live parts of items that grew, by age, but for the oldest of each item, which is in `lifetimes`.
    pub later_parts: [u64; BINS],
    /// Of `births`, those of such parts.
    pub later_births: [u64; BIRTH_SLICES],
    /// The age of the oldest such part, in age units.
    pub oldest_later_units: u64,
    /// Acquisitions that made an item grow, and are no longer told apart from others of it.
    pub merged: u64,
    /// Old items by time of birth: the eligible period (from the start to `older` before the end) in equal slices.
    pub births: [u64; BIRTH_SLICES],
    /// The requested bytes of these, by slice; in a sampled run their estimates.
    pub birth_bytes: [f64; BIRTH_SLICES],
    /// The variance of each of them, in bytes squared: that of a compound Poisson total, and of the drawing.
    pub birth_variances: [f64; BIRTH_SLICES],
    /// When the live items were born, however many at once.
    pub arrivals: Arrivals,
    /// Estimates of a sampled run.
    pub weighted: Option<Weighted>,
    /// When its address space was observed, if it has ended or began later than the observation.
    pub observed: Option<Observed>,
}

/// The time of one address space, where it is not that of the whole observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its length, in age units.
    pub length_units: u64,
    /// Whether it ended with its address space. What was live then is as old as it was then.
    pub ended: bool,
}

impl Default for StackRow {
    fn default() -> Self {
        StackRow {
            stack: 0,
            acquired: 0,
            acquired_bytes: 0,
            live: 0,
            live_bytes: 0,
            old: 0,
            old_bytes: 0,
            old_bytes_squared: 0.0,
            old_inherited_bytes: 0,
            inherited_births: [0; BIRTH_SLICES],
            inherited_bytes: 0.0,
            lifetimes: Lifetimes::default(),
            later_parts: [0; BINS],
            later_births: [0; BIRTH_SLICES],
            oldest_later_units: 0,
            merged: 0,
            births: [0; BIRTH_SLICES],
            birth_bytes: [0.0; BIRTH_SLICES],
            birth_variances: [0.0; BIRTH_SLICES],
            arrivals: Arrivals::default(),
            weighted: None,
            observed: None,
        }
    }
}

impl StackRow {
    /// The window that the row is judged in: that of its address space, within that of the whole observation.
    pub(super) fn window(&self, whole: &Window) -> Window {
        let length_units = self.observed.map_or(whole.length_units, |observed| observed.length_units);
        Window { length_units, ..*whole }
    }

    /// The length of that window, where the whole observation is so long.
    pub fn lasted(&self, whole: Duration) -> Duration {
        self.observed
            .map_or(whole, |observed| Duration::from_nanos(observed.length_units.saturating_mul(UNIT_NS)))
    }

    /// Whether its address space has ended.
    pub fn has_ended(&self) -> bool {
        self.observed.is_some_and(|observed| observed.ended)
    }
}

/// Number of slices of the eligible period that births of old items are counted in.
pub const BIRTH_SLICES: usize = 16;

/// Lifetimes of a stack's items on the age scale: right-censored data.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifetimes {
    /// Items released, by age at release.
    pub died: [u64; BINS],
    /// Items still live (censored), by age at the end.
    pub live: [u64; BINS],
    /// Sum of the ages of those live items, in age units.
    pub live_age_units: [u64; BINS],
}

impl Default for Lifetimes {
    fn default() -> Self {
        Lifetimes { died: [0; BINS], live: [0; BINS], live_age_units: [0; BINS] }
    }
}

/// Estimates of a run that draws acquisitions by bytes. Each pair is (estimate, variance).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighted {
    /// Items acquired.
    pub acquired: (f64, f64),
    /// Bytes acquired.
    pub acquired_bytes: (f64, f64),
    /// Live items.
    pub live: (f64, f64),
    /// Live bytes.
    pub live_bytes: (f64, f64),
    /// Live items of at least `older`.
    pub old: (f64, f64),
    /// Bytes in live items of at least `older`.
    pub old_bytes: (f64, f64),
}

/// What holds for the whole observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Length of the observation, in age units.
    pub length_units: u64,
    /// The age asked about, in age units.
    pub older_units: u64,
}

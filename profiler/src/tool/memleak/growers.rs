//! Leaks of few blocks: a list, a log or an index to which something is added for ever.
//!
//! How often old blocks are freed cannot be learned from one or two of them: that takes thirty, watched for an age each. But
//! a block of which nothing was taken away, and that grew all the time for several ages, is a leak as long as nothing else
//! is known of its kind.

use profiler_common::age::{self, BINS};

use super::hazard::LateAges;
use super::rows::StackRow;

/// A block must have grown for so many of the ages asked about.
const GROWN_AGES: f64 = 3.0;
/// If a block of the stack older than this part of the age was freed, the others may be freed, too. Below it, a realloc
/// counts as a release: see `profiler_common::memleak::Part`.
const STEP: f64 = 1.0 / 8.0;

/// True if the stack has blocks that grow by realloc, one of them for several ages by now, and none was ever freed.
pub(super) fn grow_for_ever(row: &StackRow, ages: &LateAges, older: f64) -> bool {
    grown_units(row, ages, older).is_some_and(|units| units >= GROWN_AGES * older)
}

/// The length of the observation, in age units, at which that can be said, if it goes on.
pub(super) fn judged_after(row: &StackRow, ages: &LateAges, older: f64, length: f64) -> Option<f64> {
    Some(length + (GROWN_AGES * older - grown_units(row, ages, older)?).max(0.0))
}

/// The age of the oldest block of a stack whose blocks grow, in units, if none of them was freed.
fn grown_units(row: &StackRow, ages: &LateAges, older: f64) -> Option<f64> {
    let grew = row.later_parts.iter().any(|parts| *parts > 0);
    if !grew || ages.from(STEP * older).frees > 0 {
        return None;
    }
    let bin = (0..BINS).rev().find(|&bin| row.lifetimes.live[bin] > 0)?;
    let mean = row.lifetimes.live_age_units[bin] as f64 / row.lifetimes.live[bin] as f64;
    Some(mean.max(age::start(bin) as f64))
}

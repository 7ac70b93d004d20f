//! Leaks of few items: a list, a log or an index to which something is added for ever.
//!
//! How often old items are released cannot be learned from one or two of them: that takes thirty, watched for an age each. But
//! an item of which nothing was taken away, and that grew all the time for several ages, is a leak as long as nothing else
//! is known of its kind.

use super::growth::LEAST_LATE;
use super::hazard::LateAges;
use super::rows::{BIRTH_SLICES, StackRow};

/// An item must have grown for this many of the ages asked about.
const GROWN_AGES: f64 = 3.0;
/// If an item of the stack older than this part of the age was released, the others may be released, too. Below it, to
/// grow may count as a release: an item has no part for each time that it grew.
const STEP: f64 = 1.0 / 8.0;

/// True if an item of the stack grew so long ago, and none was ever released.
pub(super) fn grow_for_ever(row: &StackRow, ages: &LateAges, older: f64) -> bool {
    grown_units(row, ages, older).is_some_and(|units| units >= GROWN_AGES * older)
}

/// The length of the observation, in age units, at which that can be said, if it goes on.
pub(super) fn judged_after(row: &StackRow, ages: &LateAges, older: f64, length: f64) -> Option<f64> {
    Some(length + (GROWN_AGES * older - grown_units(row, ages, older)?).max(0.0))
}

/// For how long items of a stack have grown, in units, if none of them was released.
fn grown_units(row: &StackRow, ages: &LateAges, older: f64) -> Option<f64> {
    (row.oldest_later_units > 0 && ages.from(STEP * older).releases == 0)
        .then_some(row.oldest_later_units as f64)
}

/// True if items from before the observation go on being remade for the first time: at least a fifth as often in the
/// later half of the time as in the earlier one. Whether they grow by that is not known.
pub(super) fn go_on_from_before(row: &StackRow) -> bool {
    let (early, late) = row.inherited_births.split_at(BIRTH_SLICES / 2);
    let (early, late): (u64, u64) = (early.iter().sum(), late.iter().sum());
    late >= LEAST_LATE && late * 5 >= early
}

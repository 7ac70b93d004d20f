//! Empty programs in place of a tool's: what the kernel alone takes for a hit.

use super::{
    calibration::{self, Effort},
    cost::CostMeter,
    object::{Object, Settings},
    uprobe::{Attacher, CallPrograms, Method},
};
use crate::error::Result;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/floor"));
const PROGRAMS: CallPrograms = CallPrograms {
    session: "floor_session",
    entry: "floor_entry",
    ret: "floor_return",
    at_ret: "floor_entry",
    plain: "floor_free",
};

/// The empty programs, ready to be attached by the best method up to `at_most`.
///
/// # Errors
/// If the kernel refuses them.
pub(crate) fn empty(at_most: Method) -> Result<(Object, Attacher)> {
    Ok((Object::load("floor", OBJECT, Settings::default())?, Attacher::new(PROGRAMS, at_most)))
}

/// Begins to measure what a trap costs here, unless that is known.
pub(crate) fn calibrate(cost: &mut CostMeter, method: Method) {
    cost.calibrate(move || {
        let measured = empty(method)
            .and_then(|(object, attacher)| calibration::measure(&object, attacher, Effort::Quick));
        measured.inspect_err(|error| tracing::info!("what a trap costs is assumed: {error}")).ok()
    });
}

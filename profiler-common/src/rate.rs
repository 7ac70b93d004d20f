//! Counting how often threads pass the sites of a tool, before its probes are there.

use crate::wire;

/// Bit of a class: the site's instruction runs under single step.
pub const STEPPED: u64 = 1;
/// Class of a site of which nothing but the entry is seen: a release.
pub const FREE: u64 = 0;
/// Class of a call that is followed to its return by a return probe.
pub const CALL: u64 = 2;
/// Class of a call that is followed to the `ret` instructions of its function.
pub const CALL_TO_RET: u64 = 4;
/// Number of classes.
pub const CLASSES: usize = 6;

/// The class of a site: what a hit of it costs depends on it. It is the site's cookie, and an index.
pub const fn class(kind: u64, stepped: bool) -> u64 {
    kind | if stepped { STEPPED } else { 0 }
}

wire! {
    /// What a thread passed, by class.
    pub struct ThreadRate {
        /// Hits.
        pub of: [u64; CLASSES],
    }
}

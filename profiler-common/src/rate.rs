//! Counting how often threads pass the sites of a tool, before its probes are there.

use crate::wire;

/// Bit of a class: the site's instruction runs under single step.
pub const STEPPED: u64 = 1;
/// Class of a site of which nothing but the entry is seen.
pub const LOOK: u64 = 0;
/// Class of a call that is followed to its return by a return probe.
pub const CALL: u64 = 2;
/// Class of a call that is followed to the `ret` instructions of its function.
pub const CALL_TO_RET: u64 = 4;
/// Number of classes.
pub const CLASSES: usize = 6;

/// From one hit of a thread to its next in nanoseconds, the trap between them included. Up to the first, the next finds
/// the kernel's code for probes in the nearest caches. From the second on it does not, if the thread was in the kernel
/// for something else meanwhile: a message sent and one received suffice. In between it is part of the way.
pub const COLD_NS: [u64; 2] = [500, 2_000];
/// The time in which a hit becomes cold.
pub const COOLING_NS: u64 = COLD_NS[1] - COLD_NS[0];

/// The class of a site: what a hit of it costs depends on it. It is the site's cookie, and an index.
pub const fn class(kind: u64, stepped: bool) -> u64 {
    kind | if stepped { STEPPED } else { 0 }
}

wire! {
    /// What a thread passed, by class.
    pub struct ThreadRate {
        /// Hits.
        pub of: [u64; CLASSES],
        /// Time between the two of [`COLD_NS`], summed over these hits.
        pub cooling_ns: [u64; CLASSES],
        /// When it had the last one, nanoseconds of the monotonic clock.
        pub last_ns: u64,
    }
}

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

/// How hot the kernel's code for probes is in the caches, by the time from one hit of a thread to its next in nanoseconds,
/// including the trap between them. Below the first limit, the next hit finds the code in the nearest caches. Above the second it
/// does not, if the thread was in the kernel for something else in between: sending and receiving one message is enough. In
/// between, the cost grows gradually.
pub const COLD_NS: [u64; 2] = [500, 2_000];
/// The time in which a hit becomes cold.
pub const COOLING_NS: u64 = COLD_NS[1] - COLD_NS[0];

/// The class of a site, which determines what a hit costs. It is the site's cookie, and an index.
pub const fn class(kind: u64, stepped: bool) -> u64 {
    kind | if stepped { STEPPED } else { 0 }
}

wire! {
    /// The hits of a thread, by class.
    pub struct ThreadRate {
        /// Hits.
        pub of: [u64; CLASSES],
        /// How much of the time between the two limits of [`COLD_NS`] had passed, summed over these hits.
        pub cooling_ns: [u64; CLASSES],
        /// When it had its last hit, nanoseconds of the monotonic clock.
        pub last_ns: u64,
    }
}

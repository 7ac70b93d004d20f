//! Which threads pay for the probes.

use crate::wire;

/// Hits are attributed to threads in steps of this many, a power of two: every 64th hit on a CPU counts as 64.
pub const THREAD_HITS_STEP: u64 = 64;

wire! {
    /// Hits of a thread, rounded to a step.
    #[derive(Default)]
    pub struct ThreadHits {
        /// Calls that are followed to their return.
        pub calls: u64,
        /// Other hits.
        pub others: u64,
    }
}

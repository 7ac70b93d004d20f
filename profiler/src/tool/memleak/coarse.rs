//! Sampling that draws too few allocations to judge any of them.

use std::time::Duration;

use profiler_common::memleak::counters::Counter;

use super::rules;
use crate::{
    report::{Finding, Severity},
    units,
};

/// Fewer drawn blocks than this say nothing about any site.
const LEAST_DRAWN: u64 = 10;
/// Drawn blocks that a finer drawing is proposed for.
const ENOUGH_DRAWN: u64 = 1_000;
/// Drawn blocks of one site that a leak takes to be proved, about: it has to come several times, and to stay.
const PROOF_DRAWN: f64 = 12.0;
/// Finer than this, drawing is dearer than following everything.
const FINEST_BYTES: u64 = 256;

/// What a sampled run has drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drawing {
    /// Mean gap between drawn bytes.
    mean_bytes: u64,
    /// Blocks that were drawn.
    drawn: u64,
    /// Calls that were not.
    left_out: u64,
}

impl Drawing {
    /// Of a run; `None` if it followed everything.
    pub(super) fn of(
        counters: &[u64; Counter::COUNT],
        mean_bytes: Option<u64>,
        drawn: u64,
    ) -> Option<Drawing> {
        mean_bytes.map(|mean_bytes| Drawing {
            mean_bytes,
            drawn,
            left_out: counters[Counter::EntrySampledOut as usize],
        })
    }

    /// Whether there was something to draw, and nothing was drawn.
    pub(super) fn left_out_all(&self) -> bool {
        self.drawn == 0 && self.left_out > 0
    }

    /// Whether too little was drawn to say anything.
    pub(super) fn is_too_coarse(&self) -> bool {
        self.drawn < LEAST_DRAWN && self.left_out > 0
    }

    /// Growth per hour below which a leak draws too few blocks to be proved, if blocks could get old for so long.
    pub(super) fn blind_below(&self, eligible: Duration) -> Option<f64> {
        let hours = eligible.as_secs_f64() / 3600.0;
        (self.left_out > 0 && hours > 0.0).then(|| PROOF_DRAWN * self.mean_bytes as f64 / hours)
    }

    /// Says so, and what would do.
    pub(super) fn finding(&self, length: Duration) -> Finding {
        // Without a drawn block it is not known how many bytes there were: less than a few gaps.
        let finer = self.mean_bytes.saturating_mul(self.drawn.max(1)) / ENOUGH_DRAWN;
        let instead = match 1_u64.checked_shl(finer.max(1).ilog2()).filter(|finer| *finer >= FINEST_BYTES) {
            Some(finer) => {
                format!("Leave it out, or draw more: --sample-bytes {}", units::exact_bytes(finer))
            }
            None => "Leave it out".to_owned(),
        };
        let calls = units::count((self.left_out + self.drawn) as f64);
        let words = format!(
            "Undecided: --sample-bytes {} is too coarse: it has drawn {} of {calls} calls of allocators in {}, too few to \
             judge. {instead}; or observe for much longer.",
            units::exact_bytes(self.mean_bytes),
            match self.drawn {
                0 => "none".to_owned(),
                drawn => drawn.to_string(),
            },
            units::duration(length)
        );
        Finding::plain(rules::UNDECIDED, Severity::Limit, words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn drawing(mean_bytes: u64, drawn: u64, left_out: u64) -> Drawing {
        Drawing { mean_bytes, drawn, left_out }
    }

    #[test]
    fn a_few_of_many_calls_decide_nothing() {
        assert!(drawing(MIB, 9, 12_000).is_too_coarse() && !drawing(MIB, 10, 12_000).is_too_coarse());
        assert!(!drawing(1, 2, 0).is_too_coarse(), "all that there was");
        assert!(drawing(MIB, 0, 3).left_out_all() && !drawing(MIB, 1, 3).left_out_all());
        let mut counters = [0; Counter::COUNT];
        counters[Counter::EntrySampledOut as usize] = 3;
        assert_eq!(Drawing::of(&counters, Some(MIB), 2), Some(drawing(MIB, 2, 3)));
        assert_eq!(Drawing::of(&counters, None, 2), None);
    }

    #[test]
    fn a_slow_leak_draws_too_few_blocks() {
        let hour = Duration::from_secs(3600);
        assert_eq!(drawing(MIB, 1_000, 9).blind_below(hour / 2), Some(24.0 * MIB as f64));
        assert_eq!(drawing(MIB, 1_000, 0).blind_below(hour), None, "all were drawn");
        assert_eq!(drawing(MIB, 1_000, 9).blind_below(Duration::ZERO), None);
    }

    #[test]
    fn it_says_what_would_do() {
        let said = |drawing: Drawing| drawing.finding(Duration::from_secs(20)).text;
        assert_eq!(
            said(drawing(512 << 10, 2, 11_998)),
            "Undecided: --sample-bytes 512KiB is too coarse: it has drawn 2 of 12k calls of allocators in 20s, too few to \
             judge. Leave it out, or draw more: --sample-bytes 1KiB; or observe for much longer."
        );
        assert!(said(drawing(4096, 0, 7)).contains("drawn none of 7 calls of allocators"));
        assert!(said(drawing(4096, 0, 7)).ends_with("judge. Leave it out; or observe for much longer."));
    }
}

//! Do these stalls repeat on a period, and is it that of a timer?
//!
//! **Question.** Given are the times at which something stalled, and the span that was observed. "Every 300 s, on one grid" points at a
//! timer; "300 s after the last one had ended" at a loop that sleeps; neither may be said of stalls that merely came so.
//!
//! **What is called periodic.** The gaps between stalls are whole multiples of one period, up to a jitter whose standard deviation is
//! at most [`MOST_JITTER`] of the period; at most [`MOST_MISSING`] of the beats are missing, and less than [`MOST_EXTRA`] of the stalls
//! are no beats. Gaps that spread evenly over 0.5 to 1.5 of their mean (a standard deviation of 0.29) are not periodic, nor are those of
//! a gamma distribution with a shape of 2 to 4 (0.71 to 0.5). In between, the chance to be called periodic falls; see the figures below.
//!
//! **Beats.** A stall may consist of several slow calls. Times that follow the one before by less than a tenth of the mean gap between
//! beats belong to its beat, whose time is that of its first call (`beats`). At most the last [`MOST_BEATS`] beats are looked at.
//!
//! **Test.** For each of 28 periods around the mean gap, the best chain of beats is found that are whole periods apart and leave out few
//! stalls (`chain`). How narrow its scatter is, is measured in two ways (`fit`): that of the gaps, each divided by its number of
//! periods, and that of the beats around an even grid. Phases that know nothing of the period are spread evenly over it, with a standard
//! deviation of 1/sqrt(12) of the period; the score is the logarithm of how much less likely they are to scatter as little as these do,
//! less a price for every way of leaving out stalls and beats. Either score must exceed what series without a period reach in less
//! than 1 % of all cases (`threshold`). The scores were chosen over the Rayleigh statistic because that needs a fixed grid: it does not
//! find periods that drift.
//!
//! **Grid or drift.** If jitter does not accumulate, deviations from the grid are independent, and their differences are large in
//! comparison (von Neumann's ratio is 2); if each beat is timed from the one before, they wander, and the ratio falls with the number
//! of beats. A phase is named if the other one would give such a ratio with a chance of 2 % at most; with 10 beats, that is rare.
//!
//! **False alarms**, of 20,000 series of each kind with 5 to 60 beats: at most 0.9 % (gaps that wander by 30 % from one to the next, and gaps
//! spread evenly over 0.5 to 1.5), 0.3 % (gamma gaps with a shape of 4), 0.1 % and less (Poisson arrivals and clusters).
//!
//! **Hits**, in per cent of 1,000 series each, by jitter and number of beats that were seen, on a grid / drifting. A hit has the right
//! period, to 5 %. Of series with 5 to 8 beats and another stall, half of the period is found in 2 %: the stall was half-way
//! between two beats.
//!
//! | 20 % missing, one stall in ten extra | 5 beats | 6 | 8 | 10 | 12 | 15 | 20 | 40 |
//! |---|---|---|---|---|---|---|---|---|
//! | jitter of 0.1 % | 89 / 89 | 95 / 95 | 99 / 99 | 99 / 99 | 99 / 99 | 100 / 100 | 100 / 100 | 100 / 100 |
//! | 1 % | 77 / 86 | 94 / 95 | 99 / 99 | 99 / 99 | 99 / 99 | 100 / 100 | 100 / 100 | 100 / 100 |
//! | 3 % | 13 / 28 | 44 / 66 | 96 / 99 | 99 / 99 | 99 / 99 | 100 / 100 | 100 / 100 | 100 / 100 |
//! | 4 % | 8 / 15 | 23 / 42 | 76 / 90 | 98 / 99 | 99 / 99 | 100 / 100 | 100 / 100 | 100 / 100 |
//! | 5 % | 5 / 8 | 12 / 27 | 50 / 72 | 88 / 94 | 98 / 99 | 99 / 100 | 100 / 100 | 100 / 100 |
//! | 8 % | 1 / 2 | 2 / 5 | 11 / 23 | 32 / 50 | 61 / 72 | 78 / 88 | 93 / 99 | 98 / 100 |
//! | 10 % | 1 / 1 | 1 / 3 | 5 / 9 | 14 / 23 | 29 / 41 | 45 / 56 | 72 / 89 | 80 / 99 |
//!
//! | jitter of 5 % | 5 beats | 6 | 8 | 10 | 12 | 15 | 20 | 40 |
//! |---|---|---|---|---|---|---|---|---|
//! | all seen, none extra | 12 / 31 | 33 / 65 | 81 / 94 | 99 / 100 | 100 / 100 | 100 / 100 | 100 / 100 | 100 / 100 |
//! | 20 % missing | 11 / 24 | 28 / 53 | 77 / 89 | 96 / 98 | 99 / 99 | 99 / 100 | 100 / 100 | 100 / 100 |
//! | 30 % missing | 9 / 20 | 23 / 44 | 67 / 79 | 85 / 88 | 91 / 93 | 94 / 95 | 93 / 95 | 97 / 97 |
//! | 40 % missing | 7 / 15 | 18 / 34 | 50 / 60 | 62 / 66 | 66 / 68 | 70 / 72 | 63 / 65 | 60 / 63 |
//! | one in ten extra | 4 / 9 | 12 / 32 | 53 / 80 | 93 / 97 | 99 / 100 | 100 / 100 | 100 / 100 | 100 / 100 |
//! | two in ten extra | 4 / 9 | 12 / 32 | 32 / 59 | 80 / 91 | 97 / 99 | 99 / 100 | 98 / 100 | 100 / 100 |
//!
//! Independent normal gaps with a deviation of 10 / 15 / 20 / 25 % are called periodic in 52 / 15 / 4 / 2 % of series of 10 beats and
//! 100 / 84 / 21 / 3 % of 40.
//!
//! **Phases** are named right in 8 / 20 % with 10 beats (on a grid / drifting), 65 / 70 % with 20, 87 / 87 % with 25, 95 % from 30 on; wrong
//! in 2 % at most.
//!
//! **Intervals** have the period in them in 92 to 99 % of hits, and jitter is right on average, if there are beats enough to show it. With
//! fewer, only series are found that happen to scatter little: of those with 5 beats that drift by 5 %, 10 % are found, with 0.4 of
//! their jitter, and a third of the intervals are too narrow.
//!
//! `cargo test -p profiler-stats --lib --release period -- --ignored --nocapture` prints the figures, in about 20 minutes.
//!
//! **What it does not find:** several stalls per period at uneven distances, unless they are bursts (`fit` sees that they are a
//! pattern); a period among as many other stalls; a period that changes; one that pauses for longer than eight periods.

mod beats;
mod chain;
mod fit;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use self::beats::Beats;
use self::fit::{Best, Fit};
use super::estimate::Estimate;

/// With fewer beats nothing is said: of series without a period, 1 % have four beats with three gaps that differ by 1 %, and times are
/// often rounded.
pub const LEAST_BEATS: usize = 5;
/// No more beats than this are looked at, the last ones: it bounds the work.
pub const MOST_BEATS: usize = 256;
/// Largest jitter of what is called periodic: its standard deviation, as a share of the period. Half of it is what 10 beats show.
pub const MOST_JITTER: f64 = 0.12;
/// Largest share of beats that may be missing. With 20 % missing at random, 10 beats are within it in 99 % of all cases.
pub const MOST_MISSING: f64 = 0.4;
/// Less than this share of the stalls may be no beats.
pub const MOST_EXTRA: f64 = 0.25;
/// The chance to find a period where there is none, at most.
pub const FALSE_ALARM: f64 = 0.01;

/// The threshold of the score of gaps, of as many beats, is this plus `THRESHOLD_SLOPE` times the logarithm of their number: more than
/// 99 % of each kind of series without a period reach, for 5 to 60 beats (from the simulation in this module's tests).
const THRESHOLD_BASE: f64 = 0.6;
/// See `THRESHOLD_BASE`.
const THRESHOLD_SLOPE: f64 = 4.0;
/// By how much more the score of the grid must be: more grids than gaps fit by chance (from the same simulation).
const GRID_EXCESS: f64 = 0.5;
/// By what power of e, at least, the chance of a false alarm falls with each unit that the score is above its threshold (from the same
/// simulation; 0.25 is that of wandering gaps with 60 beats, most others have 0.5 to 1).
const TAIL: f64 = 0.25;
/// With more jitter than this, a period is not found in 95 % of all cases, however many beats there are: chains are chosen by gaps, and
/// those of a grid scatter 1.4 times as much as its beats (from the simulation in this module's tests).
const MOST_THAT_SHOWS: f64 = 0.08;
/// No smaller chance of a false alarm is stated: of each kind, 20,000 series were simulated.
const LEAST_FALSE_ALARM: f64 = 1e-4;

/// Whether stalls repeat.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Fewer than [`LEAST_BEATS`] beats: not looked at.
    TooFew {
        /// How many beats there are.
        beats: usize,
    },
    /// No period was found.
    NotPeriodic {
        /// How many beats were looked at.
        beats: usize,
        /// A period with at most this jitter, as a share of the period, would have been found in 95 % of all cases, if no beat
        /// was missing and every stall was one. What has more jitter may still be there.
        jitter_that_shows: f64,
    },
    /// They repeat.
    Periodic(Period),
}

/// How beats repeat. All times that were given are accounted for: they are `seen`, `extra`, `merged` or `older`.
#[derive(Clone, Debug, PartialEq)]
pub struct Period {
    /// The period in nanoseconds, with its interval of 95 % confidence. It does not rest on counts alone, so never `exact`.
    pub period_ns: Estimate,
    /// Whether the beats stay on one grid.
    pub phase: Phase,
    /// Standard deviation as a share of the period: of the beats from the grid if they are locked to it, else of one period.
    /// From 0 to 1.5 times [`MOST_JITTER`]. If the phase is unclear and there is a grid, it is 1.4 times the deviation from that.
    pub jitter: f64,
    /// Beats that were seen. At least [`LEAST_BEATS`].
    pub seen: usize,
    /// Beats that should have come between the first and the last that were seen, and did not.
    pub missing: usize,
    /// Whole periods from the begin of the span to the first beat, less twice the jitter. 0 if there are `older` times.
    pub before: u64,
    /// Whole periods from the last beat to the end of the span, less twice the jitter: if there are many, it has stopped.
    pub after: u64,
    /// Stalls that are no beats.
    pub extra: usize,
    /// Times that belong to a stall that began with an earlier one.
    pub merged: usize,
    /// Times that were not looked at, because at least [`MOST_BEATS`] beats came after them.
    pub older: usize,
    /// The chance that a series without a period looks at least as regular, by an upper estimate: from 0.0001 to [`FALSE_ALARM`]. One
    /// minus this is the confidence.
    pub false_alarm: f64,
    /// The test that the verdict rests on.
    pub test: Test,
}

/// Whether jitter accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The beats stay on one grid: a timer.
    Locked,
    /// Each beat is timed from the one before: their jitter adds up.
    Drifting,
    /// Too few beats to say, or neither would look like this.
    Unclear,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// The scatter of the gaps, each divided by its number of periods.
    FoldedGaps,
    /// The scatter of the beats around an even grid.
    EvenGrid,
}

impl Test {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Test::FoldedGaps => "scatter of folded gaps",
            Test::EvenGrid => "scatter around an even grid",
        }
    }
}

/// Do stalls at these times repeat? `times_ns` need not be sorted. If a time is outside of the observed span from `begin_ns` to
/// `end_ns`, the span is taken to reach to it. All are nanoseconds of one clock, and should be known to a hundredth of the gaps
/// between stalls: times that were rounded look more regular than they are.
///
/// Takes time in proportion to the number of times, and for the last [`MOST_BEATS`] beats a few milliseconds at most.
pub fn find(times_ns: &[u64], begin_ns: u64, end_ns: u64) -> Verdict {
    let beats = Beats::of(times_ns);
    let count = beats.count();
    if count < LEAST_BEATS {
        return Verdict::TooFew { beats: count };
    }
    let Some((fit, test, excess)) = most_regular(beats.places()) else {
        return Verdict::NotPeriodic { beats: count, jitter_that_shows: jitter_that_shows(count) };
    };
    let phase = fit.phase();
    let period_ns = fit.period(phase, beats.unit_ns());
    let jitter = fit.jitter(phase);
    let (first_ns, last_ns) = (beats.time_ns(fit.first), beats.time_ns(fit.last));
    let begin_ns = if beats.older > 0 { first_ns } else { begin_ns };
    let silent = |ns: u64| (ns as f64 / period_ns.value - 2.0 * jitter).max(0.0) as u64;
    Verdict::Periodic(Period {
        phase,
        jitter,
        seen: fit.seen,
        missing: fit.missing(),
        before: silent(first_ns.saturating_sub(begin_ns)),
        after: silent(end_ns.saturating_sub(last_ns)),
        extra: fit.extra,
        merged: beats.merged,
        older: beats.older,
        false_alarm: (FALSE_ALARM * (-TAIL * excess).exp()).max(LEAST_FALSE_ALARM),
        test,
        period_ns,
    })
}

/// The more significant of the two fits, with its test, and by how much its score is above the threshold. `None` if neither is.
fn most_regular(places: &[f64]) -> Option<(Fit, Test, f64)> {
    let threshold = threshold(places.len());
    let Best { gaps, grid } = Best::of(places);
    let by_gaps = gaps.map(|fit| (fit.gaps_score() - threshold, fit, Test::FoldedGaps));
    let by_grid = grid.map(|fit| (fit.grid_score() - threshold - GRID_EXCESS, fit, Test::EvenGrid));
    let best = by_gaps.into_iter().chain(by_grid).max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(excess, ..)| *excess > 0.0).map(|(excess, fit, test)| (fit, test, excess))
}

/// What the score of the gaps must exceed.
fn threshold(beats: usize) -> f64 {
    THRESHOLD_BASE + THRESHOLD_SLOPE * (beats as f64).ln()
}

/// See [`Verdict::NotPeriodic`]. The logarithm of a standard deviation from `n` values has itself one of `1 / sqrt(2 n)`, so the
/// score of `n` independent deviations has one of `sqrt(n / 2)`; its one-sided 95 % lower limit must be above the threshold.
fn jitter_that_shows(beats: usize) -> f64 {
    let free = beats.saturating_sub(2).max(1) as f64;
    let z = super::interval::normal(super::interval::ALPHA);
    let needed = threshold(beats) + GRID_EXCESS + z * (free / 2.0).sqrt();
    (fit::EVENLY * (-needed / free).exp()).min(MOST_THAT_SHOWS)
}

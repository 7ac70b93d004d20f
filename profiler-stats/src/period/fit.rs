//! How little do beats scatter, as a drifting period and as an even grid, and how surprising is that?

use statrs::distribution::{ContinuousCDF as _, StudentsT};
use statrs::function::gamma::ln_gamma;

use super::chain::{self, Beat};
use super::{LEAST_BEATS, MOST_EXTRA, MOST_JITTER, MOST_MISSING, Phase};
use crate::estimate::Estimate;
use crate::interval::ALPHA;

/// Standard deviation of what is spread evenly over one period: `1 / sqrt(12)`.
pub(super) const EVENLY: f64 = 0.288_675_134_594_812_9;
/// Less scatter than this counts as this much: no series is infinitely surprising. Five beats pass with 1 %.
const LEAST_SCATTER: f64 = 0.004;
/// What the logarithm of the number of ways to leave out as many stalls is multiplied by: the ways overlap. With 0.3 to 1, hits
/// differ by 3 % (from the simulation in this module's tests).
const EXTRA_WEIGHT: f64 = 0.5;
/// The same for missing beats: few of the ways that they could be missing fit gaps that do not depend on each other. With 0.05 to 0.2, hits
/// differ by 3 %.
const MISSING_WEIGHT: f64 = 0.1;
/// The shortest and the longest period looked for, in mean gaps: with 40 % of the beats missing, and with 25 % of the stalls extra.
const PERIODS: (f64, f64) = (0.6, 1.35);
/// From one period to the next: half of it, over a link of three periods, is less than [`FIRST_SCATTER`].
const PERIOD_STEP: f64 = 1.03;
/// How much one period is taken to scatter before this is known: that of a grid with 5 % jitter.
const FIRST_SCATTER: f64 = 0.07;
/// Chains are looked for again with the scatter that was found, within these.
const SCATTERS: (f64, f64) = (0.01, 0.1);
/// A stall is a beat of the grid within this many standard deviations. With 2 to 3, hits differ by 1 %.
const GRID_DEVIATIONS: f64 = 2.5;
/// Least and largest standard deviation that is taken for it.
const GRID_SCATTERS: (f64, f64) = (0.01, 0.08);
/// With more scatter than this it is asked whether it is a pattern. With less, the period is right all the same: a timer of 10.5 turns of a
/// main loop fires after 10 and 11 of them in turn.
const PATTERN_SCATTER: f64 = 0.05;
/// Up to how many beats a pattern repeats after.
const MOST_IN_PATTERN: u32 = 4;
/// As many gaps for each beat of a pattern must be seen.
const GAPS_PER_BEAT: usize = 5;
/// The share of the squared deviations that must not be explained by a pattern. Of 10 independent ones, it is less in 1 % of all cases.
const UNEXPLAINED: f64 = 0.25;
/// How often chains and grids are looked for again. A third time changes nothing.
const ROUNDS: usize = 2;

/// The beats of one chain, and how they scatter. Times are in mean gaps between stalls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// Which stall is the first beat.
    pub(super) first: usize,
    /// Which is the last.
    pub(super) last: usize,
    /// Number of beats.
    pub(super) seen: usize,
    /// Number of stalls that are none.
    pub(super) extra: usize,
    /// Periods from the first beat to the last.
    periods: u32,
    /// Price for what was left out.
    price: f64,
    /// The period of gaps, and the standard deviation of one, as a share of it.
    gaps: (f64, f64),
    /// The period of the grid, and the standard deviation from it, as a share of it.
    grid: (f64, f64),
    /// Where the grid has its beat 0.
    start: f64,
    /// Sum of the squared numbers of beats, less their mean.
    spread: f64,
    /// Von Neumann's ratio: squared differences of successive deviations from the grid, to their squares. Missing if all are on it.
    pub(super) neumann: Option<f64>,
}

/// The best fits that were found.
#[derive(Default)]
pub(super) struct Best {
    /// By the scatter of gaps.
    pub(super) gaps: Option<Fit>,
    /// By the scatter around a grid.
    pub(super) grid: Option<Fit>,
}

impl Best {
    /// Of stalls at these places, ascending, in mean gaps.
    pub(super) fn of(places: &[f64]) -> Best {
        let mut best = Best::default();
        let mut period = PERIODS.0;
        while period < PERIODS.1 {
            best.take(Fit::of(&chain::best(places, period, FIRST_SCATTER), places.len()));
            period *= PERIOD_STEP;
        }
        for _ in 0..ROUNDS {
            for fit in [best.gaps, best.grid].into_iter().flatten() {
                let scatter = fit.gaps.1.clamp(SCATTERS.0, SCATTERS.1);
                best.take(Fit::of(&chain::best(places, fit.gaps.0, scatter), places.len()));
            }
        }
        for _ in 0..ROUNDS {
            let Some(fit) = best.grid else { break };
            best.take(Fit::of(&fit.on_grid(places), places.len()));
        }
        best
    }

    fn take(&mut self, fit: Option<Fit>) {
        let Some(fit) = fit else { return };
        if fit.gaps.1 <= MOST_JITTER && self.gaps.is_none_or(|best| fit.gaps_score() > best.gaps_score()) {
            self.gaps = Some(fit);
        }
        if fit.grid.1 <= MOST_JITTER && self.grid.is_none_or(|best| fit.grid_score() > best.grid_score()) {
            self.grid = Some(fit);
        }
    }
}

impl Fit {
    /// Of a chain from so many stalls. `None` if it has too few beats, leaves out too much, or is the pattern of a longer period.
    fn of(beats: &[Beat], stalls: usize) -> Option<Fit> {
        let (first, last) = (beats.first()?, beats.last()?);
        let (seen, extra) = (beats.len(), stalls.saturating_sub(beats.len()));
        let periods = last.number;
        let expected = f64::from(periods) + 1.0;
        let missing = expected - seen as f64;
        let too_few = seen < LEAST_BEATS;
        if too_few || missing > MOST_MISSING * expected || extra as f64 >= MOST_EXTRA * stalls as f64 {
            return None;
        }
        let free = seen as f64 - 2.0;
        // The sum of gaps has the smallest error if the variance of a gap is proportional to its number of periods.
        let period = (last.place - first.place) / f64::from(periods);
        let gaps: f64 = beats.windows(2).map(|pair| folded(pair, period)).sum();
        let line = Line::through(beats);
        let squares: f64 = beats.iter().map(|beat| line.off(beat).powi(2)).sum();
        let steps: f64 = beats.windows(2).map(|pair| line.step(pair).powi(2)).sum();
        let (gaps, grid) = ((gaps / free).sqrt() / period, (squares / free).sqrt() / line.period);
        if gaps.max(grid) > PATTERN_SCATTER && is_pattern(beats, &line) {
            return None;
        }
        Some(Fit {
            first: first.index,
            last: last.index,
            seen,
            extra,
            periods,
            price: EXTRA_WEIGHT * ways(stalls as f64, extra as f64)
                + MISSING_WEIGHT * ways(expected, missing),
            gaps: (period, gaps),
            grid: (line.period, grid),
            start: line.start,
            spread: line.spread,
            // Less is a rounding error.
            neumann: (squares > 1e-18 * seen as f64).then(|| steps / squares),
        })
    }

    /// How surprising the scatter of the gaps is.
    pub(super) fn gaps_score(&self) -> f64 {
        self.score(self.gaps.1)
    }

    /// How surprising the scatter around the grid is.
    pub(super) fn grid_score(&self) -> f64 {
        self.score(self.grid.1)
    }

    /// The likelihood of independent normal deviations, with the standard deviation that they have, falls with its power; of the beats,
    /// two are used up by the period and the deviation itself.
    fn score(&self, scatter: f64) -> f64 {
        (self.seen as f64 - 2.0) * (EVENLY / scatter.max(LEAST_SCATTER)).ln() - self.price
    }

    /// Beats between the first and the last that were not seen.
    pub(super) fn missing(&self) -> usize {
        (self.periods as usize + 1).saturating_sub(self.seen)
    }

    /// Whether jitter adds up.
    pub(super) fn phase(&self) -> Phase {
        let Some(ratio) = self.neumann else { return Phase::Locked };
        let (locked_at_least, drifting_at_most) = phase_limits(self.seen as f64);
        match (ratio >= locked_at_least, ratio <= drifting_at_most) {
            (true, false) => Phase::Locked,
            (false, true) => Phase::Drifting,
            // Either could give it, or none.
            (true, true) | (false, false) => Phase::Unclear,
        }
    }

    /// The period, if a mean gap between stalls is that long, with its interval of 95 %.
    pub(super) fn period(&self, phase: Phase, unit_ns: f64) -> Estimate {
        // Of a regression line, and of a mean.
        let grid_error = self.grid.0 * self.grid.1 / self.spread.sqrt();
        let gaps_error = self.gaps.0 * self.gaps.1 / f64::from(self.periods).sqrt();
        let (period, error) = match phase {
            Phase::Locked => (self.grid.0, grid_error),
            Phase::Drifting => (self.gaps.0, gaps_error),
            Phase::Unclear => (self.gaps.0, gaps_error.max(grid_error)),
        };
        let reach = error * student(self.seen as f64 - 2.0);
        let (low, high) = ((period - reach).max(0.0) * unit_ns, (period + reach) * unit_ns);
        Estimate { value: period * unit_ns, low, high: Some(high), exact: false }
    }

    /// The standard deviation that goes with a phase, as a share of the period.
    pub(super) fn jitter(&self, phase: Phase) -> f64 {
        if phase == Phase::Locked { self.grid.1 } else { self.gaps.1 }
    }

    /// The stalls nearest to each beat of the grid, if they are near.
    fn on_grid(&self, places: &[f64]) -> Vec<Beat> {
        let (period, scatter) = self.grid;
        let near = scatter.clamp(GRID_SCATTERS.0, GRID_SCATTERS.1) * GRID_DEVIATIONS;
        // As (number, distance): numbers may be negative before the first beat.
        let mut beats: Vec<(f64, f64, Beat)> = Vec::with_capacity(places.len());
        for (index, &place) in places.iter().enumerate() {
            let number = ((place - self.start) / period).round();
            let off = ((place - self.start) / period - number).abs();
            let rival = beats.last().filter(|(other, ..)| *other == number).map(|(_, off, _)| *off);
            if off > near || rival.is_some_and(|rival| rival <= off) {
                continue;
            }
            if rival.is_some() {
                beats.pop();
            }
            beats.push((number, off, Beat { index, place, number: 0 }));
        }
        let first = beats.first().map_or(0.0, |(number, ..)| *number);
        beats.iter().map(|(number, _, beat)| Beat { number: (number - first) as u32, ..*beat }).collect()
    }
}

/// A regression line of the places of beats by their numbers.
struct Line {
    period: f64,
    start: f64,
    spread: f64,
}

impl Line {
    fn through(beats: &[Beat]) -> Line {
        let count = beats.len() as f64;
        let number = beats.iter().map(|beat| f64::from(beat.number)).sum::<f64>() / count;
        let place = beats.iter().map(|beat| beat.place).sum::<f64>() / count;
        let by = |beat: &Beat| f64::from(beat.number) - number;
        let spread: f64 = beats.iter().map(|beat| by(beat).powi(2)).sum();
        let period = beats.iter().map(|beat| by(beat) * (beat.place - place)).sum::<f64>() / spread;
        Line { period, start: place - period * number, spread }
    }

    fn off(&self, beat: &Beat) -> f64 {
        beat.place - self.start - self.period * f64::from(beat.number)
    }

    fn step(&self, pair: &[Beat]) -> f64 {
        match pair {
            [before, beat] => self.off(beat) - self.off(before),
            _ => 0.0,
        }
    }
}

/// The square by which a gap is off its number of periods, for one period.
fn folded(pair: &[Beat], period: f64) -> f64 {
    let [before, beat] = pair else { return 0.0 };
    let periods = f64::from(beat.number - before.number);
    (beat.place - before.place - periods * period).powi(2) / periods
}

/// True if the deviations repeat after a few beats: then that is the period, and there are several stalls in each at uneven distances.
fn is_pattern(beats: &[Beat], line: &Line) -> bool {
    (2..=MOST_IN_PATTERN).any(|length| {
        // By the place in the pattern: number of gaps, sum of their deviations.
        let mut places = [(0.0, 0.0); MOST_IN_PATTERN as usize];
        let mut squares = 0.0;
        for pair in beats.windows(2) {
            let place = pair.first().and_then(|beat| places.get_mut((beat.number % length) as usize));
            let Some((count, sum)) = place else { continue };
            let off = line.step(pair);
            (*count, *sum, squares) = (*count + 1.0, *sum + off, squares + off * off);
        }
        let explained: f64 =
            places.iter().filter(|(count, _)| *count > 0.0).map(|(count, sum)| sum * sum / count).sum();
        beats.len() > GAPS_PER_BEAT * length as usize && squares - explained < UNEXPLAINED * squares
    })
}

/// Logarithm of the number of ways to choose `some` of `all`.
fn ways(all: f64, some: f64) -> f64 {
    if some <= 0.0 { 0.0 } else { ln_gamma(all + 1.0) - ln_gamma(some + 1.0) - ln_gamma(all - some + 1.0) }
}

/// The two-sided 95 % quantile of Student's distribution.
fn student(free: f64) -> f64 {
    StudentsT::new(0.0, 1.0, free).map_or(f64::INFINITY, |student| student.inverse_cdf(1.0 - ALPHA / 2.0))
}

/// Von Neumann's ratio is at least the first if beats keep to a grid, and at most the second if they drift, each but for 2 % of all
/// cases with 5 to 200 beats (from the simulation in this module's tests). With many beats the first is the larger one.
fn phase_limits(seen: f64) -> (f64, f64) {
    // Of independent deviations the ratio has a mean of 2 and, nearly, a standard deviation of 2 / sqrt(n) (von Neumann 1941).
    let locked = (2.0 - 4.4 / seen.sqrt()).max(1.0);
    // Squared steps of a random walk are to its squared deviations from a line as 1 to n / 15, and spread widely.
    (locked, 54.0 / (seen + 8.0))
}

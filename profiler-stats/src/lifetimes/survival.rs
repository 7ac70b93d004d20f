//! Survival: which share of a stack's items lives to a given age?
//!
//! Items that are still live have not told their lifetime yet, they are *censored*. Leaving them out would make
//! every lifetime look short, and counting them as released now would too. The estimate of Kaplan and Meier (1958)
//! uses each item for exactly as long as it was seen. Lifetimes come in bins, so items censored within a bin
//! count as at risk for half of it (the actuarial method; Cutler and Ederer 1958).

use profiler_common::age::{self, BINS};

use super::rows::Lifetimes;
use crate::estimate::Estimate;
use crate::interval::{ALPHA, normal, share_lower, share_upper};

/// Up to this many items, and without censoring, the exact binomial interval is used.
const SMALL: f64 = 200.0;

/// The share of items that live to `age_units`, or nothing if that was not seen at all.
///
/// The interval is Greenwood's (1926) on the scale of `log(-log S)`, which stays within 0 and 1 (Kalbfleisch and
/// Prentice 1980). Where that has no meaning (all or none survive) it is the binomial one of Clopper and Pearson
/// (1934) for the effective number of items, and it is that one too if nothing was censored and items are few.
///
/// If items were watched, but none for so long, the truth lies between the survival at the last watched age and
/// zero (Gill's and Efron's readings of the unknown tail): that survival is the value, and zero the lower limit. If
/// moreover none was released, nothing is known.
pub fn survival(lifetimes: &Lifetimes, age_units: u64) -> Option<Estimate> {
    let curve = Curve::to(lifetimes, age_units);
    let (low, high) = curve.limits();
    match (curve.reached, curve.survival < 1.0) {
        (true, _) => Some(Estimate { value: curve.survival, low, high: Some(high), exact: false }),
        (false, true) => Some(Estimate { value: curve.survival, low: 0.0, high: Some(high), exact: false }),
        (false, false) => None,
    }
}

/// The age that half of the items live to, in age units; missing if more than half live as long as was watched.
pub fn median_units(lifetimes: &Lifetimes) -> Option<f64> {
    let mut curve = Curve::new(lifetimes);
    for bin in 0..BINS {
        let before = curve.survival;
        let interval = curve.next_interval(lifetimes, bin)?;
        curve.pass(interval, 1.0);
        if curve.survival <= 0.5 {
            let share = (before - 0.5) / (before - curve.survival);
            let (start, end) = (age::start(bin) as f64, age::start(bin + 1) as f64);
            return Some(start + share * (end - start));
        }
    }
    None
}

/// The survival curve up to an age.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// Items that were not censored or released before the age that the curve has come to.
    at_risk: f64,
    /// Share of items that live to that age.
    survival: f64,
    /// Greenwood's sum: the relative variance of `survival`.
    variance: f64,
    /// Items of the stack.
    entered: f64,
    /// Items lost from sight so far.
    censored: f64,
    /// Effective number of items just before the last one was released.
    size_before_zero: f64,
    /// Whether some item was watched up to the age asked for.
    pub(super) reached: bool,
}

/// What happened within one step of age.
#[derive(Clone, Copy, Debug)]
struct Interval {
    deaths: f64,
    censored: f64,
}

impl Curve {
    fn new(lifetimes: &Lifetimes) -> Curve {
        let entered = lifetimes.died.iter().chain(&lifetimes.live).sum::<u64>() as f64;
        Curve {
            at_risk: entered,
            survival: 1.0,
            variance: 0.0,
            entered,
            censored: 0.0,
            size_before_zero: entered,
            reached: false,
        }
    }

    /// The curve at `age_units`, or at the last age at which an item was watched.
    pub(super) fn to(lifetimes: &Lifetimes, age_units: u64) -> Curve {
        let mut curve = Curve::new(lifetimes);
        for bin in 0..BINS {
            let (start, end) = (age::start(bin), age::start(bin + 1));
            if start >= age_units {
                break;
            }
            let Some(interval) = curve.next_interval(lifetimes, bin) else { return curve };
            curve.pass(interval, ((age_units - start) as f64 / (end - start) as f64).min(1.0));
        }
        // Once all are released, none reaches any later age.
        curve.reached = curve.at_risk > 0.0 || (curve.survival == 0.0 && curve.entered > 0.0);
        curve
    }

    /// What happened in `bin`, or nothing if no item was left to watch and some had been censored.
    fn next_interval(&self, lifetimes: &Lifetimes, bin: usize) -> Option<Interval> {
        if self.at_risk <= 0.0 && self.survival > 0.0 {
            return None;
        }
        Some(Interval { deaths: lifetimes.died[bin] as f64, censored: lifetimes.live[bin] as f64 })
    }

    /// Advances the curve through the first `share` (0 to 1) of an interval.
    fn pass(&mut self, interval: Interval, share: f64) {
        let at_risk = self.at_risk - interval.censored / 2.0;
        if interval.deaths > 0.0 {
            let hazard = (interval.deaths / at_risk).min(1.0);
            let kept = 1.0 - share * hazard;
            if kept > 0.0 {
                // Within an interval it is not known who was released before the age: as many as that, by chance.
                self.variance += (1.0 - kept) / (at_risk * kept);
            } else {
                self.size_before_zero = self.effective_size(at_risk);
            }
            self.survival *= kept;
        }
        self.at_risk -= share * (interval.deaths + interval.censored);
        self.censored += interval.censored;
    }

    /// How many uncensored items would tell as much as these do (Cutler and Ederer 1958).
    fn effective_size(&self, at_risk: f64) -> f64 {
        if self.variance > 0.0 { (1.0 - self.survival) / (self.survival * self.variance) } else { at_risk }
    }

    /// Share of items that live to the age that the curve has come to.
    pub(super) fn survival(&self) -> f64 {
        self.survival
    }

    /// Upper confidence limit of the survival.
    pub(super) fn high(&self) -> f64 {
        self.limits().1
    }

    /// Lower confidence limit of the survival.
    pub(super) fn low(&self) -> f64 {
        self.limits().0
    }

    fn limits(&self) -> (f64, f64) {
        let (s, tail) = (self.survival, ALPHA / 2.0);
        if self.entered <= 0.0 {
            return (0.0, 1.0);
        }
        if s <= 0.0 {
            return (0.0, share_upper(0.0, self.size_before_zero, tail));
        }
        if s >= 1.0 {
            // Nobody was released: those still watched are the trials (Peto's size; Dorey and Korn 1987).
            return (share_lower(self.at_risk, self.at_risk, tail), 1.0);
        }
        if self.censored == 0.0 && self.entered <= SMALL {
            let kept = s * self.entered;
            return (share_lower(kept, self.entered, tail), share_upper(kept, self.entered, tail));
        }
        let spread = (normal(tail) * self.variance.sqrt() / s.ln().abs()).exp();
        (s.powf(spread), s.powf(1.0 / spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() <= tolerance, "got {got}, want {want}");
    }

    fn follow(steps: &[(f64, f64)]) -> Vec<Curve> {
        let entered = steps.iter().map(|(deaths, censored)| deaths + censored).sum();
        let mut curve = Curve::new(&Lifetimes::default());
        (curve.at_risk, curve.entered) = (entered, entered);
        let mut curves = Vec::new();
        for &(deaths, censored) in steps {
            curve.pass(Interval { deaths, censored }, 1.0);
            curves.push(curve.clone());
        }
        curves
    }

    /// Remission times under 6-mercaptopurine (Freireich et al. 1963), deaths and censorings in order of time:
    /// the textbook example of the product-limit estimate.
    #[test]
    fn freireichs_remissions() {
        let steps = [
            (3.0, 0.0), // week 6
            (0.0, 1.0),
            (1.0, 0.0), // 7
            (0.0, 1.0),
            (1.0, 0.0), // 10
            (0.0, 2.0),
            (1.0, 0.0), // 13
            (1.0, 0.0), // 16
            (0.0, 3.0),
            (1.0, 0.0), // 22
            (1.0, 0.0), // 23
            (0.0, 5.0),
        ];
        let curves = follow(&steps);
        let published = [
            (0, 0.857, 0.0764),
            (2, 0.807, 0.0869),
            (4, 0.753, 0.0963),
            (6, 0.690, 0.1068),
            (7, 0.627, 0.1141),
            (9, 0.538, 0.1282),
            (10, 0.448, 0.1346),
        ];
        for (step, survival, error) in published {
            let curve = &curves[step];
            close(curve.survival, survival, 5.1e-4);
            close(curve.survival * curve.variance.sqrt(), error, 5.1e-5);
        }
        // Week 10 on the log(-log) scale, by hand: 0.7529 to the power exp(+-1.96 * 0.0963 / (0.7529 * 0.2838)).
        let (low, high) = curves[4].limits();
        close(low, 0.503, 1e-3);
        close(high, 0.889, 1e-3);
    }

    /// Men with angina pectoris, deaths and withdrawals by year (Lee 1992, p. 91): the textbook example of the
    /// actuarial estimate.
    #[test]
    fn the_actuarial_table_of_angina_pectoris() {
        let years = [
            (456.0, 0.0),
            (226.0, 39.0),
            (152.0, 22.0),
            (171.0, 23.0),
            (135.0, 24.0),
            (125.0, 107.0),
            (83.0, 133.0),
            (74.0, 102.0),
            (51.0, 68.0),
            (42.0, 64.0),
            (43.0, 45.0),
            (34.0, 53.0),
            (18.0, 33.0),
            (9.0, 27.0),
            (6.0, 23.0),
            (0.0, 30.0),
        ];
        let published = [
            (0.8114, 0.00796),
            (0.7170, 0.00918),
            (0.6524, 0.00973),
            (0.5786, 0.0101),
            (0.5193, 0.0103),
            (0.4611, 0.0104),
            (0.4172, 0.0105),
            (0.3712, 0.0106),
            (0.3342, 0.0107),
            (0.2987, 0.0109),
            (0.2557, 0.0111),
            (0.2136, 0.0114),
            (0.1839, 0.0118),
            (0.1636, 0.0123),
            (0.1429, 0.0133),
        ];
        for (curve, (survival, error)) in follow(&years).iter().zip(published) {
            close(curve.survival, survival, 5.1e-5);
            close(curve.survival * curve.variance.sqrt(), error, 5.1e-5);
        }
    }

    #[test]
    fn nobody_dies_and_all_die() {
        let kept = survival(&Lifetimes::of(&[], &[(5_000, 20)]), 1_000).unwrap();
        assert_eq!((kept.value, kept.high), (1.0, Some(1.0)));
        close(kept.low, 0.8316, 1e-4); // Clopper-Pearson, 20 of 20

        let gone = survival(&Lifetimes::of(&[(10, 20)], &[]), 1_000).unwrap();
        assert_eq!((gone.value, gone.low), (0.0, 0.0));
        close(gone.high.unwrap(), 0.1684, 1e-4); // Clopper-Pearson, 0 of 20

        // The size of the sample does not shrink because the deaths are spread over several ages.
        let gone = survival(&Lifetimes::of(&[(10, 5), (50, 5), (200, 10)], &[]), 1_000).unwrap();
        close(gone.high.unwrap(), 0.1684, 1e-4);
    }

    #[test]
    fn without_censoring_the_interval_is_the_binomial_one() {
        let half = survival(&Lifetimes::of(&[(10, 5), (9_000, 5)], &[]), 1_000).unwrap();
        close(half.value, 0.5, 1e-12);
        close(half.low, 0.1871, 1e-4);
        close(half.high.unwrap(), 0.8129, 1e-4);
    }

    #[test]
    fn an_age_within_a_bin_is_interpolated() {
        // Ages 1024 to 1279 share a bin; all were released there.
        let part = survival(&Lifetimes::of(&[(1_100, 20)], &[]), 1_088).unwrap();
        assert_eq!(part.value, 0.75);
        close(part.low, 0.5090, 1e-4); // Clopper-Pearson, 15 of 20
        close(part.high.unwrap(), 0.9134, 1e-4);
    }

    #[test]
    fn what_was_not_watched_is_unknown() {
        assert_eq!(survival(&Lifetimes::default(), 100), None);
        assert_eq!(survival(&Lifetimes::of(&[], &[(40, 9)]), 100), None);
        let cut = survival(&Lifetimes::of(&[(3, 7)], &[(40, 9)]), 100).unwrap();
        assert_eq!((cut.value, cut.low), (9.0 / 16.0, 0.0));
        let seen = survival(&Lifetimes::of(&[(3, 7)], &[(40, 9)]), 30).unwrap();
        assert!(seen.value == 9.0 / 16.0 && seen.low > 0.2);
    }

    #[test]
    fn median() {
        assert_eq!(median_units(&Lifetimes::default()), None);
        assert_eq!(median_units(&Lifetimes::of(&[(10, 40)], &[(1_000, 60)])), None);
        // Ages 16 to 19 share a bin: half of its 80 items have gone in the middle of it.
        assert_eq!(median_units(&Lifetimes::of(&[(17, 80)], &[])), Some(18.0));
        assert_eq!(median_units(&Lifetimes::of(&[(5, 10)], &[])), Some(5.5));
    }
}

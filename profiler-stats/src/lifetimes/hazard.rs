//! The late-age release hazard: are items that got old still being released, and how often?
//!
//! Releases divided by the item-time at risk, both counted from some age on only. This tells a leak from state that
//! lives long: both leave old items behind, but old items of the second kind go on being released.

use profiler_common::age::{self, BINS, UNIT_NS};

use super::rows::Lifetimes;
use crate::estimate::Estimate;
use crate::interval::{ALPHA, at_least, poisson_lower, poisson_upper};

/// Age units in one hour.
pub(super) const UNITS_PER_HOUR: f64 = 3.6e12 / UNIT_NS as f64;

/// Confidence of the check that releases do not become frequent again at a later age.
const VETO_TAIL: f64 = 0.01;

/// How often items beyond some age are released.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LateHazard {
    /// Releases of items of at least `from_units`.
    pub releases: u64,
    /// Time that items spent live beyond that age, summed over items, in hours.
    pub exposure_item_hours: f64,
    /// Releases per item and hour, with Garwood's (1936) exact interval. With no release seen the upper limit is the
    /// one-sided one, about 3 / exposure; it is missing if no item was watched beyond `from_units`.
    pub per_hour: Estimate,
    /// The age from which releases count, in age units. It is the start of a bin of the age scale.
    pub from_units: u64,
    /// The oldest age that could be seen, in age units: the length of the observation.
    pub to_units: u64,
}

/// Releases and item-time from the start of each bin on; the last entry is the end of the age scale.
#[derive(Clone, Debug)]
pub(super) struct LateAges {
    releases: [u64; BINS + 1],
    items: [u64; BINS + 1],
    exposure_units: [f64; BINS + 1],
}

/// Releases and item-time from one age on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Suffix {
    pub(super) releases: u64,
    /// Items that were watched beyond that age, released or not.
    pub(super) items: u64,
    pub(super) exposure_units: f64,
    pub(super) from_units: u64,
    bin: usize,
}

impl LateAges {
    /// Item-time of live items is exact; a released item counts to the middle of the bin it was released in.
    pub(super) fn new(lifetimes: &Lifetimes) -> LateAges {
        let mut late =
            LateAges { releases: [0; BINS + 1], items: [0; BINS + 1], exposure_units: [0.0; BINS + 1] };
        let (mut releases, mut items, mut exposure) = (0, 0, 0.0);
        for bin in (0..BINS).rev() {
            let (start, width) = (age::start(bin), (age::start(bin + 1) - age::start(bin)) as f64);
            let (died, live) = (lifetimes.died[bin], lifetimes.live[bin]);
            let watched = lifetimes.live_age_units[bin].saturating_sub(live.saturating_mul(start));
            exposure += items as f64 * width + watched as f64 + died as f64 * width / 2.0;
            releases += died;
            items += died + live;
            (late.releases[bin], late.items[bin], late.exposure_units[bin]) = (releases, items, exposure);
        }
        late
    }

    /// From the first bin that lies wholly at or beyond `units`.
    pub(super) fn from(&self, units: f64) -> Suffix {
        let bin = (0..BINS).find(|&bin| age::start(bin) as f64 >= units).unwrap_or(BINS);
        self.at(bin)
    }

    fn at(&self, bin: usize) -> Suffix {
        Suffix {
            releases: self.releases[bin],
            items: self.items[bin],
            exposure_units: self.exposure_units[bin],
            from_units: age::start(bin),
            bin,
        }
    }

    /// From the start of the last bin that holds an item, if there is any item.
    pub(super) fn oldest(&self) -> Option<Suffix> {
        (0..BINS).rev().find(|&bin| self.items[bin] > 0).map(|bin| self.at(bin))
    }

    /// True if beyond some later age than the start of `suffix` releases are more frequent than `limit` per unit: a
    /// cache whose oldest entries have just begun to expire has a low hazard on average, yet forgets everything.
    /// `lent` is the time beyond an age that does not count.
    pub(super) fn rises(&self, suffix: &Suffix, limit: f64, lent: impl Fn(u64) -> f64) -> bool {
        let mut later = (suffix.bin + 1..BINS).map(|bin| self.at(bin)).filter(|later| later.releases > 0);
        later.any(|later| later.without(lent(later.from_units)).above(limit, VETO_TAIL))
    }

    /// The first age from which on no more are released than from the start of `suffix`, in units.
    pub(super) fn quiet_from(&self, suffix: &Suffix) -> u64 {
        let bin = (0..=suffix.bin).find(|&bin| self.releases[bin] == suffix.releases).unwrap_or(suffix.bin);
        age::start(bin)
    }

    /// From the first bin on, at or beyond the start of `suffix`, in which an item was released.
    pub(super) fn first_release(&self, suffix: &Suffix) -> Option<Suffix> {
        let mut bins = suffix.bin..BINS;
        bins.find(|&bin| self.releases[bin] > self.releases[bin + 1]).map(|bin| self.at(bin))
    }

    /// From the first bin on beyond which none was released.
    pub(super) fn beyond_releases(&self) -> Suffix {
        self.at((0..BINS).find(|&bin| self.releases[bin] == 0).unwrap_or(BINS))
    }

    /// From the start of each bin on that begins at `units` or later and has items.
    pub(super) fn since(&self, units: f64) -> impl Iterator<Item = Suffix> + '_ {
        let bins = (0..BINS).filter(move |&bin| age::start(bin) as f64 >= units && self.items[bin] > 0);
        bins.map(|bin| self.at(bin))
    }
}

impl Suffix {
    /// True if the hazard is below `limit` per unit, with confidence `1 - alpha`.
    pub(super) fn below(&self, limit: f64, alpha: f64) -> bool {
        self.upper(alpha) < limit * self.exposure_units
    }

    /// True if the hazard is above `limit` per unit, wrong with probability `tail`.
    pub(super) fn above(&self, limit: f64, tail: f64) -> bool {
        self.releases > 0 && poisson_lower(self.releases as f64, tail) > limit * self.exposure_units
    }

    /// Lower limit of the releases per unit, wrong with probability `tail`.
    pub(super) fn at_least_per_unit(&self, tail: f64) -> f64 {
        if self.exposure_units > 0.0 {
            poisson_lower(self.releases as f64, tail) / self.exposure_units
        } else {
            0.0
        }
    }

    /// The end, in age units, of the bin that starts at `from_units`.
    pub(super) fn end_units(&self) -> f64 {
        age::start(self.bin + 1) as f64
    }

    /// With so much less time.
    pub(super) fn without(self, lent_units: f64) -> Suffix {
        Suffix { exposure_units: (self.exposure_units - lent_units).max(0.0), ..self }
    }

    /// True if releases are rarer here than among all of `earlier`, of which these items are a part, wrong with probability
    /// `tail`.
    pub(super) fn rarer_than(&self, earlier: &Suffix, tail: f64) -> bool {
        let share = self.exposure_units / earlier.exposure_units;
        self.exposure_units > 0.0 && 1.0 - at_least(self.releases + 1, earlier.releases, share) < tail
    }

    /// Releases per unit, if any item was watched.
    pub(super) fn per_unit(&self) -> Option<f64> {
        (self.exposure_units > 0.0).then(|| self.releases as f64 / self.exposure_units)
    }

    /// Upper limit of the expected number of releases. With none seen there is nothing to say about the lower side,
    /// and the whole of `alpha` goes to the upper one.
    fn upper(&self, alpha: f64) -> f64 {
        let tail = if self.releases == 0 { alpha } else { alpha / 2.0 };
        poisson_upper(self.releases as f64, tail)
    }

    /// The figures to show, with an interval of confidence `1 - alpha`.
    pub(super) fn hazard(&self, alpha: f64, to_units: u64, sampled: bool) -> LateHazard {
        let hours = self.exposure_units / UNITS_PER_HOUR;
        let per_hour = if hours > 0.0 {
            Estimate {
                value: self.releases as f64 / hours,
                low: poisson_lower(self.releases as f64, alpha / 2.0) / hours,
                high: Some(self.upper(alpha) / hours),
                exact: self.releases == 0 && !sampled,
            }
        } else {
            Estimate { value: 0.0, low: 0.0, high: None, exact: false }
        };
        LateHazard {
            releases: self.releases,
            exposure_item_hours: hours,
            per_hour,
            from_units: self.from_units,
            to_units,
        }
    }
}

/// How many times the exposure of `suffix` is needed until its hazard, if it stays what it is, is proved to be
/// below `limit` per unit. At least 1; missing if that takes more than a hundred times as much, or no time at all
/// has been watched.
pub(super) fn exposure_factor(suffix: &Suffix, limit: f64) -> Option<f64> {
    let (releases, exposure) = (suffix.releases as f64, suffix.exposure_units);
    if exposure <= 0.0 {
        return None;
    }
    if suffix.releases == 0 {
        return Some((poisson_upper(0.0, ALPHA) / (limit * exposure)).max(1.0));
    }
    let mut factor = 1.0;
    while factor <= 100.0 {
        if poisson_upper(releases * factor, ALPHA / 2.0) < limit * exposure * factor {
            return Some(factor);
        }
        factor *= 1.1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposure_starts_at_the_first_whole_bin() {
        let late = LateAges::new(&Lifetimes::of(&[(900, 10)], &[(600, 2), (1_100, 3), (2_000, 1)]));
        // Bins around here start at 640, 768, 896, 1024.
        let suffix = late.from(650.0);
        assert_eq!((suffix.releases, suffix.from_units), (10, 768));
        // Three live to 1100, one to 2000, ten released in the middle of 896..1024.
        let want = 3.0 * (1_100.0 - 768.0) + (2_000.0 - 768.0) + 10.0 * (960.0 - 768.0);
        assert_eq!(suffix.exposure_units, want);
        assert_eq!(late.from(768.0), suffix);
        assert_eq!(late.from(3e9).exposure_units, 0.0);
    }

    #[test]
    fn releases_per_hour_with_garwoods_interval() {
        let units = UNITS_PER_HOUR / 2.0;
        let suffix = Suffix { releases: 10, exposure_units: 4.0 * units, from_units: 0, bin: 0, items: 0 };
        let hazard = suffix.hazard(0.05, 9, false);
        assert_eq!(hazard.exposure_item_hours, 2.0);
        assert_eq!(hazard.per_hour.value, 5.0);
        assert!((hazard.per_hour.low - 4.7954 / 2.0).abs() < 1e-4);
        assert!((hazard.per_hour.high.unwrap() - 18.390 / 2.0).abs() < 1e-3);
        assert!(!hazard.per_hour.exact);
    }

    #[test]
    fn no_release_seen_leaves_an_upper_limit_of_three_per_exposure() {
        let suffix =
            Suffix { releases: 0, exposure_units: 4.0 * UNITS_PER_HOUR, from_units: 0, bin: 0, items: 0 };
        let hazard = suffix.hazard(0.05, 9, false).per_hour;
        assert_eq!((hazard.value, hazard.low, hazard.exact), (0.0, 0.0, true));
        assert!((hazard.high.unwrap() - 2.9957 / 4.0).abs() < 1e-4);
        // 30 item-ages prove a hazard below a tenth per age, 29 do not.
        let ages = |n: f64| Suffix { exposure_units: n * 700.0, ..suffix };
        assert!(ages(30.0).below(0.1 / 700.0, 0.05));
        assert!(!ages(29.0).below(0.1 / 700.0, 0.05));
    }

    #[test]
    fn nothing_watched_is_no_limit() {
        let suffix = Suffix { releases: 0, exposure_units: 0.0, from_units: 0, bin: 0, items: 0 };
        assert_eq!(suffix.hazard(0.05, 9, false).per_hour.high, None);
        assert_eq!(suffix.per_unit(), None);
        assert!(!suffix.below(1.0, 0.05));
    }

    #[test]
    fn a_cache_that_has_just_begun_to_expire_rises() {
        // 1000 items of age up to 1500 still live, the 30 oldest were all released at 1500.
        let live: Vec<_> = (0..1_000).map(|i| (1 + i * 3 / 2, 1)).collect();
        let limit = 0.1 / 1_000.0;
        let late = LateAges::new(&Lifetimes::of(&[(1_500, 30)], &live));
        assert!(late.rises(&late.from(667.0), limit, |_| 0.0));
        let leak = LateAges::new(&Lifetimes::of(&[(100, 30)], &live));
        assert!(!leak.rises(&leak.from(667.0), limit, |_| 0.0));
    }

    #[test]
    fn factor_of_exposure_until_proved() {
        let suffix =
            |releases, exposure_units| Suffix { releases, exposure_units, from_units: 0, bin: 0, items: 0 };
        let factor = exposure_factor(&suffix(0, 10.0), 0.1).unwrap();
        assert!((factor - 2.9957).abs() < 1e-3);
        assert_eq!(exposure_factor(&suffix(0, 100.0), 0.1), Some(1.0));
        assert_eq!(exposure_factor(&suffix(5, 10.0), 0.1), None);
        assert_eq!(exposure_factor(&suffix(0, 0.0), 0.1), None);
        let factor = exposure_factor(&suffix(1, 20.0), 0.1).unwrap();
        assert!(poisson_upper(factor, 0.025) < 2.0 * factor && factor < 12.0, "{factor}");
    }
}

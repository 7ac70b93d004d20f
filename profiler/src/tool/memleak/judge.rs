//! How a verdict is reached: the order of the questions, and how much evidence each of them takes.
//!
//! A leak is proved, never assumed: late frees must be rarer than once in ten ages beyond doubt, and survivors must
//! keep coming. Whatever might still turn out to be one is called young until it is decided.

use std::time::Duration;

use profiler_common::age::{self, UNIT_NS};

use super::growth::{self, Growth, HALF_OLD, growth_within};
use super::hazard::{LateAges, Suffix, exposure_factor};
use super::interval::ALPHA;
use super::rows::{BIRTH_SLICES, StackRow, Window};
use super::survival::{Curve, median_units, survival};
use super::verdict::{Judgement, Reason, Verdict};

/// The observation must be this many times longer than the age asked about before old blocks are judged.
pub const MARGIN: f64 = 1.25;
/// A leak is freed less than once in this many ages: blocks of that age would live on that much longer.
const LIMIT_AGES: f64 = 10.0;
/// Ages from which frees are counted, in parts of the age asked about. The first decides alone; the later ones find
/// a leak behind a cache whose entries live longer than the age, and share their risk of being wrong.
const STARTS: [f64; 4] = [2.0 / 3.0, 1.0, 4.0 / 3.0, 2.0];
/// Temporary blocks live shorter than this part of the age, in the median.
const SHORT: f64 = 0.1;
/// A stack of temporary blocks keeps at most this share of them to the age.
const CHURN_SURVIVAL: f64 = 0.01;
/// A cache keeps at most this share of its blocks to the age, or to twice the age.
const CACHE_SURVIVAL: f64 = 0.05;
/// With fewer blocks of known fate nothing is said from survival alone.
const LEAST_BLOCKS: u64 = 20;
/// So many blocks that nobody is seen to free might be the beginning of a leak.
const SUSPECT: u64 = 3;
/// Old blocks that the question of growth takes, on average.
const GROWTH_BLOCKS: f64 = 12.0;

/// Judges one call stack. Pure: the same row and window give the same judgement.
pub fn judge(row: &StackRow, window: &Window) -> Judgement {
    judge_again(row, window, None)
}

/// Judges a call stack of which an earlier look at the same observation said `before`. A leak, or that it is none, is
/// taken back when something speaks against it, and not because a look falls where less is proved than before.
pub fn judge_again(row: &StackRow, window: &Window, before: Option<Verdict>) -> Judgement {
    judge_within(row, window, before, ALPHA)
}

/// Judges with another chance than [`ALPHA`] of proving a leak that is none: one of many candidates has a part of it.
pub(super) fn judge_within(
    row: &StackRow,
    window: &Window,
    before: Option<Verdict>,
    alpha: f64,
) -> Judgement {
    let window = &row.window(window);
    let case = Case::new(row, window, before == Some(Verdict::Leak), alpha);
    let (verdict, reason) = match (case.decide(), before) {
        ((Verdict::Young, reason), Some(before)) if reason != Reason::TooShort => {
            case.still(before).unwrap_or((Verdict::Young, reason))
        }
        (decided, _) => decided,
    };
    let evidence = match case.proof {
        Some(proof) if verdict == Verdict::Leak => proof,
        _ => (case.late, ALPHA),
    };
    Judgement {
        verdict,
        reason,
        survival: if window.length_units > window.older_units {
            survival(&row.lifetimes, window.older_units)
        } else {
            None
        },
        hazard: evidence.0.hazard(evidence.1, window.length_units, row.weighted.is_some()),
        growth: case.growth,
        growth_bytes_per_hour: growth::bytes_per_hour(row, window),
        judged_after: if verdict == Verdict::Young && !row.has_ended() {
            case.judged_after(reason)
        } else {
            None
        },
    }
}

/// One stack under judgement, with what several questions need.
struct Case<'a> {
    row: &'a StackRow,
    window: &'a Window,
    ages: LateAges,
    /// The age asked about, in age units.
    older: f64,
    /// The hazard, per unit, below which a block is as good as never freed.
    limit: f64,
    /// Frees from two thirds of the age on.
    late: Suffix,
    /// The first ages whose hazard is proved to be below the limit, and the error allowed there.
    proof: Option<(Suffix, f64)>,
    growth: Growth,
    /// True if the median lifetime is short against the age.
    short: bool,
}

impl<'a> Case<'a> {
    fn new(row: &'a StackRow, window: &'a Window, was_leak: bool, alpha: f64) -> Case<'a> {
        let older = window.older_units.max(1) as f64;
        let limit = 1.0 / (LIMIT_AGES * older);
        let ages = LateAges::new(&row.lifetimes);
        let proof = STARTS.iter().enumerate().find_map(|(place, start)| {
            let suffix = ages.from(start * older);
            let alpha = if place == 0 { alpha } else { alpha / STARTS.len() as f64 };
            (suffix.below(limit, alpha) && !ages.rises(&suffix, limit)).then_some((suffix, alpha))
        });
        Case {
            row,
            window,
            older,
            limit,
            late: ages.from(STARTS[0] * older),
            ages,
            proof,
            growth: growth_within(row, window, was_leak, alpha),
            short: median_units(&row.lifetimes).is_some_and(|median| median < SHORT * older),
        }
    }

    fn decide(&self) -> (Verdict, Reason) {
        if (self.window.length_units as f64) < MARGIN * self.older {
            return if self.only_in_flight() {
                (Verdict::Churn, Reason::FreedSoon)
            } else {
                (Verdict::Young, Reason::TooShort)
            };
        }
        if self.proof.is_some() && self.growth == Growth::Continues {
            return (Verdict::Leak, Reason::KeptAndGrowing);
        }
        if self.suspect() {
            return match self.proof {
                Some(_) => (Verdict::Young, Reason::GrowthUnclear),
                None => (Verdict::Young, Reason::FewBlockHours),
            };
        }
        if let Some(verdict) = self.bounded() {
            return verdict;
        }
        if self.still_freed() {
            (Verdict::LongLived, Reason::StillFreed)
        } else if self.row.old > 0 && self.growth == Growth::Stopped {
            (Verdict::LongLived, Reason::StoppedGrowing)
        } else {
            (Verdict::Young, Reason::FewBlocks)
        }
    }

    /// True if there are blocks that may be the beginning of a leak: old ones that nobody is seen to free, or half-old
    /// ones if not even these are freed.
    fn suspect(&self) -> bool {
        let half_old = self.ages.from(HALF_OLD * self.older);
        let held = if half_old.frees == 0 { half_old.blocks } else { self.row.old };
        held >= SUSPECT && !self.still_freed() && self.growth != Growth::Stopped
    }

    /// What was said before, where nothing speaks against it: neither the estimates of how often old blocks are freed, nor
    /// what growth probably does.
    fn still(&self, before: Verdict) -> Option<(Verdict, Reason)> {
        let kept = |start: f64| {
            let suffix = self.ages.from(start * self.older);
            suffix.per_unit().is_some_and(|hazard| hazard < self.limit)
                && !self.ages.rises(&suffix, self.limit)
        };
        let still_leaks = || {
            let grows = self.growth != Growth::Stopped && !growth::slackens(self.row, self.window);
            grows && STARTS.into_iter().any(kept)
        };
        let still_freed = || self.late.per_unit().is_some_and(|hazard| hazard >= self.limit);
        let stays_stopped = || {
            let starts = self.growth == Growth::Continues || growth::picks_up(self.row, self.window);
            self.row.old > 0 && !starts
        };
        match before {
            Verdict::Leak if still_leaks() => Some((Verdict::Leak, Reason::StillKeptAndGrowing)),
            Verdict::LongLived if still_freed() => Some((Verdict::LongLived, Reason::StillFreed)),
            Verdict::LongLived if stays_stopped() => Some((Verdict::LongLived, Reason::StoppedGrowing)),
            _ => None,
        }
    }

    /// True if late blocks are certainly, or after enough exposure probably, freed more often than a leak's.
    fn still_freed(&self) -> bool {
        let enough = self.late.exposure_units * self.limit >= -ALPHA.ln();
        self.late.above(self.limit, ALPHA / 2.0)
            || (enough && self.late.per_unit().is_some_and(|hazard| hazard >= self.limit))
    }

    /// A verdict for stacks whose blocks do not get old.
    fn bounded(&self) -> Option<(Verdict, Reason)> {
        let to_age = self.survival_at_most(self.older);
        let watched_twice = self.window.length_units as f64 >= 2.0 * MARGIN * self.older;
        let none_left = self.row.live == 0 && self.row.allocs > 0;
        let none_old = self.row.old == 0
            && self.known_fates(self.older) >= LEAST_BLOCKS
            && Curve::to(&self.row.lifetimes, self.window.older_units).survival() <= 2.0 * CACHE_SURVIVAL;
        let few_die_late = none_left
            || none_old
            || to_age <= CACHE_SURVIVAL
            || (watched_twice && self.survival_at_most(2.0 * self.older) <= CACHE_SURVIVAL);
        if !few_die_late {
            None
        } else if !self.short {
            Some((Verdict::Cache, Reason::BoundedAge))
        } else if to_age <= CHURN_SURVIVAL || self.row.old == 0 {
            Some((Verdict::Churn, Reason::FreedSoon))
        } else {
            None
        }
    }

    /// Upper limit of the share of blocks that live to `units`. Where no block was watched that long, the oldest
    /// ones are taken to go on being freed as they are: all entries of a cache expire before the age asked about.
    fn survival_at_most(&self, units: f64) -> f64 {
        let curve = Curve::to(&self.row.lifetimes, units as u64);
        let Some(oldest) = self.ages.oldest().filter(|_| !curve.reached) else { return curve.high() };
        let remaining = (units - oldest.end_units()).max(0.0);
        curve.high() * (-oldest.at_least_per_unit(ALPHA / 2.0) * remaining).exp()
    }

    /// True if the blocks still live are just those in use at this moment: their age is far from the one asked
    /// about, and so were the lifetimes of all others. This needs no long observation.
    fn only_in_flight(&self) -> bool {
        let brief = SHORT * self.older;
        let held =
            (0..age::BINS).any(|bin| age::start(bin) as f64 >= brief && self.row.lifetimes.live[bin] > 0);
        let watched =
            self.window.length_units as f64 >= 2.0 * brief && self.known_fates(brief) >= LEAST_BLOCKS;
        self.short && (self.row.live == 0 || (watched && !held))
    }

    /// Blocks of which it is known whether they lived to `units`.
    fn known_fates(&self, units: f64) -> u64 {
        let reached = |bin: &usize| age::start(*bin) as f64 >= units;
        let died: u64 = self.row.lifetimes.died.iter().sum();
        died + (0..age::BINS).filter(reached).map(|bin| self.row.lifetimes.live[bin]).sum::<u64>()
    }

    /// When the missing evidence will have come together, at the present rates.
    fn judged_after(&self, reason: Reason) -> Option<Duration> {
        let (length, from) = (self.window.length_units as f64, self.late.from_units as f64);
        let eligible = length - self.older;
        let mut needed = MARGIN * self.older;
        // Of a stack that allocates steadily, the time at risk grows with the square of the time beyond `from`.
        if self.late.exposure_units > 0.0 {
            let factor = exposure_factor(&self.late, self.limit)?;
            needed = needed.max(from + (length - from) * factor.sqrt());
        } else if self.row.live > 0 {
            let rate = self.row.live as f64 / length;
            let exposure = -ALPHA.ln() / self.limit;
            needed = needed.max(from + (2.0 * exposure / rate).sqrt());
        } else if length >= needed {
            return None;
        }
        if self.row.old > 0 && eligible > 0.0 {
            needed = needed.max(self.older + eligible * GROWTH_BLOCKS / self.row.old as f64);
        }
        if reason == Reason::GrowthUnclear {
            // Then the births seen so far lie in the earlier half, and the later half shows what followed.
            let last = self.row.births.iter().rposition(|&births| births > 0)? + 1;
            needed = needed.max(self.older + 2.0 * eligible * last as f64 / BIRTH_SLICES as f64);
        }
        let units = if needed > length { needed } else { 1.25 * length };
        Some(Duration::from_nanos((units * UNIT_NS as f64) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An age of 2^20 units, 18 minutes: it is the start of a bin.
    const OLDER: u64 = 1 << 20;

    fn window(ages: f64) -> Window {
        Window { length_units: (OLDER as f64 * ages) as u64, older_units: OLDER }
    }

    /// `count` blocks of 100 bytes, born evenly over the observation, that live for `lifetime` ages.
    fn even(count: u64, ages: f64, lifetime: f64) -> StackRow {
        let window = window(ages);
        let mut row = StackRow::default();
        for block in 0..count {
            let age = ((block as f64 + 0.5) / count as f64 * window.length_units as f64) as u64;
            row.allocate(age, (lifetime * OLDER as f64) as u64, &window);
        }
        row
    }

    fn verdict(row: &StackRow, ages: f64) -> (Verdict, Reason) {
        let judgement = judge(row, &window(ages));
        (judgement.verdict, judgement.reason)
    }

    const FOREVER: f64 = 1e3;

    #[test]
    fn an_even_leak() {
        let judgement = judge(&even(100, 4.0, FOREVER), &window(4.0));
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Leak, Reason::KeptAndGrowing));
        assert_eq!(judgement.survival.map(|survival| survival.value), Some(1.0));
        assert_eq!((judgement.hazard.frees, judgement.hazard.from_units), (0, OLDER * 3 / 4));
        assert_eq!(judgement.hazard.to_units, 4 * OLDER);
        assert_eq!(judgement.judged_after, None);
        // A block reaches three quarters of the age if born in the first 3.25 ages: 25 * 3.25^2 / 2 block-ages.
        let hours = 132.0 * OLDER as f64 * UNIT_NS as f64 / 3.6e12;
        assert!((judgement.hazard.exposure_block_hours / hours - 1.0).abs() < 0.01);
    }

    #[test]
    fn the_margin_before_a_leak_is_called() {
        assert_eq!(verdict(&even(5_000, 1.24, FOREVER), 1.24), (Verdict::Young, Reason::TooShort));
        assert_eq!(verdict(&even(5_000, 1.26, FOREVER), 1.26), (Verdict::Leak, Reason::KeptAndGrowing));
    }

    #[test]
    fn too_little_exposure_is_young_and_says_when() {
        let judgement = judge(&even(12, 4.0, FOREVER), &window(4.0));
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Young, Reason::FewBlockHours));
        // 3 per age from 3/4 on: 1.5 (T - 0.75)^2 reaches 30 at T = 5.22 ages.
        let ages = judgement.judged_after.unwrap().as_nanos() as f64 / (OLDER * UNIT_NS) as f64;
        assert!((ages - 5.22).abs() < 0.1, "{ages}");
    }

    #[test]
    fn what_was_said_is_taken_back_for_a_reason_only() {
        let again = |row: &StackRow, before| {
            let judgement = judge_again(row, &window(4.0), Some(before));
            (judgement.verdict, judgement.reason)
        };
        let mut few = even(12, 4.0, FOREVER);
        assert_eq!(verdict(&few, 4.0), (Verdict::Young, Reason::FewBlockHours));
        assert_eq!(again(&few, Verdict::Leak), (Verdict::Leak, Reason::StillKeptAndGrowing));
        assert_eq!(again(&few, Verdict::LongLived).0, Verdict::Young);
        // 3 frees in 16 block-ages: more than a leak's, though not beyond doubt.
        few.lifetimes.died[age::bin(2 * OLDER as u32)] += 3;
        assert_eq!(verdict(&few, 4.0).0, Verdict::Young);
        assert_eq!(again(&few, Verdict::Leak).0, Verdict::Young);
        assert_eq!(again(&few, Verdict::LongLived), (Verdict::LongLived, Reason::StillFreed));
    }

    #[test]
    fn short_looks_announce_the_margin() {
        let judgement = judge(&even(5_000, 0.5, FOREVER), &window(0.5));
        assert_eq!((judgement.survival, judgement.growth_bytes_per_hour), (None, None));
        assert_eq!(judgement.hazard.per_hour.high, None);
        assert_eq!(judgement.judged_after, Some(Duration::from_nanos(OLDER * UNIT_NS / 4 * 5)));
    }

    #[test]
    fn caches_and_churn() {
        assert_eq!(verdict(&even(400, 4.0, 0.5), 4.0), (Verdict::Cache, Reason::BoundedAge));
        assert_eq!(verdict(&even(400, 4.0, 1.5), 4.0), (Verdict::Cache, Reason::BoundedAge));
        assert_eq!(verdict(&even(400, 4.0, 0.01), 4.0), (Verdict::Churn, Reason::FreedSoon));
        assert_eq!(verdict(&even(400, 0.3, 0.01), 0.3), (Verdict::Churn, Reason::FreedSoon));
        assert_eq!(verdict(&even(400, 0.3, 0.2), 0.3), (Verdict::Young, Reason::TooShort));
    }

    #[test]
    fn nothing_allocated_is_young() {
        let judgement = judge(&StackRow::default(), &window(4.0));
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Young, Reason::FewBlocks));
        assert_eq!(judgement.judged_after, None);
        let nothing = Window { length_units: 0, older_units: 0 };
        assert_eq!(judge(&StackRow::default(), &nothing).verdict, Verdict::Young);
    }

    #[test]
    fn a_leak_behind_a_cache_is_found_at_a_later_age() {
        let mut row = even(2_000, 4.0, 1.5);
        let leak = even(200, 4.0, FOREVER);
        (row.allocs, row.live, row.old) = (row.allocs + 200, row.live + leak.live, row.old + leak.old);
        for bin in 0..age::BINS {
            row.lifetimes.live[bin] += leak.lifetimes.live[bin];
            row.lifetimes.live_age_units[bin] += leak.lifetimes.live_age_units[bin];
        }
        for (births, more) in row.births.iter_mut().zip(leak.births) {
            *births += more;
        }
        row.arrivals.merge(&leak.arrivals);
        let judgement = judge(&row, &window(4.0));
        assert_eq!((judgement.verdict, judgement.hazard.frees), (Verdict::Leak, 0));
        assert_eq!(judgement.hazard.from_units, 2 * OLDER);
    }
}

//! How a verdict is reached: the order of the questions, and how much evidence each of them takes.
//!
//! A leak is proved, never assumed: late releases must be rarer than once in ten ages beyond doubt, and survivors must
//! keep coming. Whatever might still turn out to be one is called young until it is decided.

mod again;

use std::time::Duration;

use profiler_common::age::{self, UNIT_NS};

use super::growers;
use super::growth::{self, Growth, HALF_OLD, growth_within};
use super::hazard::{LateAges, Suffix, exposure_factor};
use super::rows::{BIRTH_SLICES, StackRow, Weighted, Window};
use super::survival::{Curve, median_units, survival};
use super::survivors::Survivors;
use super::verdict::{Judgement, Reason, Said, Verdict};
use crate::interval::ALPHA;

/// The observation must be this many times longer than the age asked about before old items are judged.
pub const MARGIN: f64 = 1.25;
/// A leak is released less than once in this many ages: items of that age would live on that much longer.
const LIMIT_AGES: f64 = 10.0;
/// Ages from which releases are counted, in parts of the age asked about. The first decides alone; the later ones find
/// a leak behind a cache whose entries live longer than the age, and share their risk of being wrong.
const STARTS: [f64; 6] = [2.0 / 3.0, 1.0, 4.0 / 3.0, 2.0, 8.0 / 3.0, 4.0];
/// Chance of error where old items that nobody is seen to release are suspect.
const DOUBT: f64 = 0.37;
/// Chance of taking releases to be rarer at a later age than before where they are not.
const RARER_TAIL: f64 = 0.05;
/// A leak that was taken back is said again with this part of the chance of error.
const AGAIN: f64 = 0.4;
/// Of fewer drawn items nothing is said in a sampled run.
const LEAST_DRAWN: u64 = 5;
/// Temporary items live shorter than this part of the age, in the median.
const SHORT: f64 = 0.1;
/// A stack of temporary items keeps at most this share of them to the age.
const CHURN_SURVIVAL: f64 = 0.01;
/// A cache keeps at most this share of its items to the age, or to twice the age.
const CACHE_SURVIVAL: f64 = 0.05;
/// With fewer items of known fate nothing is said from survival alone.
const LEAST_ITEMS: u64 = 20;
/// So many items that nobody is seen to release might be the beginning of a leak.
const SUSPECT: u64 = 3;
/// Old items that the question of growth takes, on average.
const GROWTH_ITEMS: f64 = 12.0;

/// Judges one call stack. Pure: the same row and window give the same judgement.
pub fn judge(row: &StackRow, window: &Window) -> Judgement {
    judge_again(row, window, None)
}

/// Judges a call stack of which an earlier look at the same observation said `before`. A leak, or that it is none, is
/// taken back when something speaks against it, and not because a look falls where less is proved than before.
pub fn judge_again(row: &StackRow, window: &Window, before: Option<Said>) -> Judgement {
    judge_within(row, window, before, ALPHA)
}

/// Judges with another chance than [`ALPHA`] of proving a leak that is none: one of many candidates has a part of it.
pub(super) fn judge_within(row: &StackRow, window: &Window, before: Option<Said>, alpha: f64) -> Judgement {
    let window = &row.window(window);
    let case = Case::new(row, window, before, alpha);
    let (verdict, reason) = case.decide_again();
    let (late, error, survivors) = case.evidence(reason);
    let kept = survivors.filter(|kept| !kept.are_all());
    Judgement {
        verdict,
        reason,
        survival: if window.length_units > window.older_units {
            survival(&row.lifetimes, window.older_units)
        } else {
            None
        },
        hazard: late.hazard(error, window.length_units, row.weighted.is_some()),
        growth: case.growth,
        growth_bytes_per_hour: match kept {
            Some(kept) => Some(kept.bytes_per_hour()),
            None => growth::bytes_per_hour(row, window),
        },
        kept: kept.map(|kept| kept.kept(case.ages.from(case.older).releases.saturating_sub(late.releases))),
        judged_after: if verdict == Verdict::Young && !row.has_ended() {
            case.judged_after(reason)
        } else {
            None
        },
    }
}

/// One stack under judgement, with what several questions need.
struct Case<'a> {
    /// What earlier looks said.
    before: Option<Said>,
    /// Whether the last of these was a leak.
    was_leak: bool,
    row: &'a StackRow,
    window: &'a Window,
    ages: LateAges,
    /// The age asked about, in age units.
    older: f64,
    /// The hazard, per unit, below which an item is as good as never released.
    limit: f64,
    /// Releases from two thirds of the age on.
    late: Suffix,
    /// The same without the time of what was loaded at once.
    own: Suffix,
    /// The first ages whose hazard is proved to be below the limit, of those whose items grow if there are any.
    proof: Option<Proof<'a>>,
    /// The first ages whose items might be a leak, though those before are released.
    tail: Option<Suffix>,
    growth: Growth,
    /// The median lifetime, if half of the items were seen to be released.
    median_units: Option<f64>,
}

/// Ages from which on items are proved to be kept.
struct Proof<'a> {
    suffix: Suffix,
    /// The error allowed there.
    alpha: f64,
    survivors: Option<Survivors<'a>>,
    /// True if ever more items come that stay for so long.
    grows: bool,
}

impl<'a> Case<'a> {
    fn new(row: &'a StackRow, window: &'a Window, before: Option<Said>, alpha: f64) -> Case<'a> {
        let was_leak = before.is_some_and(|before| before.verdict == Verdict::Leak);
        let again = before.is_some_and(|before| before.took_back(Verdict::Leak));
        let alpha = if again && !was_leak { alpha * AGAIN } else { alpha };
        let older = window.older_units.max(1) as f64;
        let ages = LateAges::new(&row.lifetimes);
        let late = ages.from(STARTS[0] * older);
        let lent = Survivors::beyond(row, window, late.from_units)
            .map_or(0.0, |survivors| survivors.lent_units(late.from_units));
        let mut case = Case {
            before,
            was_leak,
            row,
            window,
            older,
            limit: 1.0 / (LIMIT_AGES * older),
            late,
            own: late.without(lent),
            ages,
            proof: None,
            tail: None,
            growth: growth_within(row, window, was_leak, alpha),
            median_units: median_units(&row.lifetimes),
        };
        case.proof = case.prove(alpha);
        case.tail = case.doubted();
        case
    }

    /// What the verdict rests on: the ages from which releases count, the error allowed there, and the items that are kept.
    fn evidence(&self, reason: Reason) -> (Suffix, f64, Option<Survivors<'a>>) {
        let usual = (self.late, ALPHA, None);
        match reason {
            Reason::KeptAndGrowing => {
                self.proof.as_ref().map_or(usual, |proof| (proof.suffix, proof.alpha, proof.survivors))
            }
            Reason::StillKeptAndGrowing => {
                self.seem_kept().map_or(usual, |(suffix, survivors)| (suffix, ALPHA, survivors))
            }
            _ => usual,
        }
    }

    /// The first of the starts from which on items are kept, and ever more of them.
    fn prove(&self, alpha: f64) -> Option<Proof<'a>> {
        let mut first = None;
        for (place, start) in STARTS.iter().enumerate() {
            let suffix = self.ages.from(start * self.older);
            let error = if place == 0 { alpha } else { alpha / STARTS.len() as f64 };
            let survivors = self.survivors(&suffix);
            if !self.kept_from(&suffix, survivors.as_ref(), |own| own.below(self.limit, error)) {
                continue;
            }
            let grows = self.growth == Growth::Continues
                && survivors
                    .is_some_and(|survivors| survivors.are_all() || survivors.grow(self.was_leak, alpha));
            let proof = Proof { suffix, alpha: error, survivors, grows };
            if grows {
                return Some(proof);
            }
            first = first.or(Some(proof));
        }
        let endless =
            self.growth == Growth::Continues && growers::grow_for_ever(self.row, &self.ages, self.older);
        let whole = |suffix| Proof { suffix, alpha, survivors: None, grows: true };
        endless.then(|| whole(self.late)).or(first)
    }

    /// The items that have outlived what is released: of younger ones than `suffix` too, where no more of these are released. The
    /// longer the time in which they could be born, the more is known of how they grow.
    fn survivors(&self, suffix: &Suffix) -> Option<Survivors<'a>> {
        Survivors::beyond(self.row, self.window, self.ages.quiet_from(suffix))
    }

    /// Whether items of that age are released so rarely, by their time without what was loaded at once, and no later age is
    /// against it.
    fn kept_from(
        &self,
        suffix: &Suffix,
        survivors: Option<&Survivors<'_>>,
        rare: impl Fn(&Suffix) -> bool,
    ) -> bool {
        let lent = |units: u64| survivors.map_or(0.0, |survivors| survivors.lent_units(units));
        rare(&suffix.without(lent(suffix.from_units))) && !self.ages.rises(suffix, self.limit, lent)
    }

    /// The first age from which on items may be kept, and may grow, though younger ones are released.
    fn doubted(&self) -> Option<Suffix> {
        if self.growth == Growth::Stopped {
            return None;
        }
        if let Some(outlived) = self.outlived() {
            return Some(outlived);
        }
        self.ages.since(self.older).find_map(|suffix| {
            let survivors = self.survivors(&suffix)?;
            let doubted =
                |own: &Suffix| own.below(self.limit, DOUBT) && own.rarer_than(&self.late, RARER_TAIL);
            let come = survivors.late() >= SUSPECT && !survivors.have_ended(self.was_leak);
            let doubted = come && self.kept_from(&suffix, Some(&survivors), doubted);
            doubted.then(|| suffix.without(survivors.lent_units(suffix.from_units)))
        })
    }

    fn decide(&self) -> (Verdict, Reason) {
        if (self.window.length_units as f64) < MARGIN * self.older {
            return if self.seems_in_flight() {
                (Verdict::Churn, Reason::ReleasedSoon)
            } else {
                (Verdict::Young, Reason::TooShort)
            };
        }
        if self.is_thin(self.row.acquired) {
            return (Verdict::Young, Reason::FewItems);
        }
        // Where nothing is as old as was asked about, nothing can be said of what is, however much there is that is younger.
        if self.row.old > 0 && self.proof.as_ref().is_some_and(|proof| proof.grows) {
            return (Verdict::Leak, Reason::KeptAndGrowing);
        }
        if self.suspect() {
            return match self.proof {
                Some(_) => (Verdict::Young, Reason::GrowthUnclear),
                None => (Verdict::Young, Reason::FewItemHours),
            };
        }
        if self.tail.is_some() {
            return (Verdict::Young, Reason::SomeStay);
        }
        if self.is_inherited() {
            return (Verdict::Young, Reason::Inherited);
        }
        if let Some(verdict) = self.bounded() {
            return verdict;
        }
        if self.still_released() && !self.is_thin(self.late.items) {
            (Verdict::LongLived, Reason::StillReleased)
        } else if self.row.old > 0 && self.growth == Growth::Stopped && !self.is_thin(self.row.old) {
            (Verdict::LongLived, Reason::StoppedGrowing)
        } else {
            (Verdict::Young, Reason::FewItems)
        }
    }

    /// True if it is not known how long bytes are held, since the items were made of others: of those from before, or, in
    /// a sampled run, of any.
    fn is_inherited(&self) -> bool {
        let held = |drawn: &Weighted| 2.0 * self.row.inherited_bytes >= drawn.live_bytes.0;
        match &self.row.weighted {
            Some(drawn) => self.row.inherited_bytes > 0.0 && held(drawn),
            None => growers::go_on_from_before(self.row),
        }
    }

    /// True if so few items were drawn in a sampled run that they say nothing of those that they stand for.
    fn is_thin(&self, drawn: u64) -> bool {
        self.row.weighted.is_some() && drawn < LEAST_DRAWN
    }

    /// True if there are items that may be the beginning of a leak: old ones that nobody is seen to release, or half-old
    /// ones if not even these are released.
    fn suspect(&self) -> bool {
        let half_old = self.ages.from(HALF_OLD * self.older);
        let held = if half_old.releases == 0 { half_old.items } else { self.row.old };
        held >= SUSPECT && !self.still_released() && self.growth != Growth::Stopped
    }

    /// True if late items are certainly, or after enough exposure probably, released more often than a leak's.
    fn still_released(&self) -> bool {
        let enough = self.own.exposure_units * self.limit >= -ALPHA.ln();
        self.own.above(self.limit, ALPHA / 2.0)
            || (enough && self.own.per_unit().is_some_and(|hazard| hazard >= self.limit))
    }

    /// A verdict for stacks whose items do not get old.
    fn bounded(&self) -> Option<(Verdict, Reason)> {
        let to_age = self.survival_at_most(self.older);
        let watched_twice = self.watched_twice();
        let none_left = self.row.live == 0 && self.row.acquired > 0;
        let none_old = self.row.old == 0
            && self.known_fates(self.older) >= LEAST_ITEMS
            && Curve::to(&self.row.lifetimes, self.window.older_units).survival() <= 2.0 * CACHE_SURVIVAL;
        let few_die_late = none_left
            || none_old
            || to_age <= CACHE_SURVIVAL
            || (watched_twice && self.survival_at_most(2.0 * self.older) <= CACHE_SURVIVAL);
        if !few_die_late {
            None
        } else if !self.is_short() {
            Some((Verdict::Cache, Reason::BoundedAge))
        } else if to_age <= CHURN_SURVIVAL || self.row.old == 0 {
            Some((Verdict::Churn, Reason::ReleasedSoon))
        } else {
            None
        }
    }

    /// Whether items could be watched for twice the age asked about.
    fn watched_twice(&self) -> bool {
        self.window.length_units as f64 >= 2.0 * MARGIN * self.older
    }

    /// Upper limit of the share of items that live to `units`. Where no item was watched that long, the oldest
    /// ones are taken to go on being released as they are: all entries of a cache expire before the age asked about.
    fn survival_at_most(&self, units: f64) -> f64 {
        let curve = Curve::to(&self.row.lifetimes, units as u64);
        let Some(oldest) = self.ages.oldest().filter(|_| !curve.reached) else { return curve.high() };
        let remaining = (units - oldest.end_units()).max(0.0);
        curve.high() * (-oldest.at_least_per_unit(ALPHA / 2.0) * remaining).exp()
    }

    /// True if the items still live are just those in use at this moment: their age is far from the one asked
    /// about, and so were the lifetimes of all others. This needs no long observation.
    fn only_in_flight(&self) -> bool {
        let brief = SHORT * self.older;
        let watched =
            self.window.length_units as f64 >= 2.0 * brief && self.known_fates(brief) >= LEAST_ITEMS;
        self.is_short() && (self.row.live == 0 || (watched && self.held() == 0))
    }

    /// True if the median lifetime is short against the age.
    fn is_short(&self) -> bool {
        self.median_units.is_some_and(|median| median < SHORT * self.older)
    }

    /// Live items that are older than those in use at this moment.
    fn held(&self) -> u64 {
        let bins = (0..age::BINS).filter(|&bin| age::start(bin) as f64 >= SHORT * self.older);
        bins.map(|bin| self.row.lifetimes.live[bin]).sum()
    }

    /// Items of which it is known whether they lived to `units`.
    fn known_fates(&self, units: f64) -> u64 {
        let reached = |bin: &usize| age::start(*bin) as f64 >= units;
        let died: u64 = self.row.lifetimes.died.iter().sum();
        died + (0..age::BINS).filter(reached).map(|bin| self.row.lifetimes.live[bin]).sum::<u64>()
    }

    /// When the missing evidence will have come together, at the present rates.
    fn judged_after(&self, reason: Reason) -> Option<Duration> {
        let late = self.tail.as_ref().filter(|_| reason == Reason::SomeStay).unwrap_or(&self.late);
        let (length, from) = (self.window.length_units as f64, late.from_units as f64);
        let eligible = length - self.older;
        let mut needed = MARGIN * self.older;
        // Of a stack that acquires steadily, the time at risk grows with the square of the time beyond `from`.
        if late.exposure_units > 0.0 {
            let factor = exposure_factor(late, self.limit)?;
            needed = needed.max(from + (length - from) * factor.sqrt());
        } else if self.row.live > 0 {
            let rate = self.row.live as f64 / length;
            let exposure = -ALPHA.ln() / self.limit;
            needed = needed.max(from + (2.0 * exposure / rate).sqrt());
        } else if length >= needed {
            return None;
        }
        if let Some(after) = growers::judged_after(self.row, &self.ages, self.older, length) {
            needed = needed.min(after);
        }
        if self.row.old > 0 && eligible > 0.0 {
            needed = needed.max(self.older + eligible * GROWTH_ITEMS / self.row.old as f64);
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
mod tests;

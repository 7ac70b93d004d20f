//! What is said at a look when an earlier one has said something: that stays until something speaks against it, and not
//! because a look falls where less is proved than before.

use super::super::growth::{self, Growth, PROBABLY};
use super::super::hazard::Suffix;
use super::super::survival::Curve;
use super::super::survivors::Survivors;
use super::super::verdict::{Reason, Verdict};
use super::{CACHE_SURVIVAL, Case, DOUBT, MARGIN, SHORT, STARTS, SUSPECT};

/// Chance of error where old items that nobody is seen to release speak against what was said.
const DOUBT_AGAIN: f64 = 0.1;
/// A median lifetime speaks against temporary items, or for them, beyond the line by this factor.
const MEDIAN_FACTOR: f64 = 2.0;

impl<'a> Case<'a> {
    /// The verdict, with what was said before.
    pub(super) fn decide_again(&self) -> (Verdict, Reason) {
        let decided = self.decide();
        match (decided, self.before) {
            ((_, Reason::TooShort | Reason::Inherited), _) | (_, None) => decided,
            ((Verdict::Young, _), Some(before)) => self.still(before.verdict).unwrap_or(decided),
            ((Verdict::Leak, _), _) => decided,
            ((now, _), Some(before)) => self.still_the_same(before.verdict, now).unwrap_or(decided),
        }
    }

    /// Of a leak that was proved before: the first of the starts from which on items seem to be kept, and grow, and these
    /// items.
    pub(super) fn seem_kept(&self) -> Option<(Suffix, Option<Survivors<'a>>)> {
        STARTS.iter().find_map(|start| {
            let suffix = self.ages.from(start * self.older);
            let survivors = self.survivors(&suffix);
            let lent = |units: u64| survivors.map_or(0.0, |all| all.lent_at_once_units(units));
            let own = suffix.without(lent(suffix.from_units));
            let kept = own.per_unit().is_some_and(|hazard| hazard < self.limit)
                && !self.ages.rises(&suffix, self.limit, lent)
                && survivors.is_none_or(|survivors| {
                    // Beyond all releases there is always an age from which on none is seen.
                    let known = || own.below(self.limit, DOUBT);
                    survivors.are_all() || (known() && survivors.may_grow())
                });
            kept.then_some((suffix, survivors))
        })
    }

    /// What was said before, where nothing speaks against it: neither the estimates of how often old items are released, nor
    /// what growth probably does.
    fn still(&self, before: Verdict) -> Option<(Verdict, Reason)> {
        match before {
            Verdict::Leak => {
                let grows = self.growth != Growth::Stopped && !growth::slackens(self.row, self.window);
                (grows && self.seem_kept().is_some()).then_some((Verdict::Leak, Reason::StillKeptAndGrowing))
            }
            Verdict::Young => None,
            Verdict::LongLived | Verdict::Cache | Verdict::Churn => {
                (!self.is_suspected()).then_some((before, Reason::StillNone))
            }
        }
    }

    /// True if items are probably kept that are more than what was there at once, and more keep coming.
    fn is_suspected(&self) -> bool {
        self.growth != Growth::Stopped
            && STARTS.iter().any(|start| {
                let suffix = self.ages.from(start * self.older);
                self.survivors(&suffix).is_some_and(|survivors| {
                    let rare = |own: &Suffix| own.below(self.limit, DOUBT_AGAIN);
                    survivors.grow(false, PROBABLY) && self.kept_from(&suffix, Some(&survivors), rare)
                })
            })
    }

    /// A verdict other than LEAK is kept unless another clearly fits better.
    fn still_the_same(&self, before: Verdict, now: Verdict) -> Option<(Verdict, Reason)> {
        let line = SHORT * self.older;
        let stays = match (before, now) {
            (Verdict::Cache | Verdict::Churn, Verdict::LongLived) => !self.certainly_gets_old(),
            (Verdict::Cache, Verdict::Churn) => {
                self.median_units.is_none_or(|median| median >= line / MEDIAN_FACTOR)
            }
            (Verdict::Churn, Verdict::Cache) => {
                self.median_units.is_some_and(|median| median < line * MEDIAN_FACTOR)
            }
            _ => false,
        };
        stays.then_some((before, Reason::StillNone))
    }

    /// True if certainly more items than a cache's live to the age, and to twice the age.
    fn certainly_gets_old(&self) -> bool {
        let more = |units: f64| {
            let curve = Curve::to(&self.row.lifetimes, units as u64);
            curve.reached && curve.low() > CACHE_SURVIVAL
        };
        more(self.older) && self.watched_twice() && more(2.0 * self.older)
    }

    /// What is in use for a moment, at a look that is too early for anything else. Once there was more than that, it has to
    /// wait until all is known.
    pub(super) fn seems_in_flight(&self) -> bool {
        match self.before {
            Some(before) if before.verdict == Verdict::Churn => self.held() < SUSPECT,
            Some(before) if before.took_back(Verdict::Churn) => false,
            _ => self.only_in_flight(),
        }
    }

    /// After a leak was taken back since items are released after all: those that have outlived all that were, or that could
    /// not be watched yet for longer than the first. A cache may hide a leak, and does not while it is new.
    pub(super) fn outlived(&self) -> Option<Suffix> {
        self.before.filter(|before| before.verdict == Verdict::Leak || before.took_back(Verdict::Leak))?;
        let first = self.ages.first_release(&self.late)?;
        let outlived = self.ages.beyond_releases();
        let new = (self.window.length_units as f64) < MARGIN * first.end_units();
        (new || outlived.items >= SUSPECT).then_some(outlived)
    }
}

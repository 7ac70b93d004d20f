//! The verdict on one call stack: does it leak, keep what lives long, cache, churn, or is it too early to say?

use std::time::Duration;

use super::growth::Growth;
use super::hazard::LateHazard;
use super::survivors::Kept;
use crate::estimate::Estimate;

/// What a call stack does with what it acquires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Items that got old are not released any more, and ever more of them come.
    Leak,
    /// Items get old, but are still released then, or no more of them come.
    LongLived,
    /// Items live for a while, and hardly one beyond a bounded age.
    Cache,
    /// Items are released soon.
    Churn,
    /// Too early, or too few items, to say.
    Young,
}

impl Verdict {
    /// The word used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Leak => "LEAK",
            Verdict::LongLived => "LONG-LIVED",
            Verdict::Cache => "CACHE",
            Verdict::Churn => "CHURN",
            Verdict::Young => "YOUNG",
        }
    }
}

/// What the looks at one observation have said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The verdict of the last look.
    pub verdict: Verdict,
    /// A bit for each verdict that an earlier look gave and a later one took back.
    taken_back: u8,
}

impl Said {
    /// By the first look.
    pub fn first(verdict: Verdict) -> Said {
        Said { verdict, taken_back: 0 }
    }

    /// By all looks up to one more, after those that said `before`.
    pub fn after(before: Option<Said>, verdict: Verdict) -> Said {
        let Some(before) = before else { return Said::first(verdict) };
        let taken_back = if before.verdict == verdict { 0 } else { 1 << before.verdict as u8 };
        Said { verdict, taken_back: before.taken_back | taken_back }
    }

    /// Whether a look gave this verdict and a later one took it back.
    pub fn took_back(&self, verdict: Verdict) -> bool {
        self.taken_back & (1 << verdict as u8) != 0
    }
}

/// Why a verdict was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Leak: late releases are as good as absent, and the survivors keep growing.
    KeptAndGrowing,
    /// Leak: an earlier look at the same observation proved it, and nothing since speaks against it.
    StillKeptAndGrowing,
    /// Long-lived, cache or churn: an earlier look saw it, and nothing since speaks against it.
    StillNone,
    /// Long-lived: items of late age are still being released.
    StillReleased,
    /// Long-lived: nothing is released, but the survivors have stopped growing.
    StoppedGrowing,
    /// Cache: hardly an item outlives the age asked about, or twice that age.
    BoundedAge,
    /// Churn: released soon after acquisition.
    ReleasedSoon,
    /// Young: the observation is not yet 1.25 times as long as the age asked about.
    TooShort,
    /// Young: too few items have got so old, or died before.
    FewItems,
    /// Young: old items were not watched for long enough to tell whether they are still released.
    FewItemHours,
    /// Young: the items were made of others, of which it is not known when their bytes came.
    Inherited,
    /// Young: most old items are released, but some that are older still are not.
    SomeStay,
    /// Young: nothing is released, but whether the growth goes on cannot be seen yet.
    GrowthUnclear,
}

/// A verdict with the figures it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What the stack does.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Share of items that live to the age asked about; missing if no item was watched for that long.
    pub survival: Option<Estimate>,
    /// How often old items are released. Of a leak, over the ages that prove it.
    pub hazard: LateHazard,
    /// Whether items that get old go on coming.
    pub growth: Growth,
    /// Bytes by which the items older than the age asked about grow per hour; missing if the observation is not
    /// longer than that age.
    pub growth_bytes_per_hour: Option<Estimate>,
    /// Of a leak: the items that prove it, where they are not all that are older than the age asked about, but only those
    /// that have outlived what is released at a later age.
    pub kept: Option<Kept>,
    /// Of a young stack: the total length of the observation at which a verdict becomes possible if it goes on as
    /// it did; missing if that cannot be told, if its process has ended, and for every other verdict.
    pub judged_after: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_is_remembered() {
        let said = [Verdict::Young, Verdict::Leak, Verdict::Leak, Verdict::Young, Verdict::Cache];
        let after = |count: usize| {
            said[..count].iter().fold(None, |before, verdict| Some(Said::after(before, *verdict))).unwrap()
        };
        assert!(!after(3).took_back(Verdict::Leak) && after(3).took_back(Verdict::Young));
        assert!(after(4).took_back(Verdict::Leak) && after(5).took_back(Verdict::Leak));
        assert_eq!(after(5).verdict, Verdict::Cache);
        assert!(!after(5).took_back(Verdict::Cache));
    }
}

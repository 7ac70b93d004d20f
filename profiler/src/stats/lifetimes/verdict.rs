//! The verdict on one call stack: does it leak, keep what lives long, cache, churn, or is it too early to say?

use std::time::Duration;

use super::growth::Growth;
use super::hazard::LateHazard;
use super::survivors::Kept;
use crate::stats::estimate::Estimate;

/// What a call stack does with its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Blocks that got old are not freed any more, and ever more of them come.
    Leak,
    /// Blocks get old, but are still freed then, or no more of them come.
    LongLived,
    /// Blocks live for a while, and hardly one beyond a bounded age.
    Cache,
    /// Blocks are freed soon.
    Churn,
    /// Too early, or too few blocks, to say.
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
    /// Leak: late frees are as good as absent, and the survivors keep growing.
    KeptAndGrowing,
    /// Leak: an earlier look at the same observation proved it, and nothing since speaks against it.
    StillKeptAndGrowing,
    /// Long-lived, cache or churn: an earlier look saw it, and nothing since speaks against it.
    StillNone,
    /// Long-lived: blocks of late age are still being freed.
    StillFreed,
    /// Long-lived: nothing is freed, but the survivors have stopped growing.
    StoppedGrowing,
    /// Cache: hardly a block outlives the age asked about, or twice that age.
    BoundedAge,
    /// Churn: freed soon after allocation.
    FreedSoon,
    /// Young: the observation is not yet 1.25 times as long as the age asked about.
    TooShort,
    /// Young: too few blocks have got so old, or died before.
    FewBlocks,
    /// Young: old blocks were not watched for long enough to tell whether they are still freed.
    FewBlockHours,
    /// Young: realloc made the blocks of others, of which it is not known when their bytes came.
    Reallocated,
    /// Young: most old blocks are freed, but some that are older still are not.
    SomeStay,
    /// Young: nothing is freed, but whether the growth goes on cannot be seen yet.
    GrowthUnclear,
}

impl Reason {
    /// A short sentence, without a final stop.
    pub fn text(self) -> &'static str {
        match self {
            Reason::KeptAndGrowing => "blocks this old are no longer freed, and more keep coming",
            Reason::StillKeptAndGrowing => "it was seen to leak, and nothing since speaks against it",
            Reason::StillNone => "it was seen not to leak, and nothing since speaks against it",
            Reason::StillFreed => "blocks this old are still being freed",
            Reason::StoppedGrowing => "blocks this old stay, but no more of them come",
            Reason::BoundedAge => "blocks live for a while, but hardly one gets really old",
            Reason::FreedSoon => "blocks are freed soon after they are allocated",
            Reason::TooShort => "observed for less than 1.25 times the age asked about",
            Reason::FewBlocks => "too few blocks to say how long they live",
            Reason::Reallocated => "realloc made the blocks, and how long their memory is held is not known",
            Reason::FewBlockHours => {
                "old blocks were not watched for long enough to see whether they are freed"
            }
            Reason::SomeStay => "most blocks this old are freed, but the oldest ones are not",
            Reason::GrowthUnclear => {
                "nothing this old is freed, but whether more keeps coming is not clear yet"
            }
        }
    }
}

/// A verdict with the figures it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What the stack does.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Share of blocks that live to the age asked about; missing if no block was watched for that long.
    pub survival: Option<Estimate>,
    /// How often old blocks are freed. Of a leak, over the ages that prove it.
    pub hazard: LateHazard,
    /// Whether blocks that get old go on coming.
    pub growth: Growth,
    /// Bytes by which the blocks older than the age asked about grow per hour; missing if the observation is not
    /// longer than that age.
    pub growth_bytes_per_hour: Option<Estimate>,
    /// Of a leak: the blocks that prove it, where they are not all that are older than the age asked about, but only those
    /// that have outlived what is freed at a later age.
    pub kept: Option<Kept>,
    /// Of a young stack: the total length of the observation at which a verdict becomes possible if it goes on as
    /// it did; missing if that cannot be told, if its process has ended, and for every other verdict.
    pub judged_after: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_reasons_are_fit_to_print() {
        assert_eq!(Verdict::LongLived.name(), "LONG-LIVED");
        for reason in [Reason::KeptAndGrowing, Reason::GrowthUnclear, Reason::FewBlockHours, Reason::SomeStay]
        {
            assert!(reason.text().len() <= 80 && !reason.text().ends_with('.'));
        }
    }

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

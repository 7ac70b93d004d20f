//! Why a verdict was given, in the words of memory.

use crate::stats::lifetimes::verdict::Reason;

/// A short sentence, without a final stop.
pub(super) fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::KeptAndGrowing => "blocks this old are no longer freed, and more keep coming",
        Reason::StillKeptAndGrowing => "it was seen to leak, and nothing since speaks against it",
        Reason::StillNone => "it was seen not to leak, and nothing since speaks against it",
        Reason::StillReleased => "blocks this old are still being freed",
        Reason::StoppedGrowing => "blocks this old stay, but no more of them come",
        Reason::BoundedAge => "blocks live for a while, but hardly one gets really old",
        Reason::ReleasedSoon => "blocks are freed soon after they are allocated",
        Reason::TooShort => "observed for less than 1.25 times the age asked about",
        Reason::FewItems => "too few blocks to say how long they live",
        Reason::Inherited => "realloc made the blocks, and how long their memory is held is not known",
        Reason::FewItemHours => "old blocks were not watched for long enough to see whether they are freed",
        Reason::SomeStay => "most blocks this old are freed, but the oldest ones are not",
        Reason::GrowthUnclear => "nothing this old is freed, but whether more keeps coming is not clear yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_fit_to_print() {
        for reason in [Reason::KeptAndGrowing, Reason::GrowthUnclear, Reason::FewItemHours, Reason::SomeStay]
        {
            assert!(why(reason).len() <= 80 && !why(reason).ends_with('.'));
        }
    }
}

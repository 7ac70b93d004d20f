//! The ledger of a tool, as it stands in the report.

use profiler_common::ledger::{Class, Entry, Ledger as Counters};

use super::Part;
use crate::report::{Ledger, Outcome, OutcomeClass};

/// The remark on quality that counts events at which a program was not run, because the processor was running it already.
const MISSED: &str = "program_was_running";

impl Part {
    /// Adds what a tool has counted, by its counters `C`: hits, their outcomes by probe, and remarks on quality.
    pub(crate) fn account<C: Counters>(&mut self, counts: &[u64]) {
        let counted = || C::ENTRIES.iter().zip(counts.iter().copied());
        let of = |class: Class| counted().filter(move |(entry, _)| entry.class == class);
        let ledger = |(hits, count): (&Entry, u64)| {
            let outcomes = counted().filter(|(entry, _)| entry.probe == hits.probe).filter_map(outcome);
            Ledger::new(hits.probe, count, outcomes.collect())
        };
        self.ledger.extend(of(Class::Hits).map(ledger));
        self.hits += of(Class::Hits).map(|(_, count)| count).sum::<u64>();
        let quality = of(Class::Quality).filter(|(_, count)| *count > 0);
        self.quality.extend(quality.map(|(entry, count)| (entry.name.to_owned(), count)));
    }

    /// Adds events at which programs were not run, see [`Tracepoints::missed`](crate::capture::tracepoints::Tracepoints::missed).
    pub(crate) fn account_missed(&mut self, missed: u64) {
        if missed > 0 {
            *self.quality.entry(MISSED.to_owned()).or_default() += missed;
        }
    }
}

fn outcome((entry, count): (&Entry, u64)) -> Option<Outcome> {
    let class = match entry.class {
        Class::Hits | Class::Quality => return None,
        Class::Recorded => OutcomeClass::Recorded,
        Class::Filtered => OutcomeClass::Filtered,
        Class::SampledOut => OutcomeClass::SampledOut,
        Class::Lost => OutcomeClass::Lost,
    };
    Some(Outcome { name: entry.name.to_owned(), class, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    profiler_common::counters! {
        probes {
            /// The first.
            First = "first",
            /// The second.
            Second = "second",
        }
        /// Its hits.
        FirstHits = "hits" in First as Hits,
        /// Recorded.
        FirstRecorded = "recorded" in First as Recorded,
        /// The others.
        SecondHits = "hits" in Second as Hits,
        /// Lost.
        SecondLost = "lost" in Second as Lost,
        /// A remark.
        Odd = "odd" in Second as Quality,
        /// A remark that never applied.
        Never = "never" in Second as Quality,
    }

    #[test]
    fn each_probe_has_its_hits_and_its_outcomes() {
        let mut part = Part::default();
        part.account::<Counter>(&[7, 5, 3, 3, 2, 0]);
        let ledger = |at: usize| {
            let of: &Ledger = &part.ledger[at];
            (of.probe.as_str(), of.hits, of.outcomes.len(), of.unaccounted)
        };
        assert_eq!((part.ledger.len(), ledger(0), ledger(1)), (2, ("first", 7, 1, 2), ("second", 3, 1, 0)));
        assert_eq!((part.hits, part.quality.len(), part.quality["odd"]), (10, 1, 2));
        [0, 3, 4].into_iter().for_each(|missed| part.account_missed(missed));
        assert_eq!((part.hits, part.quality.len(), part.quality[MISSED]), (10, 2, 7));
    }
}

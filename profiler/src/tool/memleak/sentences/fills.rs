//! The doubt whether what is called a leak is only filling up.

use std::{collections::BTreeSet, time::Duration};

use super::{Facts, Leak};
use crate::{observe::processes::is_filling, units};

/// A leak that was called one after fewer ages than this has so little evidence that the answer itself says so.
const FEW_AGES: u32 = 2;

/// The words in the answer if all its leaks were observed only briefly, in processes that have just started.
pub(super) fn still_fills(leaks: &[Leak<'_>], facts: &Facts<'_>) -> Option<String> {
    let ages = leaks.iter().map(|leak| {
        let process = facts.processes.iter().find(|process| process.pid == leak.program.0)?;
        let is_brief = leak.lasted < facts.older * FEW_AGES;
        process.age.filter(|age| is_brief && is_filling(*age, facts.older))
    });
    let oldest = ages.collect::<Option<Vec<Duration>>>()?.into_iter().max()?;
    let pids: BTreeSet<u32> = leaks.iter().map(|leak| leak.program.0).collect();
    let who = if pids.len() == 1 {
        "the program is still filling up: it"
    } else {
        "they are still filling up: the oldest"
    };
    Some(format!(" (or {who} started {} ago)", units::duration(oldest)))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{said, said_of, seen_for, site},
        *,
    };
    use crate::{observe::processes::Process, stats::lifetimes::verdict::Reason, text::Text};

    /// Processes 7 and up, that have run for these numbers of seconds.
    fn aged(ages: &[u64]) -> Vec<Process> {
        let process = |(pid, age): (u32, &u64)| Process {
            pid,
            name: Text::from("pong"),
            age: Some(Duration::from_secs(*age)),
        };
        (7..).zip(ages).map(process).collect()
    }

    /// The doubt is part of the claim.
    #[test]
    fn a_leak_that_was_seen_briefly_in_a_young_process_may_still_fill() {
        let sites = [site(Reason::KeptAndGrowing, 11.0, 42, 2), site(Reason::KeptAndGrowing, 2.0, 4, 1)];
        let of = |older_s: u64, ages: &[u64]| {
            said_of(&[(7, 0), (8, 1)], &sites, &["push", "load"], |facts| {
                facts.older = Duration::from_secs(older_s);
                facts.processes = Box::leak(aged(ages).into_boxed_slice());
            })
            .text
        };
        let doubt = " (or they are still filling up: the oldest started 13s ago). They have freed none";
        assert!(of(6, &[12, 13]).contains(doubt), "{}", of(6, &[12, 13]));
        // Observed for ten seconds, which are two ages of 5.
        assert!(!of(5, &[12, 13]).contains("filling") && !of(6, &[12, 24]).contains("filling"));
        let one = seen_for(site(Reason::KeptAndGrowing, 11.0, 42, 2), 3_520, true);
        assert!(!said(&[one], &["push"], |_| {}).text.contains("filling"), "of an age that is not known");
    }

    #[test]
    fn of_several_processes_it_is_said_which() {
        let leaks = [3.0, 2.0, 1.0].map(|mib| site(Reason::KeptAndGrowing, mib, 8, 1));
        let of = |pids: [u32; 3], names: &[&str; 3]| {
            let programs = pids.map(|pid| (pid, pid as u16));
            let several = |facts: &mut Facts<'_>| facts.processes = Box::leak(aged(&[90, 90]).into());
            said_of(&programs, &leaks, names, several).text
        };
        let text = of([7, 7, 8], &["push", "load", "poll"]);
        let expected = "LEAK: push in pong (pid 7) grows by ~3.0 MiB/h, load by ~2.0 MiB/h and poll in pong (pid 8) by \
                        ~1.0 MiB/h. They";
        assert!(text.starts_with(expected), "{text}");
        let text = of([7, 8, 8], &["push", "push", "poll"]);
        let expected =
            "LEAK: push in 2 processes grows by ~5.0 MiB/h and poll in pong (pid 8) by ~1.0 MiB/h. They";
        assert!(text.starts_with(expected), "{text}");
        let open = [site(Reason::GrowthUnclear, 0.0, 8, 1)];
        let several = |facts: &mut Facts<'_>| facts.processes = Box::leak(aged(&[90, 90]).into());
        let text = said_of(&[(8, 1)], &open, &["push"], several).text;
        assert!(text.starts_with("Undecided: push in pong (pid 8) holds 8.0 KiB older than 2s"), "{text}");
        let clean = [site(Reason::ReleasedSoon, 0.0, 0, 1)];
        let text = said_of(&[(8, 1)], &clean, &["push"], several).text;
        assert_eq!(text, "No leak found: 417 call stacks of 2 processes looked at for 10s, age 2s.");
    }
}

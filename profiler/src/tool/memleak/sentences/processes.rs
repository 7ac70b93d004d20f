//! Whose memory it is, where several processes are observed, and which of them have not run for long.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use super::{Facts, Leak, plain};
use crate::{
    observe::space::Space,
    report::{Finding, Phrase, Severity},
    text::Text,
    tool::memleak::{rules, session::Session},
    units,
};

/// A process younger than this many ages may still fill what it fills once.
const FILLING_AGES: u32 = 4;
/// What is called a leak after fewer ages than this rests on so little that the answer itself says so.
const FEW_AGES: u32 = 2;

/// A process that is observed.
#[derive(Clone, Debug)]
pub(in super::super) struct Process {
    pub(in super::super) pid: u32,
    /// That of the last program that it was.
    pub(in super::super) name: Text,
    /// How long it had run when the observation of it was over; `None` if that is not known.
    pub(in super::super) age: Option<Duration>,
}

/// Once each, whatever programs it was.
pub(in super::super) fn processes(session: Session<'_>) -> Vec<Process> {
    let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(session.on.started_unix_ns);
    let is_last = |space: &&Space| {
        let mut later = session.on.spaces.iter().filter(|other| other.number > space.number);
        !later.any(|other| other.process.pid() == space.process.pid())
    };
    let process = |space: &Space| {
        let lasted = session.lasted(space);
        // A command began with the observation, and what a process became by exec with that.
        let age = if session.on.command().is_some() || space.seen.since_ns.is_some() {
            Some(lasted)
        } else {
            (began + lasted).duration_since(space.process.started()).ok()
        };
        Process { pid: space.process.pid(), name: space.process.name().clone(), age }
    };
    session.on.spaces.iter().filter(is_last).map(process).collect()
}

/// In which process, if several are observed: " in pong (pid 7)".
pub(super) fn whose(pids: &[u32], facts: &Facts<'_>) -> Vec<Phrase> {
    if facts.processes.len() < 2 {
        return Vec::new();
    }
    let [pid] = pids else { return vec![plain(format!(" in {} processes", pids.len()))] };
    match facts.processes.iter().find(|process| process.pid == *pid) {
        Some(process) => {
            vec![plain(" in "), Phrase::Name(process.name.clone()), plain(format!(" (pid {pid})"))]
        }
        None => vec![plain(format!(" in process {pid}"))],
    }
}

/// What the answer says itself if all that it calls a leak was seen for a short time only, in processes that have just
/// begun.
pub(super) fn still_fills(leaks: &[Leak<'_>], facts: &Facts<'_>) -> Option<String> {
    let ages = leaks.iter().map(|leak| {
        let process = facts.processes.iter().find(|process| process.pid == leak.program.0)?;
        let is_brief = leak.lasted < facts.older * FEW_AGES;
        process.age.filter(|age| is_brief && *age < facts.older * FILLING_AGES)
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

/// Says of processes that they have not run for long, each with its age: what fills up once after the start looks like growth
/// until then.
pub(super) fn filling(processes: &[Process], older: Duration) -> Option<Finding> {
    let is_young = |age: &Duration| *age < older * FILLING_AGES;
    let young = processes.iter().filter_map(|process| Some((&process.name, process.age.filter(is_young)?)));
    let young: Vec<(&Text, Duration)> = young.collect();
    let may = |it: &str| {
        let older = units::duration(older);
        format!("less than four times {older}: what {it} once after the start may still look like growth.")
    };
    let sentence = match &young[..] {
        [] => return None,
        [(name, age)] => {
            let rest = format!(" has run for {} only, {}", units::duration(*age), may("it fills"));
            vec![Phrase::Name((*name).clone()), plain(rest)]
        }
        several => {
            let oldest = units::duration(several.iter().map(|(_, age)| *age).max().unwrap_or_default());
            let rest = may("they fill");
            vec![plain(format!("{} processes have run for {oldest} at most, {rest}", several.len()))]
        }
    };
    Some(Finding::new(rules::FILLING, Severity::Info, sentence))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{said, said_of, seen_for, site},
        *,
    };
    use crate::stats::lifetimes::verdict::Reason;

    /// Processes 7 and up, that have run for so many seconds.
    fn aged(ages: &[u64]) -> Vec<Process> {
        let process = |(pid, age): (u32, &u64)| Process {
            pid,
            name: Text::from("pong"),
            age: Some(Duration::from_secs(*age)),
        };
        (7..).zip(ages).map(process).collect()
    }

    #[test]
    fn young_processes_are_still_filling() {
        let of = |ages: &[u64]| filling(&aged(ages), Duration::from_secs(2)).map(|finding| finding.text);
        assert_eq!((of(&[]), of(&[8])), (None, None));
        assert_eq!(
            of(&[7, 9]).unwrap(),
            "pong has run for 7s only, less than four times 2s: what it fills once after the start may still look like \
             growth."
        );
        assert_eq!(
            of(&[7, 3, 5]).unwrap(),
            "3 processes have run for 7s at most, less than four times 2s: what they fill once after the start may still \
             look like growth."
        );
    }

    /// The doubt is where the claim is.
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
        // Watched for ten seconds, which are two ages of 5.
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

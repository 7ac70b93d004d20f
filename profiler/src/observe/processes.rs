//! The names of observed processes, if there are several, and which of them are young.

use std::time::{Duration, SystemTime};

use super::{
    observation::Observation,
    space::{Came, Space},
};
use crate::{
    report::{Finding, Phrase, Severity},
    text::Text,
    units,
};

/// A process younger than this many ages may still be filling caches and tables for the first time.
const FILLING_AGES: u32 = 4;

/// A process that is observed.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// The name of its last program.
    pub(crate) name: Text,
    /// How long it had run when it was last observed; `None` if that is not known.
    pub(crate) age: Option<Duration>,
}

/// Each process once, however many programs it was. `lasted`: how long a space was observed.
pub(crate) fn processes(on: &Observation<'_>, lasted: impl Fn(&Space) -> Duration) -> Vec<Process> {
    let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(on.started_unix_ns);
    let is_last = |space: &&Space| {
        let mut later = on.spaces.iter().filter(|other| other.number > space.number);
        !later.any(|other| other.process.pid() == space.process.pid())
    };
    let process = |space: &Space| {
        let lasted = lasted(space);
        // A command began with the observation, and a program that a process became began with its exec.
        let age = if on.command().is_some() || space.seen.came == Came::Execed {
            Some(lasted)
        } else {
            let joined = space.seen.since_ns.map_or(0, |since| since.saturating_sub(on.began_ns()));
            let end = began + Duration::from_nanos(joined) + lasted;
            end.duration_since(space.process.started()).ok()
        };
        Process { pid: space.process.pid(), name: space.process.name().clone(), age }
    };
    on.spaces.iter().filter(is_last).map(process).collect()
}

/// In which process, if several are observed: " in pong (pid 7)".
pub(crate) fn whose(pids: &[u32], processes: &[Process]) -> Vec<Phrase> {
    if processes.len() < 2 {
        return Vec::new();
    }
    let [pid] = pids else { return vec![Phrase::plain(format!(" in {} processes", pids.len()))] };
    match processes.iter().find(|process| process.pid == *pid) {
        Some(process) => {
            vec![
                Phrase::plain(" in "),
                Phrase::Name(process.name.clone()),
                Phrase::plain(format!(" (pid {pid})")),
            ]
        }
        None => vec![Phrase::plain(format!(" in process {pid}"))],
    }
}

/// Whether a process of this age may still be filling caches and tables for the first time.
pub(crate) fn is_filling(age: Duration, older: Duration) -> bool {
    age < older * FILLING_AGES
}

/// Says of processes that they have not run for long, each with its age: what fills up once after the start looks like growth
/// until then. `rule` is that of the tool that says it.
pub(crate) fn filling(processes: &[Process], older: Duration, rule: &'static str) -> Option<Finding> {
    let is_young = |age: &Duration| is_filling(*age, older);
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
            vec![Phrase::Name((*name).clone()), Phrase::plain(rest)]
        }
        several => {
            let oldest = units::duration(several.iter().map(|(_, age)| *age).max().unwrap_or_default());
            let rest = may("they fill");
            vec![Phrase::plain(format!("{} processes have run for {oldest} at most, {rest}", several.len()))]
        }
    };
    Some(Finding::new(rule, Severity::Info, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes 7 and up, that have run for these numbers of seconds.
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
        let of = |ages: &[u64]| {
            filling(&aged(ages), Duration::from_secs(2), "sample.filling").map(|finding| finding.text)
        };
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
}

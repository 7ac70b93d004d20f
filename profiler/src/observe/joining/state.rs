//! State of processes that join an observation, and remarks on those that did not.

use std::collections::{BTreeMap, BTreeSet};

use super::super::space::Came;
use crate::{
    error::{Error, Result},
    target::{process::Process, stat::ticks_now},
    units,
};

/// How many processes that join, or become another program, are announced; others only with `-v`.
const ANNOUNCED: u32 = 5;

/// State of processes that join.
#[derive(Debug, Default)]
pub(in crate::observe) struct Joining {
    /// Address spaces with a number below this one are taken in.
    pub(super) next: u16,
    /// Programs that processes were only briefly, until their next exec, by the number of their space.
    pub(in crate::observe) passing: BTreeMap<u16, Process>,
    /// When the observation began, in ticks since boot.
    pub(super) began_ticks: u64,
    /// Processes with the name or in the cgroup, at the last look.
    pub(super) met: BTreeSet<u32>,
    /// Those of them that the kernel side may be about to add.
    expected: BTreeSet<u32>,
    /// Once the observation is over and no more probes are inserted: spaces from this number on came too late.
    closed: Option<u16>,
    /// Whether probes are safe for processes with a seccomp filter, if that was tested.
    pub(super) trial: Option<Result<()>>,
    /// Processes that joined or became another program.
    announced: u32,
    /// Processes for which there was no room.
    pub(in crate::observe) no_room: u64,
    /// Processes that joined because of their name or cgroup.
    pub(super) newcomers: BTreeSet<u32>,
    /// Processes that ended before anything could be attached to them.
    pub(super) too_short: u64,
    /// Processes in which there were no probes yet when the observation ended.
    at_the_end: u64,
    /// Processes that cannot be observed, by how they came and why: the first, and how many for the same reason.
    refused: BTreeMap<(Came, String), (u32, u64)>,
}

impl Joining {
    /// Before anything has joined. `given`: how many address spaces there are.
    pub(in crate::observe) fn new(given: u16, met: BTreeSet<u32>, trial: Option<Result<()>>) -> Joining {
        Joining { next: given, began_ticks: ticks_now(), met, trial, ..Joining::default() }
    }

    /// From now on, no process joins if that takes probes. `taken`: how many address spaces there are.
    pub(super) fn close(&mut self, taken: u16) {
        self.closed = Some(taken);
    }

    /// The line about a process as the user sees it; `None` if only the log has it.
    pub(super) fn announcement(&mut self, line: String) -> Option<String> {
        self.announced += 1;
        match self.announced {
            ..ANNOUNCED => Some(line),
            ANNOUNCED => Some(format!("{line} (further ones are shown with -v)")),
            _ => {
                tracing::info!("{line}");
                None
            }
        }
    }

    /// Whether a space was not taken in yet.
    pub(in crate::observe) fn is_behind(&self, number: u16) -> bool {
        self.next <= number
    }

    /// Whether a space must not join any more. It is counted if it existed when the observation ended.
    pub(super) fn is_closed_to(&mut self, number: u16) -> bool {
        self.at_the_end += u64::from(self.closed.is_some_and(|taken| number < taken));
        self.closed.is_some()
    }

    /// Of the processes with the name or in the cgroup, those that join now: all that were not there at the last look. A process
    /// that a target may have forked (`may_be_forked`) waits until the next look: it appears in `/proc` shortly before the kernel
    /// side gives it an address space, and must not get two.
    pub(super) fn newcomers(
        &mut self,
        found: BTreeSet<u32>,
        may_be_forked: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let new: Vec<u32> = found.difference(&self.met).copied().collect();
        let (wait, join): (Vec<u32>, Vec<u32>) =
            new.into_iter().partition(|pid| !self.expected.contains(pid) && may_be_forked(*pid));
        self.met = found;
        wait.iter().for_each(|pid| _ = self.met.remove(pid));
        self.expected = wait.into_iter().collect();
        join
    }

    /// The remarks of the report on processes that did not join.
    pub(in crate::observe) fn remarks(&self) -> Vec<String> {
        let refused = self.refused.iter();
        let mut remarks: Vec<String> =
            refused.map(|((came, why), (pid, count))| not_observed(*came, *pid, *count, why)).collect();
        match self.too_short {
            0 => {}
            1 => remarks.push(
                "1 program ended before probes were in it: what these would have seen is missing".to_owned(),
            ),
            many => remarks.push(format!(
                "{many} programs ended before probes were in them: what these would have seen is missing"
            )),
        }
        if self.at_the_end > 0 {
            let processes = units::plural(self.at_the_end as usize, "process", "processes");
            remarks.push(format!(
                "{processes} began as the observation ended, before probes were in place: what these would have seen is missing"
            ));
        }
        remarks
    }

    pub(super) fn refuse(&mut self, pid: u32, came: Came, error: &Error) {
        // The error names the process, so only the causes are compared.
        let why = error.cause().map_or_else(|| error.to_string(), str::to_owned);
        self.refused.entry((came, why)).or_insert((pid, 0)).1 += 1;
    }
}

/// Says that processes are not observed: how many, and the first of them.
fn not_observed(came: Came, pid: u32, count: u64, why: &str) -> String {
    let did = match came {
        Came::Forked | Came::Began => "began during the observation",
        Came::First | Came::Late => "joined the observation late",
        Came::Execed => "became another program by exec",
    };
    match count {
        1 => format!("process {pid} {did} and is not observed: {why}"),
        _ => format!("{count} processes that {did} are not observed, process {pid} the first: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn processes_that_did_not_join_are_counted_by_reason() {
        let mut joining = Joining::default();
        assert!(joining.remarks().is_empty());
        let error = |why: &str| Error::new(ErrorKind::UnsupportedTarget, "tried this").because(why);
        for (pid, why) in [(7, "one"), (8, "two"), (9, "two")] {
            joining.refuse(pid, Came::Began, &error(why));
        }
        joining.too_short = 2;
        let remarks = joining.remarks();
        assert_eq!(remarks.len(), 3, "{remarks:#?}");
        assert!(remarks[0].starts_with("process 7 began") && remarks[0].contains("one"), "{remarks:#?}");
        assert!(
            remarks[1].starts_with("2 processes that began") && remarks[1].contains("process 8"),
            "{remarks:#?}"
        );
        assert!(remarks[2].starts_with("2 programs ended before"), "{remarks:#?}");
    }

    #[test]
    fn the_remark_says_how_the_process_came() {
        let said = |came| not_observed(came, 7, 1, "why");
        assert_eq!(said(Came::Forked), "process 7 began during the observation and is not observed: why");
        assert_eq!(said(Came::Late), "process 7 joined the observation late and is not observed: why");
        assert_eq!(said(Came::Execed), "process 7 became another program by exec and is not observed: why");
    }

    #[test]
    fn nothing_joins_after_the_end() {
        let mut joining = Joining::default();
        assert!(!joining.is_closed_to(6) && joining.remarks().is_empty());
        joining.close(7);
        assert!(joining.is_closed_to(7) && joining.remarks().is_empty(), "it began after the observation");
        assert!(joining.is_closed_to(6));
        assert!(joining.remarks()[0].starts_with("1 process began as the observation ended"));
    }

    #[test]
    fn a_forked_process_waits_for_its_address_space() {
        let mut joining = Joining { met: BTreeSet::from([1, 2]), ..Joining::default() };
        let mut found = |pids: &[u32]| joining.newcomers(pids.iter().copied().collect(), |pid| pid == 3);
        assert_eq!(found(&[1, 3, 4]), [4]);
        assert_eq!(found(&[1, 3, 4]), [3], "the kernel side has had the time");
        assert!(found(&[1, 3, 4]).is_empty());
        assert_eq!(found(&[1, 2]), [2], "it had ended");
    }
}

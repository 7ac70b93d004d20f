//! How an address space came to be observed, when it was, and for how long it was stopped.

use std::time::Duration;

use super::Space;
use crate::target::{freezer::Freezer, status::Status};

/// How an address space came to be observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Came {
    /// Its process was a target when the observation began.
    #[default]
    First,
    /// A target forked its process.
    Forked,
    /// Its process started during the observation, with the name or in the cgroup that the user asked for.
    Began,
    /// Its process is older than the observation, and was renamed or moved into the cgroup later.
    Late,
    /// An observed process became this program by exec.
    Execed,
}

/// When an address space was observed. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) came: Came,
    /// Since when; `None` if since the start of the observation.
    pub(crate) since_ns: Option<u64>,
    /// When it was last seen alive.
    pub(crate) alive_ns: u64,
    /// When its end was noticed.
    pub(crate) noticed_ns: Option<u64>,
    /// How long it was stopped.
    pub(crate) halts: Halts,
}

/// How long a process was stopped (by a signal, by a tracer or with its control group), as far as regular looks show it. Times are
/// nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Halts {
    /// When the last look found it stopped, and how often it had given up its processor by then.
    last: Option<(u64, u64)>,
    /// The first look at which it was stopped, of the present stop.
    since_ns: Option<u64>,
    total_ns: u64,
}

impl Halts {
    /// Updates from one look at the process. It was stopped between two looks if both found it stopped and it did not run in
    /// between. A tracer, for example, stops it at each system call and resumes it.
    fn look(&mut self, is_stopped: bool, status: &Status, now_ns: u64) {
        let stopped = is_stopped.then(|| (now_ns, status.switches.unwrap_or(0)));
        match (self.last, stopped) {
            (Some((then_ns, before)), Some((_, switches))) if before == switches => {
                self.total_ns += now_ns.saturating_sub(then_ns);
                self.since_ns.get_or_insert(then_ns);
            }
            _ => self.since_ns = None,
        }
        self.last = stopped;
    }

    /// Since when it has been stopped, if it is, and was at the previous look.
    pub(crate) fn since_ns(&self) -> Option<u64> {
        self.since_ns
    }

    /// How long it was stopped in all.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.total_ns)
    }
}

impl Seen {
    /// Since now.
    pub(crate) fn since(came: Came, now_ns: u64) -> Seen {
        Seen { came, since_ns: Some(now_ns), alive_ns: now_ns, ..Seen::default() }
    }

    /// For how long it was observed between these two moments: until its end, or until it was stopped, if it still is.
    pub(crate) fn ran_ns(&self, began_ns: u64, now_ns: u64) -> u64 {
        let end_ns = self.noticed_ns.or(self.halts.since_ns()).map_or(now_ns, |end| end.min(now_ns));
        end_ns.saturating_sub(self.since_ns.map_or(began_ns, |since| since.max(began_ns)))
    }
}

impl Space {
    /// Looks whether it runs.
    pub(crate) fn look_whether_it_runs(&mut self, now_ns: u64) {
        if let Ok(status) = Status::read(self.process.pid()) {
            self.seen.halts.look(status.is_stopped() || self.is_frozen(), &status, now_ns);
        }
    }

    /// Whether its control group is frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.freezer.as_ref().is_some_and(Freezer::is_frozen)
    }

    /// Whether its end was noticed only after the observation, given the end of that.
    pub(crate) fn ended_after(&self, end_ns: Option<u64>) -> bool {
        end_ns.zip(self.seen.noticed_ns).is_some_and(|(end, noticed)| noticed >= end)
    }

    /// Notes that it has ended.
    pub(crate) fn end(&mut self, how: String, now_ns: u64) {
        self.ended = Some(how);
        self.seen.noticed_ns = Some(now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halts(looks: &[(char, u64)]) -> (Option<u64>, u64) {
        let mut halts = Halts::default();
        for (at, (state, switches)) in (0..).zip(looks) {
            let status = Status { state: Some(*state), switches: Some(*switches), ..Status::default() };
            halts.look(status.is_stopped(), &status, at * 250);
        }
        (halts.since_ns(), halts.total_ns)
    }

    #[test]
    fn a_process_counts_as_observed_until_it_stops_or_ends() {
        let mut seen = Seen::default();
        assert_eq!(seen.ran_ns(1_000, 6_000), 5_000);
        let stopped = Status { state: Some('T'), switches: Some(7), ..Status::default() };
        for now_ns in [1_250, 1_500, 5_900] {
            seen.halts.look(true, &stopped, now_ns);
        }
        assert_eq!(seen.ran_ns(1_000, 6_000), 250, "up to the first look that found it stopped");
        seen.halts.look(false, &Status::default(), 5_950);
        assert_eq!(seen.ran_ns(1_000, 6_000), 5_000, "it goes on");
        seen.noticed_ns = Some(4_000);
        assert_eq!((seen.ran_ns(1_000, 6_000), seen.ran_ns(1_000, 3_000)), (3_000, 2_000));
        seen.since_ns = Some(3_500);
        assert_eq!(seen.ran_ns(1_000, 6_000), 500, "from when it joined");
    }

    #[test]
    fn only_stops_that_last_from_look_to_look_count() {
        assert_eq!(halts(&[('S', 1), ('R', 2), ('S', 3)]), (None, 0));
        assert_eq!(halts(&[('S', 1), ('T', 2)]), (None, 0), "since a moment");
        assert_eq!(halts(&[('S', 1), ('T', 2), ('T', 2), ('T', 2)]), (Some(250), 500));
        assert_eq!(halts(&[('T', 2), ('T', 2), ('R', 2), ('T', 3), ('T', 3)]), (Some(750), 500));
        // A tracer that stops it at each system call.
        assert_eq!(halts(&[('t', 2), ('t', 9), ('t', 15)]), (None, 0));
    }
}

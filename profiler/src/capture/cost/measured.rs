//! Measured run times of our programs, as far as they apply to the present load.

use std::time::Duration;

use super::prices::RunTimes;

/// Runs in an interval from which on their mean is meaningful. The few hits of an idle thread find nothing in the
/// caches: each takes tens of microseconds, a hundred times as long as under load.
const ENOUGH: u64 = 1_000;
/// Hits per second from which on their cost matters: fewer take less than a hundredth of a thread's time.
const LOAD_PER_S: f64 = 1_000.0;

/// The run times, and the load under which they were measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// In all.
    all: RunTimes,
    /// In the last interval with enough runs.
    recent: Option<RunTimes>,
    /// Hits per second in that interval.
    recent_per_s: f64,
    /// Hits per second now.
    now_per_s: f64,
}

impl Measured {
    /// Adds a reading. `hits` are those since the last one.
    pub(super) fn add(&mut self, reading: RunTimes, hits: u64, length: Duration) {
        self.now_per_s = hits as f64 / length.as_secs_f64().max(1e-3);
        let since = reading.since(self.all);
        self.all = reading;
        if since.all().runs >= ENOUGH {
            (self.recent, self.recent_per_s) = (Some(since), self.now_per_s);
        }
    }

    /// Whether the load is now much higher than when it was measured.
    pub(super) fn is_outdated(&self) -> bool {
        self.now_per_s >= LOAD_PER_S && self.now_per_s > 2.0 * self.recent_per_s
    }

    /// The run times that apply now; none if nothing was measured under such a load.
    pub(super) fn times(&self) -> RunTimes {
        match self.recent {
            Some(recent) => recent,
            None if self.now_per_s >= LOAD_PER_S => RunTimes::default(),
            None => self.all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::prices::RunTime, *};

    const SECOND: Duration = Duration::from_secs(1);

    fn looks(ns: u64, runs: u64) -> RunTimes {
        RunTimes { looks: RunTime { ns, runs }, ..RunTimes::default() }
    }

    #[test]
    fn hits_of_an_idle_target_do_not_tell_what_they_take_under_load() {
        let mut measured = Measured::default();
        measured.add(looks(60 * 30_000, 60), 60, SECOND);
        assert_eq!(measured.times().all().mean_ns(), Some(30_000.0), "it is all that it has");
        assert!(!measured.is_outdated(), "a few hits do not matter");
        // The load comes in a second in which nothing is measured.
        measured.add(looks(60 * 30_000, 60), 400_000, SECOND);
        assert_eq!(measured.times().all().mean_ns(), None);
        assert!(measured.is_outdated());
        measured.add(looks(60 * 30_000 + 300 * 400_000, 400_060), 400_000, SECOND);
        assert_eq!(measured.times().all().mean_ns(), Some(300.0));
        assert!(!measured.is_outdated());
        // It stays so while nothing is measured, until there is twice as much to do.
        measured.add(looks(60 * 30_000 + 300 * 400_000, 400_060), 700_000, SECOND);
        assert_eq!((measured.times().all().mean_ns(), measured.is_outdated()), (Some(300.0), false));
        measured.add(looks(60 * 30_000 + 300 * 400_000, 400_060), 900_000, SECOND);
        assert!(measured.is_outdated());
    }
}

//! The progress of an observation in one line.

use std::time::Duration;

use profiler::{observe::Progress, units};

/// Shortest time over which a rate is computed.
const RATE_OVER: Duration = Duration::from_secs(1);

/// The state that the line shows.
#[derive(Debug)]
pub(crate) struct Status {
    length: Option<Duration>,
    /// When the interval of the rate began, and the number of hits then.
    from: Option<(Duration, u64)>,
    hits_per_s: Option<f64>,
    now: Progress,
}

impl Status {
    /// For an observation of this length.
    pub(crate) fn new(length: Option<Duration>) -> Status {
        Status { length, from: None, hits_per_s: None, now: Progress::default() }
    }

    /// Takes the latest numbers.
    pub(crate) fn update(&mut self, progress: &Progress) {
        self.now = *progress;
        let (then, hits) = *self.from.get_or_insert((progress.elapsed, progress.counts.hits));
        let over = progress.elapsed.saturating_sub(then);
        if over >= RATE_OVER {
            self.hits_per_s = Some(progress.counts.hits.saturating_sub(hits) as f64 / over.as_secs_f64());
            self.from = Some((progress.elapsed, progress.counts.hits));
        }
    }

    /// The line: as much as fits into this width, the most important first.
    pub(crate) fn line(&self, width: usize) -> String {
        let now = &self.now;
        let mut line = self.clock();
        let lost = match now.counts.lost {
            0 => "0 lost".to_owned(),
            n => format!("{} LOST", units::count(n as f64)),
        };
        let parts = [
            (now.counts.lost > 0).then(|| lost.clone()),
            self.hits_per_s.map(|rate| format!("{} hits/s", units::count(rate))),
            now.cost.map(|share| format!("cost ~{}", units::percent(share))),
            self.verdicts_in().map(|wait| format!("first verdicts in {}", clock(wait))),
            (now.counts.lost == 0).then_some(lost),
            Some(format!("{} stacks", units::count(now.stacks as f64))),
            (!now.counts.things.1.is_empty())
                .then(|| format!("{} {}", units::count(now.counts.things.0 as f64), now.counts.things.1)),
            Some("Ctrl-C: report now".to_owned()),
        ];
        for part in parts.into_iter().flatten() {
            // The text is ASCII: a character is a column.
            if line.len() + 2 + part.len() > width {
                break;
            }
            line.push_str(", ");
            line.push_str(&part);
        }
        line
    }

    fn clock(&self) -> String {
        let elapsed = self.now.elapsed;
        match self.length {
            Some(length) => {
                // Rounded up, because the time that has passed is rounded down: so the two add up to the length.
                let left = length.saturating_sub(elapsed).as_nanos().div_ceil(1_000_000_000);
                let left = Duration::from_secs(u64::try_from(left).unwrap_or(u64::MAX));
                format!("{} of {}, {} to go", clock(elapsed), units::duration(length), clock(left))
            }
            None => clock(elapsed),
        }
    }

    /// The time until there is an answer, unless the observation ends before.
    fn verdicts_in(&self) -> Option<Duration> {
        let needed = self.now.answers_after;
        if self.length.is_some_and(|length| length < needed) {
            return None;
        }
        // Less than a second would be shown as none.
        needed.checked_sub(self.now.elapsed).filter(|wait| wait.as_secs() > 0)
    }
}

/// Whole seconds.
fn clock(time: Duration) -> String {
    match time.as_secs() {
        0 => "0s".to_owned(),
        seconds => units::duration(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use profiler::tool::Counts;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(elapsed_ms: u64, hits: u64, lost: u64) -> Progress {
        Progress {
            elapsed: Duration::from_millis(elapsed_ms),
            counts: Counts { hits, lost, things: (1_234_567, "live blocks") },
            answers_after: 37 * MINUTE + MINUTE / 2,
            stacks: 443,
            cost: Some(0.063),
        }
    }

    #[test]
    fn the_line_has_the_time_the_counts_and_when_there_is_an_answer() {
        let mut status = Status::new(Some(120 * MINUTE));
        status.update(&at(64_000, 1_000, 0));
        status.update(&at(65_000, 93_000, 0));
        assert_eq!(
            status.line(200),
            "1m5s of 2h, 1h58m to go, 92k hits/s, cost ~6.3 %, first verdicts in 36m25s, 0 lost, 443 stacks, \
             1.2M live blocks, Ctrl-C: report now"
        );
        assert_eq!(
            status.line(80),
            "1m5s of 2h, 1h58m to go, 92k hits/s, cost ~6.3 %, first verdicts in 36m25s"
        );
        status.update(&at(40 * 60_000, 93_000, 7));
        assert_eq!(status.line(80), "40m of 2h, 1h20m to go, 7 LOST, 0 hits/s, cost ~6.3 %, 443 stacks");
    }

    #[test]
    fn without_a_length_no_time_to_go_and_with_too_short_a_length_no_verdict() {
        let at = |elapsed_ms, hits, lost| Progress {
            answers_after: MINUTE + MINUTE / 4,
            ..at(elapsed_ms, hits, lost)
        };
        let mut status = Status::new(None);
        status.update(&at(250, 5, 0));
        assert_eq!(status.line(60), "0s, cost ~6.3 %, first verdicts in 1m14s, 0 lost, 443 stacks");
        let mut status = Status::new(Some(MINUTE));
        status.update(&at(61_000, 5, 0));
        assert_eq!(status.line(60), "1m1s of 1m, 0s to go, cost ~6.3 %, 0 lost, 443 stacks");
        let mut status = Status::new(None);
        status.update(&Progress { answers_after: Duration::ZERO, ..at(250, 5, 0) });
        assert_eq!(status.line(40), "0s, cost ~6.3 %, 0 lost, 443 stacks");
        status.update(&Progress { answers_after: Duration::from_secs(1), ..at(250, 5, 0) });
        assert_eq!(status.line(40), "0s, cost ~6.3 %, 0 lost, 443 stacks", "not in 0s");
    }

    #[test]
    fn the_time_that_has_passed_and_the_time_to_go_add_up() {
        let mut status = Status::new(Some(Duration::from_secs(7)));
        for (ms, line) in [
            (0, "0s of 7s, 7s to go"),
            (1_300, "1s of 7s, 6s to go"),
            (6_400, "6s of 7s, 1s to go"),
            (7_000, "7s of 7s, 0s to go"),
        ] {
            status.update(&at(ms, 0, 0));
            assert_eq!(status.line(18), line);
        }
    }

    #[test]
    fn the_rate_is_recent() {
        let mut status = Status::new(None);
        for (ms, hits, rate) in [
            (0, 0, None),
            (500, 100, None),
            (1000, 2000, Some(2000.0)),
            (1250, 2000, Some(2000.0)),
            (3000, 2000, Some(0.0)),
        ] {
            status.update(&at(ms, hits, 0));
            assert_eq!(status.hits_per_s, rate, "{ms}");
        }
    }
}

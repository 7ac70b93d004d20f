//! What the probes took from each thread, second by second. Pure arithmetic.
//!
//! The share of a thread's processor time says how much longer everything takes that it does, even if it waits most of
//! the time. The share of all the time in which it could run is what is no longer available to it: that one is limited.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::prices::Price;

/// Seconds over which the guard averages.
pub(crate) const GUARD_SECONDS: usize = 10;
/// Seconds over which the present cost of a thread is shown.
const SHOWN_SECONDS: usize = 3;
/// Threads that run less than this part of the time are left out: what they lose is less than that, and hits are
/// counted in steps.
pub(crate) const LEAST_BUSY: f64 = 0.01;
/// Threads whose sums are kept. Beyond, the threads that come last are only looked at second by second.
const MOST_THREADS: usize = 4096;

/// In place of the id of a thread: those that have ended.
pub(crate) const ENDED: u32 = 0;

/// What one thread used and paid.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    pub(crate) tid: u32,
    /// Its processor time.
    pub(crate) busy_ns: f64,
    /// Of that, the time of our probes.
    pub(crate) ours_ns: f64,
    /// Time for which it waited for a processor.
    pub(crate) waited_ns: f64,
}

impl Spent {
    /// The part of a stretch of time. A thread without hits is not looked at, so what it had for minutes may come with
    /// its first hit; all its hits came in the stretch.
    fn within(self, length: Duration) -> Spent {
        // Several threads have more time than there is.
        if self.tid == ENDED {
            return self;
        }
        let length = length.as_nanos() as f64;
        Spent { busy_ns: self.busy_ns.min(length), waited_ns: self.waited_ns.min(length), ..self }
    }
}

/// What a thread pays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) tid: u32,
    pub(crate) price: Price,
}

/// A stretch of about a second.
#[derive(Clone, Debug, Default)]
struct Second {
    length: Duration,
    threads: Vec<Spent>,
}

/// Everything that was spent.
#[derive(Debug, Default)]
pub(crate) struct Spending {
    last: VecDeque<Second>,
    length: Duration,
    sums: HashMap<u32, Sum>,
}

/// What one thread paid in total.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    spent: Spent,
    /// The highest share of its processor time in one stretch.
    worst: f64,
}

impl Spending {
    /// Adds what the threads spent in the time since the last call.
    pub(crate) fn add(&mut self, length: Duration, threads: Vec<Spent>) {
        for spent in &threads {
            if self.sums.len() < MOST_THREADS || self.sums.contains_key(&spent.tid) {
                add(&mut self.sums.entry(spent.tid).or_default().spent, spent);
            }
        }
        let threads: Vec<Spent> = threads.into_iter().map(|spent| spent.within(length)).collect();
        if length >= Duration::from_millis(500) {
            for share in threads.iter().filter_map(|spent| share(length, spent)) {
                if let Some(sum) = self.sums.get_mut(&share.tid) {
                    sum.worst = sum.worst.max(share.price.of_busy);
                }
            }
        }
        self.length += length;
        self.last.push_back(Second { length, threads });
        if self.last.len() > GUARD_SECONDS {
            self.last.pop_front();
        }
    }

    /// What the thread that pays most has paid over the whole time.
    pub(crate) fn mean(&self) -> Option<Share> {
        highest(self.length, self.sums.values().map(|sum| sum.spent))
    }

    /// The highest share of its processor time that this thread paid in one second: what it paid over the whole time, at
    /// least, which it must have paid in one of its seconds.
    pub(crate) fn worst(&self) -> Option<f64> {
        let mean = self.mean()?;
        let worst = self.sums.get(&mean.tid).map_or(0.0, |sum| sum.worst);
        Some(worst.max(mean.price.of_busy))
    }

    /// What the thread that pays most has paid over the last ten seconds, or over all of them if there were fewer.
    pub(crate) fn recent(&self) -> Option<Share> {
        self.over_last(GUARD_SECONDS)
    }

    /// The same over the last seconds, for people: the cost of the start is not the present cost.
    pub(crate) fn shown(&self) -> Option<Share> {
        self.over_last(SHOWN_SECONDS)
    }

    fn over_last(&self, seconds: usize) -> Option<Share> {
        let last = || self.last.iter().rev().take(seconds);
        let mut sums: HashMap<u32, Spent> = HashMap::new();
        for spent in last().flat_map(|second| &second.threads) {
            add(sums.entry(spent.tid).or_default(), spent);
        }
        highest(last().map(|second| second.length).sum(), sums.into_values())
    }

    /// The same, once `seconds` of them are over, if it is more than `limit` of all its time.
    pub(crate) fn over(&self, limit: f64, seconds: usize) -> Option<Share> {
        (self.last.len() >= seconds).then(|| self.recent())?.filter(|share| share.price.of_all > limit)
    }

    /// What all threads together have paid over the last ten seconds, as a share of what `processors` can do in that time,
    /// once `seconds` of them are over, if that is more than `limit`. Hundreds of threads that each hardly run, of which
    /// none has a share, can take whole processors.
    pub(crate) fn all_over(&self, limit: f64, seconds: usize, processors: usize) -> Option<f64> {
        let length: Duration = self.last.iter().map(|second| second.length).sum();
        let threads = self.last.iter().flat_map(|second| &second.threads);
        let ours: f64 = threads.map(|spent| spent.ours_ns.min(spent.busy_ns)).sum();
        let share = ours / (length.as_nanos() as f64 * processors.max(1) as f64);
        (self.last.len() >= seconds && share > limit).then_some(share)
    }
}

fn add(sum: &mut Spent, spent: &Spent) {
    sum.tid = spent.tid;
    sum.busy_ns += spent.busy_ns;
    sum.ours_ns += spent.ours_ns;
    sum.waited_ns += spent.waited_ns;
}

fn highest(length: Duration, threads: impl Iterator<Item = Spent>) -> Option<Share> {
    let shares = threads.filter_map(|spent| share(length, &spent));
    shares.max_by(|a, b| a.price.of_all.total_cmp(&b.price.of_all))
}

/// What a thread paid in a stretch of time; `None` if it hardly ran.
fn share(length: Duration, spent: &Spent) -> Option<Share> {
    let length = length.as_nanos() as f64;
    if spent.busy_ns <= 0.0 || spent.busy_ns < length * LEAST_BUSY {
        return None;
    }
    let ours = spent.ours_ns.min(spent.busy_ns);
    let could = (length - spent.waited_ns).max(spent.busy_ns);
    Some(Share { tid: spent.tid, price: Price { of_busy: ours / spent.busy_ns, of_all: ours / could } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn spent(tid: u32, busy_ms: f64, ours_ms: f64) -> Spent {
        Spent { tid, busy_ns: busy_ms * 1e6, ours_ns: ours_ms * 1e6, waited_ns: 0.0 }
    }

    fn share(share: Option<Share>) -> (u32, f64) {
        share.map_or((0, f64::NAN), |share| (share.tid, (share.price.of_busy * 1000.0).round() / 1000.0))
    }

    #[test]
    fn a_share_is_of_the_busy_time_not_of_the_clock() {
        let mut spending = Spending::default();
        spending.add(SECOND, vec![spent(1, 500.0, 250.0), spent(2, 1000.0, 200.0)]);
        assert_eq!(share(spending.mean()), (1, 0.5));
        assert_eq!(spending.worst(), Some(0.5));
        assert_eq!(spending.mean().unwrap().price.of_all, 0.25);
        assert_eq!(spending.over(0.3, 1), None, "it has time to spare");
    }

    #[test]
    fn the_worst_second_is_not_the_mean() {
        let mut spending = Spending::default();
        for second in 0..20 {
            spending.add(SECOND, vec![spent(7, 1000.0, if second == 3 { 900.0 } else { 100.0 })]);
        }
        assert_eq!(share(spending.mean()), (7, 0.14));
        assert_eq!(spending.worst(), Some(0.9));
        assert_eq!(share(spending.recent()), (7, 0.1));
    }

    #[test]
    fn threads_that_hardly_run_are_left_out() {
        let mut spending = Spending::default();
        spending.add(SECOND, vec![spent(1, 9.0, 9.0), spent(2, 100.0, 10.0)]);
        assert_eq!(share(spending.mean()), (2, 0.1));
        spending.add(Duration::from_millis(10), vec![spent(2, 10.0, 10.0)]);
        assert_eq!(
            spending.worst(),
            spending.mean().map(|mean| mean.price.of_busy),
            "a moment is not a second"
        );
        assert_eq!(Spending::default().mean(), None);
    }

    #[test]
    fn time_for_which_a_thread_waited_for_a_processor_was_not_its_own() {
        let mut spending = Spending::default();
        // A thread that never sleeps, on a processor that it shares with another.
        spending.add(SECOND, vec![Spent { waited_ns: 0.5e9, ..spent(1, 500.0, 250.0) }]);
        assert_eq!(spending.mean().unwrap().price, Price { of_busy: 0.5, of_all: 0.5 });
        assert!(spending.over(0.3, 1).is_some());
    }

    #[test]
    fn time_without_hits_does_not_hide_what_the_last_second_took() {
        let mut spending = Spending::default();
        for _ in 0..100 {
            spending.add(SECOND, Vec::new());
        }
        // It worked all the time, and calls an allocator only now.
        spending.add(SECOND, vec![spent(1, 101_000.0, 900.0)]);
        assert_eq!(spending.worst(), Some(0.9));
        assert_eq!(share(spending.mean()), (1, 0.009));
        spending.add(SECOND, vec![spent(1, 1000.0, 900.0)]);
        assert_eq!(share(spending.recent()), (1, 0.9), "of the two seconds in which it was looked at");
    }

    #[test]
    fn the_worst_second_is_one_of_the_thread_that_is_named_and_no_better_than_its_mean() {
        let mut spending = Spending::default();
        // Another thread has worse seconds, and loses less of all its time.
        spending.add(SECOND, vec![spent(1, 900.0, 270.0), spent(2, 20.0, 18.0)]);
        spending.add(SECOND, vec![spent(1, 900.0, 180.0)]);
        assert_eq!((share(spending.mean()), spending.worst()), ((1, 0.25), Some(0.3)));
        // The end of a run is a short stretch that may cost most.
        spending.add(Duration::from_millis(400), vec![spent(1, 400.0, 400.0)]);
        let (mean, worst) = (spending.mean().unwrap().price.of_busy, spending.worst().unwrap());
        assert!(mean > 0.38 && worst >= mean, "{mean} {worst}");
    }

    #[test]
    fn what_is_shown_of_now_is_not_what_the_start_cost() {
        let mut spending = Spending::default();
        for second in 0..8 {
            spending.add(SECOND, vec![spent(1, 1000.0, if second < 2 { 800.0 } else { 10.0 })]);
        }
        assert_eq!(share(spending.shown()), (1, 0.01));
        assert_eq!(share(spending.recent()), (1, 0.208), "the guard looks at ten seconds");
    }

    #[test]
    fn the_guard_takes_the_average_of_ten_seconds() {
        let mut spending = Spending::default();
        // Three hot seconds are not enough, whatever they cost.
        for second in 0..40 {
            let ours = if (20..23).contains(&second) { 950.0 } else { 0.0 };
            spending.add(SECOND, vec![spent(1, 1000.0, ours)]);
            assert_eq!(spending.over(0.3, GUARD_SECONDS), None, "second {second}");
        }
        // One that goes on is stopped as soon as the average of the last ten is over the limit.
        let mut stopped = None;
        for second in 0..GUARD_SECONDS {
            spending.add(SECOND, vec![spent(1, 1000.0, 600.0)]);
            stopped = stopped.or(spending.over(0.3, GUARD_SECONDS).map(|_| second));
        }
        assert_eq!(stopped, Some(5), "six seconds of 60 % are 36 % of ten");
    }

    #[test]
    fn nothing_is_stopped_before_the_time_is_over_or_at_the_very_limit() {
        let mut spending = Spending::default();
        for _ in 1..GUARD_SECONDS {
            spending.add(SECOND, vec![spent(1, 1000.0, 900.0)]);
            assert_eq!(spending.over(0.3, GUARD_SECONDS), None);
        }
        assert!(spending.over(0.3, 2).is_some(), "two seconds suffice where nothing was counted beforehand");
        spending.add(SECOND, vec![spent(1, 1000.0, 900.0)]);
        assert!(spending.over(0.3, GUARD_SECONDS).is_some());
        assert_eq!(spending.over(0.9, GUARD_SECONDS), None);
        assert_eq!(spending.over(1.0, GUARD_SECONDS), None, "100 % is never exceeded");
    }

    #[test]
    fn threads_that_have_ended_lose_what_they_lose_in_the_mean() {
        let mut spending = Spending::default();
        // Eight at a time, that lose a tenth.
        for _ in 0..GUARD_SECONDS {
            spending.add(SECOND, vec![spent(ENDED, 8_000.0, 800.0)]);
        }
        assert_eq!(share(spending.recent()), (ENDED, 0.1));
        assert_eq!(spending.over(0.2, GUARD_SECONDS), None);
        assert!(spending.all_over(0.3, GUARD_SECONDS, 2).is_some());
    }

    #[test]
    fn threads_that_hardly_run_are_bounded_together() {
        let mut spending = Spending::default();
        for _ in 0..GUARD_SECONDS {
            assert_eq!(spending.all_over(0.3, GUARD_SECONDS, 2), None);
            spending.add(SECOND, (1..=500).map(|tid| spent(tid, 2.0, 1.8)).collect());
        }
        assert_eq!(spending.over(0.01, GUARD_SECONDS), None, "none of them runs a hundredth of the time");
        let share = spending.all_over(0.3, GUARD_SECONDS, 2);
        assert!(share.is_some_and(|share| (share - 0.45).abs() < 1e-9), "{share:?}");
        assert_eq!(spending.all_over(0.3, GUARD_SECONDS, 4), None);
    }
}

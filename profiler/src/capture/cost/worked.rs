//! What a thread did in a period, and its cost for probes.

use std::collections::HashMap;

use profiler_common::rate::COOLING_NS;

use super::{
    prices::{Prices, cold_share, kernel_share},
    spending::Spent,
    threads::Had,
};

/// What a thread used and passed in a period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worked {
    pub(super) tid: u32,
    pub(super) had: Had,
    pub(super) calls: f64,
    pub(super) looks: f64,
    /// Cost of hits whose price their tool knows.
    pub(super) priced_ns: f64,
}

impl Worked {
    /// What the probes took of it.
    pub(super) fn spent(&self, prices: &Prices) -> Spent {
        Spent {
            tid: self.tid,
            busy_ns: self.had.busy_ns as f64,
            ours_ns: self.calls * prices.call_ns + self.looks * prices.look_ns + self.priced_ns,
            waited_ns: self.had.waited_ns as f64,
        }
    }

    /// The share of its hits that find the caches cold, from 0 to 1: as far as they come late, and it was in the kernel
    /// meanwhile; and as far as our programs ran for long before. `late`: how late its hits came when they were counted; without that it follows from how far apart
    /// they are on average. `warm`: prices of hits that find the caches warm.
    fn cold(&self, late: Option<f64>, warm: &Prices) -> f64 {
        let spent = self.spent(warm);
        let own = (spent.busy_ns - spent.ours_ns).max(0.0);
        let late = late.unwrap_or_else(|| late_at_random(own, self.hits()));
        cold_share(late * kernel_share(own, self.had.user_ns as f64), warm.program_ns)
    }

    /// Calls and looks.
    fn hits(&self) -> f64 {
        self.calls + self.looks
    }
}

/// Hits that were attributed to threads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Billed {
    hits: f64,
    cold_hits: f64,
}

impl Billed {
    /// What the probes took of each of these threads, at prices of its own: `at` has them for a share of hits that find the
    /// caches cold. `late`: how late the hits of threads came when they were counted.
    pub(super) fn add(
        &mut self,
        threads: &[Worked],
        late: &HashMap<u32, f64>,
        at: impl Fn(f64) -> Prices,
    ) -> Vec<Spent> {
        let warm = at(0.0);
        let mut spent = |thread: &Worked| {
            let cold = thread.cold(late.get(&thread.tid).copied(), &warm);
            self.hits += thread.hits();
            self.cold_hits += thread.hits() * cold;
            thread.spent(&at(cold))
        };
        threads.iter().map(&mut spent).collect()
    }

    /// The share of all hits so far that found the caches cold, from 0 to 1.
    pub(super) fn cold(&self) -> f64 {
        if self.hits > 0.0 { self.cold_hits / self.hits } else { 0.0 }
    }
}

/// How late hits are on average, from 0 to 1 as [`COOLING_NS`] has it, if they come at random in `own_ns` of the
/// thread's own processor time. For where the gaps were not counted.
fn late_at_random(own_ns: f64, hits: f64) -> f64 {
    if own_ns <= 0.0 {
        return 0.0;
    }
    // The mean of an exponentially distributed gap, cut off at the length that makes a hit cold.
    let cooled = COOLING_NS as f64 * hits / own_ns;
    if cooled > 0.0 { -(-cooled).exp_m1() / cooled } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices { call_ns: 2_000.0, look_ns: 1_000.0, trap_ns: 500.0, program_ns: 0.0 };

    fn worked(busy_ns: u64, pairs: f64) -> Worked {
        let had = Had { busy_ns, waited_ns: 5, user_ns: 0 };
        Worked { tid: 7, had, calls: pairs, looks: pairs, priced_ns: 0.0 }
    }

    #[test]
    fn what_a_thread_spent_is_what_its_hits_cost() {
        let spent = worked(1_000_000, 100.0).spent(&PRICES);
        assert_eq!(spent, Spent { tid: 7, busy_ns: 1e6, ours_ns: 300_000.0, waited_ns: 5.0 });
        let both = Worked { priced_ns: 40_000.0, ..worked(1_000_000, 100.0) };
        assert_eq!(both.spent(&PRICES).ours_ns, 340_000.0);
    }

    #[test]
    fn hits_are_cold_where_the_time_between_them_is_long() {
        // 700 µs of its own for 200 hits: 3.5 µs before each.
        let cold = worked(1_000_000, 100.0).cold(None, &PRICES);
        assert!((cold - (1.0 - (-1.5 / 3.5f64).exp()) * 3.5 / 1.5).abs() < 1e-12, "{cold}");
        let mut computing = worked(1_000_000, 100.0);
        computing.had.user_ns = 350_000;
        assert!((computing.cold(None, &PRICES) - cold / 2.0).abs() < 1e-12);
        // A thread that does nothing else than to call has no time of its own.
        assert_eq!(worked(300_000, 100.0).cold(None, &PRICES), 0.0);
    }

    #[test]
    fn how_late_hits_came_is_taken_from_the_count_where_there_is_one() {
        let mut thread = worked(1_000_000, 100.0);
        assert_eq!(thread.cold(Some(0.25), &PRICES), 0.25);
        // Of 700 µs of its own, it computed for 350 µs.
        thread.had.user_ns = 350_000;
        assert_eq!(thread.cold(Some(0.25), &PRICES), 0.125);
    }

    #[test]
    fn what_our_programs_run_is_work_in_the_kernel_too() {
        let with = |program_ns| worked(1_000_000, 100.0).cold(Some(0.5), &Prices { program_ns, ..PRICES });
        assert_eq!((with(0.0), with(COOLING_NS as f64 / 2.0), with(1e6)), (0.5, 0.75, 1.0));
    }

    #[test]
    fn a_thread_that_computes_does_not_pay_for_what_another_finds_cold() {
        let at = |cold| Prices { call_ns: 2_000.0 + cold * 800.0, look_ns: 1_000.0 + cold * 400.0, ..PRICES };
        let talks = Worked { tid: 1, ..worked(1_000_000, 100.0) };
        let mut computes = Worked { tid: 2, ..talks };
        computes.had.user_ns = 700_000;
        let mut billed = Billed::default();
        assert_eq!(billed.cold(), 0.0);
        let late = HashMap::from([(1, 0.75), (2, 0.75)]);
        let spent = billed.add(&[talks, computes], &late, at);
        let ours: Vec<f64> = spent.iter().map(|spent| spent.ours_ns).collect();
        assert_eq!(ours, [300_000.0 + 0.75 * 120_000.0, 300_000.0]);
        assert_eq!(billed.cold(), 0.375, "of the hits of both");
        // A thread that was not counted is judged by how far apart its hits are.
        let new = Worked { tid: 3, ..talks };
        let spent = billed.add(&[new], &late, at);
        let ours_ns = 300_000.0 + new.cold(None, &PRICES) * 120_000.0;
        assert!((spent[0].ours_ns - ours_ns).abs() < 1e-6, "{spent:?}");
    }

    #[test]
    fn hits_that_are_far_apart_are_late() {
        assert!(late_at_random(1e9, 10.0) > 0.99);
        assert!(late_at_random(1e9, 20_000_000.0) < 0.04);
        // A gap of 1.5 µs on average: what lies beyond does not count.
        assert!((late_at_random(1.5e9, 1_000_000.0) - (1.0 - (-1f64).exp())).abs() < 1e-12);
        assert_eq!(late_at_random(0.0, 5.0), 0.0);
        assert_eq!(late_at_random(1e9, 0.0), 1.0);
    }
}

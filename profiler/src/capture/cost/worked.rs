//! What a thread did for a while, and what that cost it.

use profiler_common::rate::COOLING_NS;

use super::{
    prices::{Prices, kernel_share},
    spending::Spent,
    threads::Had,
};

/// What a thread had for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worked {
    pub(super) tid: u32,
    pub(super) had: Had,
    pub(super) allocs: f64,
    pub(super) frees: f64,
}

impl Worked {
    /// What the probes took of it.
    pub(super) fn spent(&self, prices: &Prices) -> Spent {
        Spent {
            tid: self.tid,
            busy_ns: self.had.busy_ns as f64,
            ours_ns: self.allocs * prices.alloc_ns + self.frees * prices.free_ns,
            waited_ns: self.had.waited_ns as f64,
        }
    }
}

/// The share of hits that find the caches cold, from how far apart they are on average, and how much of the time between
/// them is spent in the kernel. `warm`: prices of those that do
/// not.
pub(super) fn cold_among(threads: &[Worked], warm: &Prices) -> f64 {
    let own = |thread: &Worked| {
        let spent = thread.spent(warm);
        (spent.busy_ns - spent.ours_ns).max(0.0)
    };
    let hits: f64 = threads.iter().map(|thread| thread.allocs + thread.frees).sum();
    let own: f64 = threads.iter().map(own).sum();
    let user: f64 = threads.iter().map(|thread| thread.had.user_ns as f64).sum();
    late_at_random(own, hits) * kernel_share(own, user)
}

/// How late hits are on average, from 0 to 1 as [`COOLING_NS`] has it, if they come at random in `own_ns` of the
/// thread's own processor time. For where the gaps were not counted.
fn late_at_random(own_ns: f64, hits: f64) -> f64 {
    if own_ns <= 0.0 {
        return 0.0;
    }
    // The mean of an exponentially distributed gap of which no more counts than makes a hit cold.
    let cooled = COOLING_NS as f64 * hits / own_ns;
    if cooled > 0.0 { -(-cooled).exp_m1() / cooled } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices { alloc_ns: 2_000.0, free_ns: 1_000.0, trap_ns: 500.0 };

    fn worked(busy_ns: u64, pairs: f64) -> Worked {
        Worked { tid: 7, had: Had { busy_ns, waited_ns: 5, user_ns: 0 }, allocs: pairs, frees: pairs }
    }

    #[test]
    fn what_a_thread_spent_is_what_its_hits_cost() {
        let spent = worked(1_000_000, 100.0).spent(&PRICES);
        assert_eq!(spent, Spent { tid: 7, busy_ns: 1e6, ours_ns: 300_000.0, waited_ns: 5.0 });
    }

    #[test]
    fn hits_are_cold_where_the_time_between_them_is_long() {
        // 700 µs of its own for 200 hits: 3.5 µs before each.
        let cold = cold_among(&[worked(1_000_000, 100.0)], &PRICES);
        assert!((cold - (1.0 - (-1.5 / 3.5f64).exp()) * 3.5 / 1.5).abs() < 1e-12, "{cold}");
        let mut computing = worked(1_000_000, 100.0);
        computing.had.user_ns = 350_000;
        assert!((cold_among(&[computing], &PRICES) - cold / 2.0).abs() < 1e-12);
        // A thread that does nothing else than to allocate has no time of its own.
        assert_eq!(cold_among(&[worked(300_000, 100.0)], &PRICES), 0.0);
        assert_eq!(cold_among(&[], &PRICES), 0.0);
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

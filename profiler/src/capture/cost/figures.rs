//! What an observation has cost, for the report.

use std::{os::fd::BorrowedFd, time::Duration};

use super::{
    CostMeter, SECOND,
    ourselves::{map_bytes, own_cpu, own_peak_bytes},
    prices::{Prices, Traps},
    spending::ENDED,
};
use crate::report::{Cost, THREADS_THAT_ENDED};

impl CostMeter {
    /// Whether all prices that were used were measured here.
    fn is_calibrated(&self, traps: Traps) -> bool {
        (traps.calibrated || self.hits.all() == 0) && self.bills.measured
    }

    /// The figures. `hits` is the total of all probes.
    pub(crate) fn cost<'a>(
        &mut self,
        length: Duration,
        hits: u64,
        maps: impl Iterator<Item = BorrowedFd<'a>>,
    ) -> Cost {
        let seconds = length.as_secs_f64();
        let per_second = |n: f64| (seconds > 0.0).then(|| n / seconds);
        let traps = self.traps(false);
        let measured = self.measured.times();
        let cold = self.billed.cold();
        let prices = Prices::of(self.hits, &traps, cold, &measured, &self.guess);
        // In less than a second, what a thread loses is a matter of chance.
        let is_long = length >= SECOND;
        let mean = self.spending.mean().filter(|_| is_long);
        Cost {
            hits,
            hits_per_s: per_second(hits as f64),
            busiest_thread_share: mean.map(|mean| mean.price.of_busy),
            worst_second_share: self.spending.worst().filter(|_| is_long),
            taken_share: mean.map(|mean| mean.price.of_all),
            busiest_thread: mean.and_then(|mean| match mean.tid {
                ENDED => Some(THREADS_THAT_ENDED.into()),
                tid => self.names.get(&tid).cloned(),
            }),
            predicted_share: self.predicted,
            bpf_ns_per_hit: measured.all().mean_ns(),
            trap_ns_per_hit: (self.hits.all() > 0).then_some(prices.trap_ns),
            cold_share: (self.hits.all() > 0).then_some(cold),
            call_ns: self.bills.each_ns(),
            calibrated: self.is_calibrated(traps),
            own_cpu_share: per_second((own_cpu().saturating_sub(self.own_cpu_before)).as_secs_f64())
                .filter(|_| is_long),
            own_memory_bytes: own_peak_bytes(),
            map_memory_bytes: maps.map(map_bytes).sum(),
            attach_ns: self.attach.as_nanos() as u64,
            count_ns: self.counted.map(|took| took.as_nanos() as u64),
            detach_ns: self.detach.map(|d| d.as_nanos() as u64),
        }
    }
}

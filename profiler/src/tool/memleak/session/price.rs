//! What the observation costs while it runs, and the guard that ends it.

use profiler_common::ledger::Counter;

use super::{
    super::{admission::percentage, totals},
    Event, Session,
};
use crate::{
    capture::cost::{Reading, prices::Hits},
    error::Result,
    units,
};

/// Seconds after which the user is told what it costs.
const TELL_AFTER: u64 = 2;

impl Session<'_> {
    /// What was counted so far.
    pub(super) fn cost_reading(&self) -> Result<Reading> {
        let counters = totals::counters(&self.object)?;
        let of = |counter: Counter| counters[counter as usize];
        let hits = Hits {
            entries: of(Counter::EntryHits),
            returns: of(Counter::ReturnHits),
            frees: of(Counter::FreeHits),
            stepped: of(Counter::SingleStepped),
        };
        // Where pids are those of another namespace, their threads are not to be found.
        let threads = if self.in_initial_namespace { totals::thread_hits(&self.object)? } else { Vec::new() };
        Ok(Reading { threads, hits, measured: self.attacher.run_times() })
    }

    /// Adds up what threads pay, once a second, and says it after two. True if it is more than they may.
    pub(super) fn watch_cost(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<bool> {
        if !self.cost.look() {
            return Ok(false);
        }
        let reading = self.cost_reading()?;
        self.cost.add(reading);
        if !self.cost_told && self.began.elapsed().as_secs() >= TELL_AFTER {
            self.cost_told = true;
            tell(Event::Notice(&self.cost_line()));
        }
        let Some(limit) = self.options.max_cost else { return Ok(false) };
        let of_thread = || {
            let over = self.cost.over(limit, self.guard_seconds)?;
            Some((self.cost.thread(over.tid), "its time", over.price.of_all))
        };
        let of_all = || {
            let share = self.cost.all_over(limit, self.guard_seconds)?;
            Some(("all threads together".to_owned(), "what this machine's processors can do", share))
        };
        let Some((who, what, share)) = of_thread().or_else(of_all) else { return Ok(false) };
        tell(Event::Notice(&format!(
            "stopped by the safety guard: {who} lost ~{} of {what} to the probes, more than --max-cost {}; --max-cost off \
             observes it anyway",
            units::percent(share),
            percentage(limit)
        )));
        Ok(true)
    }

    /// What it costs, in a line for people.
    fn cost_line(&self) -> String {
        let rate = format!("{} hits/s", units::count(self.cost.hits_per_s()));
        match self.cost.now() {
            Some(now) => format!(
                "cost in the first seconds: ~{} of the busy time of {}, {} of all its time; {rate}",
                units::percent(now.price.of_busy),
                self.cost.thread(now.tid),
                units::percent(now.price.of_all)
            ),
            None => format!("cost in the first seconds: no thread runs long enough to say, {rate}"),
        }
    }
}

//! What the observation costs while it runs, and the guard that stops it.

use std::collections::BTreeSet;

use super::run::{Event, Run};
use crate::{
    capture::cost::{
        Reading,
        prices::{Hits, Traps},
    },
    error::Result,
    units,
};

/// Seconds after which a notice says what the observation costs.
const TELL_AFTER: u64 = 2;

impl Run<'_> {
    /// The counts so far, of all tools.
    pub(super) fn cost_reading(&self) -> Result<Reading> {
        // In another pid namespace, the threads of our pids cannot be found.
        let with_threads = self.on.in_initial_namespace;
        let mut all = Reading::default();
        for tool in &self.tools {
            all.add(tool.reading(with_threads)?);
        }
        Ok(all)
    }

    /// Adds up the cost of threads once a second, and reports it after two. True if it is over the limit.
    pub(super) fn watch_cost(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<bool> {
        if !self.on.cost.look() {
            return Ok(false);
        }
        let reading = self.cost_reading();
        let Some(reading) = self.failures.cost.forgive(reading)? else { return Ok(false) };
        let hits = reading.hits;
        let has_price = self.tools.iter().any(|tool| tool.about().has_uprobes) || !reading.priced.is_empty();
        self.on.cost.add(reading);
        if has_price && !self.cost_told && self.on.began.elapsed().as_secs() >= TELL_AFTER {
            self.cost_told = true;
            tell(Event::Notice(&self.cost_line()));
            let stepped = self
                .on
                .spaces
                .iter()
                .flat_map(|space| self.tools.iter().flat_map(|tool| tool.probed(space.number)));
            let stepped = stepped.filter(|probed| !probed.emulated);
            let names: BTreeSet<String> = stepped.map(|probed| probed.function.terminal()).collect();
            if let Some(words) = stepped_words(&names, &hits, &self.on.cost.traps(false)) {
                tell(Event::Notice(&words));
            }
        }
        let Some(limit) = self.on.settings.max_cost else { return Ok(false) };
        let of_thread = || {
            let over = self.on.cost.over(limit, self.guard_seconds)?;
            Some((self.on.cost.thread(over.tid), "its time", over.price.of_all))
        };
        let of_all = || {
            let share = self.on.cost.all_over(limit, self.guard_seconds)?;
            Some(("all threads together".to_owned(), "what this machine's processors can do", share))
        };
        let Some((who, what, share)) = of_thread().or_else(of_all) else { return Ok(false) };
        tell(Event::Notice(&format!(
            "stopped by the safety guard: {who} lost ~{} of {what} to the probes, more than --max-cost {}; --max-cost off \
             observes it anyway",
            units::percent(share),
            units::percentage(limit)
        )));
        Ok(true)
    }

    /// The cost, in a line for people.
    fn cost_line(&self) -> String {
        let rate = format!("{} hits/s", units::count(self.on.cost.hits_per_s()));
        match self.on.cost.now() {
            Some(now) => format!(
                "cost in the first seconds: ~{} of the busy time of {}, {} of all its time; {rate}",
                units::percent(now.price.of_busy),
                self.on.cost.thread(now.tid),
                units::percent(now.price.of_all)
            ),
            None => format!("cost in the first seconds: no thread runs long enough to say, {rate}"),
        }
    }
}

/// Single-stepped probes matter if they get at least this share of the calls.
const MATTERS: f64 = 0.01;
/// How many functions are named.
const NAMED: usize = 3;

/// A sentence on functions whose probed instruction is single-stepped, given their names; nothing if they are hardly called.
fn stepped_words(names: &BTreeSet<String>, hits: &Hits, traps: &Traps) -> Option<String> {
    let share = hits.stepped as f64 / (hits.entries + hits.looks).max(1) as f64;
    if share < MATTERS || names.is_empty() {
        return None;
    }
    let mut who: Vec<String> = names.iter().take(NAMED).cloned().collect();
    let more = names.len() - who.len();
    if more > 0 {
        who.push(format!("{more} more"));
    }
    Some(format!(
        "{} of the calls cost ~{} each instead of ~{}: the kernel has to single-step the probed instruction {}",
        units::percent(share),
        units::nanos(traps.stepped_ns),
        units::nanos(traps.entry_ns),
        // Calls are not counted by function.
        if names.len() == 1 {
            format!("of {}", who.join(", "))
        } else {
            format!("of one or more of {}", who.join(", "))
        }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_stepping_is_reported_where_it_is_frequent() {
        let said = |names: &[&str], stepped| {
            let hits = Hits { entries: 700, returns: 700, looks: 300, stepped };
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            stepped_words(&names, &hits, &Traps::ASSUMED)
        };
        assert_eq!((said(&["reallocarray"], 9), said(&[], 500)), (None, None));
        assert_eq!(
            said(&["free"], 300).as_deref(),
            Some(
                "30.0 % of the calls cost ~9.5 us each instead of ~500 ns: the kernel has to single-step the probed \
                 instruction of free"
            )
        );
        let many = said(&["a", "b", "c", "d", "e"], 10).expect("a hundredth");
        assert!(many.ends_with("instruction of one or more of a, b, c, 2 more"), "{many}");
        assert_eq!(stepped_words(&BTreeSet::from(["f".to_owned()]), &Hits::default(), &Traps::ASSUMED), None);
    }
}

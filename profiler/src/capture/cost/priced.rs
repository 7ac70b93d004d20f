//! Hits of tools that know the cost of each.

use std::collections::{BTreeSet, HashMap};

/// The cost of a tool's hits so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Priced {
    /// By thread, for those that have not ended.
    pub(crate) threads: Vec<Paid>,
    /// Of all that have ended.
    pub(crate) ended: Paid,
    /// The processes of these threads.
    pub(crate) processes: BTreeSet<u32>,
    /// Hits of all its programs so far, as its part of the report has them.
    pub(crate) hits: u64,
    /// Whether the cost of a hit was measured on this machine.
    pub(crate) measured: bool,
}

/// What a thread has paid so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Paid {
    /// Number of its address space: after an exec a thread begins anew, with the same id.
    pub(crate) space: u16,
    pub(crate) tid: u32,
    /// Hits that have a price.
    pub(crate) hits: u64,
    /// What they took, in nanoseconds.
    pub(crate) ns: f64,
}

impl Paid {
    fn and(self, more: Paid) -> Paid {
        Paid { hits: self.hits + more.hits, ns: self.ns + more.ns, ..self }
    }

    fn without(self, less: Paid) -> Paid {
        Paid { hits: self.hits.saturating_sub(less.hits), ns: (self.ns - less.ns).max(0.0), ..self }
    }
}

/// What came since the last look.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Took {
    /// Nanoseconds by thread, for those that paid.
    pub(super) threads: HashMap<u32, f64>,
    /// The same for threads that have ended.
    pub(super) ended_ns: f64,
}

/// What was paid, by tool.
#[derive(Debug)]
pub(super) struct Bills {
    /// What each thread had paid at the last look, by tool, address space and thread.
    before: HashMap<(usize, u16, u32), Paid>,
    /// What threads that have ended since had paid by then, by tool: they are billed for the rest.
    ended: Vec<Paid>,
    /// Hits of all programs so far, by tool.
    all_hits: Vec<u64>,
    /// Hits that were billed, and their cost.
    hits: u64,
    ns: f64,
    /// Whether all prices were measured here.
    pub(super) measured: bool,
}

impl Default for Bills {
    fn default() -> Bills {
        Bills {
            before: HashMap::new(),
            ended: Vec::new(),
            all_hits: Vec::new(),
            hits: 0,
            ns: 0.0,
            measured: true,
        }
    }
}

impl Bills {
    /// Adds the cost since the last look.
    pub(super) fn add(&mut self, priced: Vec<Priced>) -> Took {
        let mut took = Took::default();
        let mut now = HashMap::new();
        self.all_hits.clear();
        for (tool, Priced { threads, ended, hits, measured, .. }) in priced.into_iter().enumerate() {
            self.measured &= measured;
            self.all_hits.push(hits);
            for paid in threads {
                let key = (tool, paid.space, paid.tid);
                // If the earlier number is higher, the thread id was reused.
                let is_same = self.before.get(&key).is_some_and(|before| before.hits <= paid.hits);
                let before = if is_same { self.before.remove(&key) } else { None };
                now.insert(key, paid);
                let new = paid.without(before.unwrap_or_default());
                if new.hits > 0 {
                    *took.threads.entry(paid.tid).or_default() += self.bill(new);
                }
            }
            took.ended_ns += self.add_ended(tool, ended);
        }
        self.before = now;
        took
    }

    /// Bills those that have ended for what they have not paid. The others have been taken out of `before`.
    fn add_ended(&mut self, tool: usize, ended: Paid) -> f64 {
        let gone = self.before.iter().filter(|((of, ..), _)| *of == tool).map(|(_, paid)| *paid);
        let paid = gone.fold(self.ended.get(tool).copied().unwrap_or_default(), Paid::and);
        let new = ended.without(paid);
        self.ended.resize(self.ended.len().max(tool + 1), Paid::default());
        // If a thread ends between two of our reads, it may be missing among the ended: it is there at the next look.
        self.ended[tool] = paid.and(new);
        self.bill(new)
    }

    fn bill(&mut self, new: Paid) -> f64 {
        self.hits += new.hits;
        self.ns += new.ns;
        new.ns
    }

    /// Hits of all programs so far.
    pub(super) fn all_hits(&self) -> u64 {
        self.all_hits.iter().sum()
    }

    /// The mean cost of a hit, in nanoseconds; `None` without hits.
    pub(super) fn each_ns(&self) -> Option<f64> {
        (self.hits > 0).then(|| self.ns / self.hits as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(threads: &[(u32, f64)]) -> Took {
        Took { threads: threads.iter().copied().collect(), ended_ns: 0.0 }
    }

    fn priced(threads: &[(u16, u32, u64)]) -> Vec<Priced> {
        with_ended(threads, 0)
    }

    fn with_ended(threads: &[(u16, u32, u64)], ended: u64) -> Vec<Priced> {
        let paid = |(space, tid, hits): &(u16, u32, u64)| Paid {
            space: *space,
            tid: *tid,
            hits: *hits,
            ns: *hits as f64 * 400.0,
        };
        let hits = threads.iter().map(|(.., hits)| 2 * hits).sum();
        vec![Priced {
            threads: threads.iter().map(paid).collect(),
            ended: paid(&(0, 0, ended)),
            hits,
            measured: true,
            ..Priced::default()
        }]
    }

    #[test]
    fn a_thread_pays_for_what_came_since_the_last_look() {
        let mut bills = Bills::default();
        assert_eq!(bills.add(priced(&[(0, 7, 10), (0, 8, 0)])), took(&[(7, 4_000.0)]));
        assert_eq!(bills.add(priced(&[(0, 7, 15), (0, 8, 1)])), took(&[(7, 2_000.0), (8, 400.0)]));
        assert_eq!(bills.add(priced(&[(0, 7, 15)])), took(&[]));
        assert_eq!((bills.all_hits(), bills.each_ns()), (30, Some(400.0)));
    }

    #[test]
    fn after_an_exec_a_thread_pays_for_its_new_calls_only() {
        let mut bills = Bills::default();
        bills.add(priced(&[(0, 7, 2_000_000)]));
        // Its record in the old address space is closed, and another one continues under the same id.
        for calls in [5, 8] {
            let new = bills.add(with_ended(&[(1, 7, calls)], 2_000_000));
            assert_eq!(new, took(&[(7, if calls == 5 { 2_000.0 } else { 1_200.0 })]));
        }
        // Another thread of the same program has got the id.
        assert_eq!(bills.add(with_ended(&[(1, 7, 3)], 2_000_008)), took(&[(7, 1_200.0)]));
    }

    #[test]
    fn threads_that_have_ended_pay_for_what_they_had_not_paid() {
        let mut bills = Bills::default();
        bills.add(priced(&[(0, 7, 10)]));
        // It made five more; two others began and ended since, with 20 each.
        let new = bills.add(with_ended(&[], 55));
        assert_eq!(new, Took { ended_ns: 45.0 * 400.0, ..Took::default() });
        assert_eq!(bills.add(with_ended(&[(0, 8, 10)], 55)), took(&[(8, 4_000.0)]));
        // It is no longer among the living, and not yet among the ended.
        assert_eq!(bills.add(with_ended(&[], 55)), took(&[]));
        assert_eq!(bills.add(with_ended(&[], 68)), Took { ended_ns: 3.0 * 400.0, ..Took::default() });
    }

    #[test]
    fn tools_bill_apart() {
        let mut bills = Bills::default();
        let two = |calls| [priced(&[(0, 7, calls)]), priced(&[(0, 7, 1)])].concat();
        assert_eq!(bills.add(two(10)), took(&[(7, 4_400.0)]));
        assert_eq!(bills.add(two(11)), took(&[(7, 400.0)]));
        assert_eq!(bills.all_hits(), 24);
    }
}

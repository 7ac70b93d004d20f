//! Hits of tools that know what each takes.

use std::collections::HashMap;

/// What the hits of a tool took so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Priced {
    /// By thread, of those that have not ended.
    pub(crate) threads: Vec<Paid>,
    /// Hits of all its programs so far, as its part of the report has them.
    pub(crate) hits: u64,
    /// Whether what one takes was measured on this machine.
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

/// What was paid, by tool.
#[derive(Debug)]
pub(super) struct Bills {
    /// What each thread had paid when it was last looked at, by tool, address space and thread.
    before: HashMap<(usize, u16, u32), Paid>,
    /// Hits of all programs so far, by tool.
    all_hits: Vec<u64>,
    /// Hits that were billed, and what they took.
    hits: u64,
    ns: f64,
    /// Whether all prices were measured here.
    pub(super) measured: bool,
}

impl Default for Bills {
    fn default() -> Bills {
        Bills { before: HashMap::new(), all_hits: Vec::new(), hits: 0, ns: 0.0, measured: true }
    }
}

impl Bills {
    /// Adds what came since the last look. Nanoseconds by thread, of those that paid.
    pub(super) fn add(&mut self, priced: Vec<Priced>) -> HashMap<u32, f64> {
        let mut took: HashMap<u32, f64> = HashMap::new();
        let mut now = HashMap::new();
        self.all_hits.clear();
        for (tool, Priced { threads, hits, measured }) in priced.into_iter().enumerate() {
            self.measured &= measured;
            self.all_hits.push(hits);
            for paid in threads {
                let key = (tool, paid.space, paid.tid);
                // If the earlier number is higher, another thread has the id by now.
                let before = self.before.get(&key).filter(|before| before.hits <= paid.hits).copied();
                let before = before.unwrap_or_default();
                now.insert(key, paid);
                if paid.hits > before.hits {
                    let ns = (paid.ns - before.ns).max(0.0);
                    self.hits += paid.hits - before.hits;
                    self.ns += ns;
                    *took.entry(paid.tid).or_default() += ns;
                }
            }
        }
        self.before = now;
        took
    }

    /// Hits of all programs so far.
    pub(super) fn all_hits(&self) -> u64 {
        self.all_hits.iter().sum()
    }

    /// What a hit took in the mean, in nanoseconds; `None` without one.
    pub(super) fn each_ns(&self) -> Option<f64> {
        (self.hits > 0).then(|| self.ns / self.hits as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priced(threads: &[(u16, u32, u64)]) -> Vec<Priced> {
        let paid = |(space, tid, hits): &(u16, u32, u64)| Paid {
            space: *space,
            tid: *tid,
            hits: *hits,
            ns: *hits as f64 * 400.0,
        };
        let hits = threads.iter().map(|(.., hits)| 2 * hits).sum();
        vec![Priced { threads: threads.iter().map(paid).collect(), hits, measured: true }]
    }

    #[test]
    fn a_thread_pays_for_what_came_since_the_last_look() {
        let mut bills = Bills::default();
        assert_eq!(bills.add(priced(&[(0, 7, 10), (0, 8, 0)])), [(7, 4_000.0)].into());
        assert_eq!(bills.add(priced(&[(0, 7, 15), (0, 8, 1)])), [(7, 2_000.0), (8, 400.0)].into());
        assert_eq!(bills.add(priced(&[(0, 7, 15)])), [].into());
        assert_eq!((bills.all_hits(), bills.each_ns()), (30, Some(400.0)));
    }

    #[test]
    fn after_an_exec_a_thread_pays_for_its_new_calls_only() {
        let mut bills = Bills::default();
        bills.add(priced(&[(0, 7, 2_000_000)]));
        // Its record in the old address space is closed, and another goes on under the same id.
        for calls in [5, 8] {
            let took = bills.add(priced(&[(1, 7, calls)]));
            assert_eq!(took, [(7, if calls == 5 { 2_000.0 } else { 1_200.0 })].into());
        }
        // Another thread of the same program has the id.
        assert_eq!(bills.add(priced(&[(1, 7, 3)])), [(7, 1_200.0)].into());
    }

    #[test]
    fn tools_bill_apart() {
        let mut bills = Bills::default();
        let two = |calls| [priced(&[(0, 7, calls)]), priced(&[(0, 7, 1)])].concat();
        assert_eq!(bills.add(two(10)), [(7, 4_400.0)].into());
        assert_eq!(bills.add(two(11)), [(7, 400.0)].into());
        assert_eq!(bills.all_hits(), 24);
    }
}

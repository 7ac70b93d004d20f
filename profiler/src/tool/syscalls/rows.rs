//! Turns cells of the kernel side into numbers per thread and call. Wire types end here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use profiler_common::{
    histogram::BUCKETS,
    syscalls::{Cell, HAS_ENDED, IN_CALL, Suspended, Thread},
};

use super::counted::Counted;
use crate::{stats::Histogram, text::Text};

/// A thread of an address space, or several threads of one name: those that had no cells of their own, and those that have ended
/// and gave theirs back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Who {
    pub(super) space: u16,
    pub(super) tid: u32,
}

/// Bit that no thread id has. It marks the number of a name.
pub(super) const SEVERAL: u32 = 1 << 31;

impl Who {
    /// Whether it stands for several threads.
    pub(super) fn is_several(self) -> bool {
        self.tid & SEVERAL != 0
    }
}

/// What is known of the calls of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    /// Calls that began and returned.
    pub(super) returned: u64,
    /// Time in them, in nanoseconds.
    pub(super) total_ns: u64,
    pub(super) max_ns: u64,
    /// Sum of their results, for calls that return a number of bytes or of things.
    pub(super) results: u64,
    /// Calls that returned 0.
    pub(super) zeros: u64,
    /// Calls that ended since the previous report, and the time in them.
    pub(super) recent: (u64, u64),
    /// Calls that ended with their thread.
    pub(super) ended: u64,
    /// Calls in progress at the start that have returned.
    pub(super) under_way: u64,
    /// Calls that were refused before they began.
    pub(super) refused: u64,
    /// By error number.
    pub(super) errors: BTreeMap<u64, u64>,
    /// Calls by duration.
    pub(super) counts: Vec<u64>,
    /// Calls in progress now: how many, and how long the longest has taken; `None` for the latter if it began before the start.
    pub(super) now: Option<(u64, Option<u64>)>,
}

impl Sum {
    /// All calls that have ended.
    pub(super) fn calls(&self) -> u64 {
        self.returned + self.ended + self.under_way + self.refused
    }

    /// Calls that failed.
    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(super) fn histogram(&self) -> Histogram {
        Histogram::from_kernel(&self.counts, self.total_ns, self.max_ns)
    }

    pub(super) fn add(&mut self, other: &Sum) {
        self.returned += other.returned;
        self.total_ns += other.total_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.results += other.results;
        self.zeros += other.zeros;
        self.recent = (self.recent.0 + other.recent.0, self.recent.1 + other.recent.1);
        self.ended += other.ended;
        self.under_way += other.under_way;
        self.refused += other.refused;
        for (error, count) in &other.errors {
            *self.errors.entry(*error).or_default() += count;
        }
        self.counts.resize(BUCKETS, 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum += more);
        if let Some((calls, longest)) = other.now {
            self.note_now(calls, longest);
        }
    }

    /// Adds calls in progress, the longest of which has taken so long; `None` if it began before the start.
    pub(super) fn note_now(&mut self, calls: u64, longest: Option<u64>) {
        self.now = Some(match self.now {
            None => (calls, longest),
            Some((before, known)) => (before + calls, known.zip(longest).map(|(a, b)| a.max(b))),
        });
    }

    fn of(cell: &Cell) -> Sum {
        let errors =
            cell.errors.iter().zip(&cell.error_counts).filter(|(error, count)| **error != 0 && **count != 0);
        Sum {
            returned: cell.count,
            total_ns: cell.total_ns,
            max_ns: cell.max_ns,
            results: cell.results,
            zeros: cell.zeros,
            recent: (0, 0),
            ended: cell.ended,
            under_way: cell.under_way,
            refused: cell.refused,
            errors: errors.map(|(error, count)| (*error, *count)).collect(),
            counts: cell.histogram.to_vec(),
            now: None,
        }
    }
}

/// Everything by thread and call.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) by: BTreeMap<(Who, u64), Sum>,
    /// The last name of each thread.
    pub(super) names: HashMap<Who, Text>,
    /// Threads that were still alive.
    pub(super) alive: Vec<Who>,
    /// Calls of `clock_gettime` for clocks that no vDSO has, by thread.
    pub(super) kernel_clocks: BTreeMap<Who, u64>,
}

impl Rows {
    /// The address spaces in which a call returned.
    pub(super) fn calling(&self) -> BTreeSet<u16> {
        self.by.iter().filter(|(_, sum)| sum.calls() > 0).map(|((who, _), _)| who.space).collect()
    }

    /// `now_ns` is on the monotonic clock.
    pub(super) fn of(counted: &Counted, now_ns: u64) -> Rows {
        let mut rows = Rows::default();
        let mut of_name = HashMap::new();
        let mut several = |space: u32, comm: [u64; 2]| {
            let number = of_name.len() as u32;
            Who { space: space as u16, tid: SEVERAL | *of_name.entry(comm).or_insert(number) }
        };
        for cell in &counted.cells {
            let who = match cell.tid {
                0 => several(cell.space, cell.comm),
                tid => Who { space: cell.space as u16, tid },
            };
            rows.by.entry((who, cell.call)).or_default().add(&Sum::of(cell));
            rows.name(who, cell.comm);
        }
        for (key, count) in &counted.errors {
            let mut who = Who { space: key.space as u16, tid: key.tid };
            // If a thread has given its cells back, these calls are in the row of its name.
            if key.tid == 0 || !rows.by.contains_key(&(who, key.call)) {
                who = several(key.space, key.comm);
                rows.name(who, key.comm);
            }
            *rows.by.entry((who, key.call)).or_default().errors.entry(key.error).or_default() += count;
        }
        for thread in counted.threads.iter().filter(|thread| thread.tid != 0) {
            let who = Who { space: thread.space as u16, tid: thread.tid };
            rows.name(who, thread.comm);
            rows.kernel_clocks.insert(who, thread.kernel_clocks);
            if thread.state & HAS_ENDED == 0 {
                rows.alive.push(who);
            }
            for (call, start_ns) in under_way(thread) {
                // Calls that began after the end do not belong to the report.
                if start_ns <= now_ns {
                    let longest = (start_ns != 0).then(|| now_ns - start_ns);
                    rows.by.entry((who, call)).or_default().note_now(1, longest);
                }
            }
        }
        rows
    }

    /// Takes the present names of living threads: a thread is often seen before it sets its name.
    pub(super) fn rename(&mut self, of: impl Fn(Who) -> Option<Text>) {
        for who in &self.alive {
            if let Some(now) = of(*who) {
                self.names.insert(*who, now);
            }
        }
    }

    fn name(&mut self, who: Who, comm: [u64; 2]) {
        if who.tid != 0 && comm != [0; 2] {
            self.names.insert(who, self::comm(comm));
        }
    }

    /// Keeps only threads whose name matches.
    pub(super) fn keep(&mut self, fits: impl Fn(&Text) -> bool) {
        self.names.retain(|_, name| fits(name));
        let names = &self.names;
        self.by.retain(|(who, _), _| names.contains_key(who));
    }

    /// Adds up what has the same key.
    pub(super) fn sums<K: Ord>(&self, key: impl Fn(Who, u64) -> K) -> BTreeMap<K, Sum> {
        let mut sums: BTreeMap<K, Sum> = BTreeMap::new();
        for ((who, call), sum) in &self.by {
            sums.entry(key(*who, *call)).or_default().add(sum);
        }
        sums
    }
}

/// The name of a thread, as the kernel has it.
pub(super) fn comm(comm: [u64; 2]) -> Text {
    let bytes: Vec<u8> =
        comm.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    Text::from(bytes.as_slice())
}

/// The calls that a thread is in, with the times at which they began: its current one, and those that are suspended by a signal
/// handler or wait to be restarted.
fn under_way(thread: &Thread) -> impl Iterator<Item = (u64, u64)> {
    let alive = thread.state & HAS_ENDED == 0;
    let own = (alive && thread.state & IN_CALL != 0).then_some((thread.call, thread.start_ns));
    let suspended = thread.suspended.iter().take(if alive { thread.depth as usize } else { 0 });
    // One that has neither a call nor a time was in progress at the start, and is not known.
    let known = |call: &&Suspended| (call.call, call.start_ns) != (0, 0);
    own.into_iter().chain(suspended.filter(known).map(|call| (call.call, call.start_ns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> Thread {
        // SAFETY: any bytes are valid for a wire type.
        let mut thread: Thread = unsafe { std::mem::zeroed() };
        (thread.tid, thread.state, thread.call, thread.start_ns) = (7, IN_CALL, 232, 50);
        thread
    }

    /// Calls in progress, and how long each has taken.
    fn now(threads: &[Thread], now_ns: u64) -> Vec<(u64, u64)> {
        let counted = Counted {
            cells: Vec::new(),
            threads: threads.to_vec(),
            errors: Vec::new(),
            uring: Vec::new(),
            callers: Vec::new(),
            counters: [0; profiler_common::syscalls::Counter::COUNT],
        };
        let rows = Rows::of(&counted, now_ns).by.into_iter();
        rows.map(|((_, call), sum)| (call, sum.now.and_then(|(_, longest)| longest).unwrap_or(0))).collect()
    }

    #[test]
    fn a_stopped_call_is_in_progress_and_one_that_began_after_the_end_is_not() {
        assert_eq!(now(&[thread()], 80), [(232, 30)]);
        assert_eq!(now(&[thread()], 40), []);
        let mut stopped = thread();
        (stopped.state, stopped.depth) = (profiler_common::syscalls::HAS_SUSPENDED, 1);
        (stopped.suspended[0].call, stopped.suspended[0].start_ns) = (7, 20);
        assert_eq!(now(&[stopped], 80), [(7, 60)]);
        let ended = Thread { state: IN_CALL | HAS_ENDED, ..thread() };
        assert_eq!(now(&[ended], 80), []);
    }

    #[test]
    fn a_living_thread_has_its_present_name() {
        let [old, gone] = [1, 2].map(|tid| Who { space: 0, tid });
        let names = [old, gone].map(|who| (who, Text::from("server"))).into();
        let mut rows = Rows { names, alive: vec![old], ..Rows::default() };
        rows.rename(|_| Some(Text::from("worker")));
        assert_eq!([&rows.names[&old], &rows.names[&gone]], [&Text::from("worker"), &Text::from("server")]);
    }

    #[test]
    fn what_began_before_the_start_makes_the_longest_unknown() {
        let mut sum = Sum::default();
        sum.note_now(1, Some(5));
        sum.note_now(1, Some(9));
        assert_eq!(sum.now, Some((2, Some(9))));
        sum.note_now(1, None);
        assert_eq!(sum.now, Some((3, None)));
    }

    #[test]
    fn sums_keep_errors_and_durations_apart() {
        let one = |error, bucket: usize| {
            let mut counts = vec![0; BUCKETS];
            counts[bucket] = 1;
            Sum { returned: 1, total_ns: 4, max_ns: 4, errors: [(error, 1)].into(), counts, ..Sum::default() }
        };
        let mut sum = one(11, 4);
        sum.add(&one(2, 4));
        sum.add(&one(11, 5));
        assert_eq!((sum.calls(), sum.failed()), (3, 3));
        assert_eq!(sum.errors, BTreeMap::from([(2, 1), (11, 2)]));
        assert_eq!(sum.histogram().total(), 3);
    }
}

//! What was counted, by the label of the file and by operation: rows of tables, and what findings are based on.

use std::{cmp::Reverse, collections::BTreeMap};

use super::operations::Operation;
use crate::{
    io_tools::Label,
    observe::io::{Counted, Moment, Samples, Sum},
    report::Value,
    text::Text,
};

/// What was done to one file of one address space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct What {
    pub(super) space: u16,
    pub(super) file: Label,
    pub(super) operation: Operation,
}

/// How often, by which threads, and when it was slow.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) sum: Sum,
    /// By name of thread. Nearly all files are used by one: a list takes far less memory than a map.
    pub(super) threads: Vec<(Text, Sum)>,
    /// Slow operations, the earliest first.
    pub(super) slow: Vec<Moment>,
    /// The stack in which most time was spent, among those that were taken.
    pub(super) stack: Option<u32>,
    /// The number of the file; of one that was made anew under the same name, the first.
    pub(super) number: Option<u32>,
    /// Whether it was made anew, or others have the same name.
    pub(super) is_several: bool,
}

impl Line {
    /// Adds what threads of a name have done, to their own sum alone.
    fn add_to_thread(&mut self, thread: &Text, sum: &Sum) {
        match self.threads.iter_mut().find(|(name, _)| name == thread) {
            Some((_, of_thread)) => of_thread.add(sum),
            None => {
                self.threads.reserve_exact(1);
                self.threads.push((thread.clone(), sum.clone()));
            }
        }
    }

    /// The thread with the most time in it.
    pub(super) fn thread(&self) -> Option<&Text> {
        self.threads.iter().max_by_key(|(_, sum)| (sum.total_ns, sum.count)).map(|(name, _)| name)
    }
}

/// All of them.
pub(super) type Lines = BTreeMap<What, Line>;

/// Puts them together. `label`: the label of a file by its number.
pub(super) fn lines(counted: &Counted, samples: &Samples, label: impl Fn(u32) -> Value) -> Lines {
    let mut labels: BTreeMap<u32, Label> = BTreeMap::new();
    let mut lines = Lines::new();
    let mut stacks: BTreeMap<What, BTreeMap<u32, u64>> = BTreeMap::new();
    let mut what = |space: u16, file: u32, operation: u32| {
        let operation = Operation::of_number(operation)?;
        let file = labels.entry(file).or_insert_with(|| Label::of(label(file))).clone();
        Some(What { space, file, operation })
    };
    for (key, sum) in &counted.sums {
        let Some(what) = what(key.space, key.file, key.operation) else { continue };
        let line = lines.entry(what).or_default();
        line.sum.add(sum);
        line.add_to_thread(&key.thread, sum);
        line.is_several |= *line.number.get_or_insert(key.file) != key.file;
    }
    for ((space, file, operation), moments) in &samples.moments {
        let Some(what) = what(*space, *file, *operation) else { continue };
        if let Some(line) = lines.get_mut(&what) {
            line.slow.extend(moments);
        }
    }
    for (((space, file, operation), stack), (_, total_ns)) in &samples.stacks {
        let Some(what) = what(*space, *file, *operation) else { continue };
        // Files that are made anew under the same name have different numbers.
        *stacks.entry(what).or_default().entry(*stack).or_default() += total_ns;
    }
    for (what, stacks) in stacks {
        if let Some(line) = lines.get_mut(&what) {
            line.stack = stacks.into_iter().max_by_key(|(_, total_ns)| *total_ns).map(|(stack, _)| stack);
        }
    }
    for line in lines.values_mut() {
        line.slow.sort_by_key(|moment| moment.start_ns);
    }
    lines
}

/// Keeps the lines with the most time, and puts all others of one operation together. Returns what there are then, the most time first.
pub(super) fn most(lines: &mut Lines, most: usize) -> Vec<What> {
    let sorted = |lines: &Lines| {
        let mut order: Vec<What> = lines.keys().cloned().collect();
        order.sort_by_key(|what| Reverse(lines.get(what).map(|line| (line.sum.total_ns, line.sum.count))));
        order
    };
    let order = sorted(lines);
    let Some(others) = order.get(most..).filter(|others| !others.is_empty()) else { return order };
    let why = format!("one of the files that took less time than the first {most} rows");
    for what in others {
        let Some(line) = lines.remove(what) else { continue };
        let What { space, operation, .. } = *what;
        let all = lines.entry(What { space, file: Label::Unknown(why.clone()), operation }).or_default();
        all.sum.add(&line.sum);
        line.threads.iter().for_each(|(thread, sum)| all.add_to_thread(thread, sum));
    }
    sorted(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::io::Key;

    /// A temporary file that is made anew each time: a hundred syncs from one place outweigh a longer one from another.
    #[test]
    fn stacks_of_files_of_one_name_count_together() {
        let fsync = Operation::Fsync.number();
        let mut counted = Counted::default();
        let mut samples = Samples::default();
        for file in 1..=100 {
            let key = Key { space: 0, file, operation: fsync, thread: Text::from("save") };
            counted.sums.insert(key, Sum { count: 1, ..Sum::default() });
            samples.stacks.insert(((0, file, fsync), 1), (1, 10));
        }
        samples.stacks.insert(((0, 7, fsync), 2), (1, 15));
        let lines = lines(&counted, &samples, |_| Value::Name(Text::from("/tmp/new")));
        let all: Vec<_> = lines.values().map(|line| (line.stack, line.is_several)).collect();
        assert_eq!(all, [(Some(1), true)]);
    }

    #[test]
    fn what_takes_little_time_is_put_together_and_nothing_is_lost() {
        let mut lines = Lines::new();
        for number in 0..1_000u64 {
            let file = Label::Known(Text::from(format!("file {number}").as_str()));
            let line = lines.entry(What { space: 0, file, operation: Operation::Read }).or_default();
            (line.sum.count, line.sum.total_ns) = (number, number * 1_000);
        }
        let order = most(&mut lines, 10);
        assert_eq!(order.len(), 11);
        assert_eq!(order[1].file, Label::Known(Text::from("file 999")), "behind all others together");
        assert_eq!(lines.values().map(|line| line.sum.count).sum::<u64>(), (0..1_000).sum::<u64>());
        assert_eq!(most(&mut lines, 11), order, "there are no more");
    }
}

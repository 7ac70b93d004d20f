//! What was counted, by the label of the file and by operation: rows of tables, and what findings are based on.

use std::collections::BTreeMap;

use super::operations::Operation;
use crate::{
    observe::io::{Counted, Moment, Samples, Sum},
    report::Value,
    text::Text,
};

/// A file by its label, or why it is not known. Files with one label are one file: one that was renamed and made anew, for example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum File {
    Known(Text),
    Unknown(String),
}

impl File {
    /// From a label.
    pub(super) fn of(value: Value) -> File {
        match value {
            Value::Name(name) => File::Known(name),
            Value::Unknown(why) => File::Unknown(why),
            other => File::Unknown(format!("{other:?}")),
        }
    }

    /// For a table.
    pub(super) fn value(&self) -> Value {
        match self {
            File::Known(name) => Value::Name(name.clone()),
            File::Unknown(why) => Value::Unknown(why.clone()),
        }
    }
}

/// What was done to one file of one address space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct What {
    pub(super) space: u16,
    pub(super) file: File,
    pub(super) operation: Operation,
}

/// How often, by which threads, and when it was slow.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) sum: Sum,
    /// By name of thread.
    pub(super) threads: BTreeMap<Text, Sum>,
    /// Slow operations, the earliest first.
    pub(super) slow: Vec<Moment>,
    /// The stack in which most time was spent, among those that were taken.
    pub(super) stack: Option<u32>,
}

impl Line {
    /// The thread with the most time in it.
    pub(super) fn thread(&self) -> Option<&Text> {
        self.threads.iter().max_by_key(|(_, sum)| (sum.total_ns, sum.count)).map(|(name, _)| name)
    }
}

/// All of them.
pub(super) type Lines = BTreeMap<What, Line>;

/// Puts them together. `label`: the label of a file by its number.
pub(super) fn lines(counted: &Counted, samples: &Samples, label: impl Fn(u32) -> Value) -> Lines {
    let mut labels: BTreeMap<u32, File> = BTreeMap::new();
    let mut lines = Lines::new();
    let mut stacks: BTreeMap<What, (u64, u32)> = BTreeMap::new();
    let mut what = |space: u16, file: u32, operation: u32| {
        let operation = Operation::of_number(operation)?;
        let file = labels.entry(file).or_insert_with(|| File::of(label(file))).clone();
        Some(What { space, file, operation })
    };
    for (key, sum) in &counted.sums {
        let Some(what) = what(key.space, key.file, key.operation) else { continue };
        let line = lines.entry(what).or_default();
        line.sum.add(sum);
        line.threads.entry(key.thread.clone()).or_default().add(sum);
    }
    for ((space, file, operation), moments) in &samples.moments {
        let Some(what) = what(*space, *file, *operation) else { continue };
        if let Some(line) = lines.get_mut(&what) {
            line.slow.extend(moments);
        }
    }
    for (((space, file, operation), stack), (_, total_ns)) in &samples.stacks {
        let Some(what) = what(*space, *file, *operation) else { continue };
        let top = stacks.entry(what).or_insert((*total_ns, *stack));
        *top = (*top).max((*total_ns, *stack));
    }
    for (what, (_, stack)) in stacks {
        if let Some(line) = lines.get_mut(&what) {
            line.stack = Some(stack);
        }
    }
    for line in lines.values_mut() {
        line.slow.sort_by_key(|moment| moment.start_ns);
    }
    lines
}

//! The growth of memory in words, and as a table.

use std::time::Duration;

use super::{Grown, Holder, Use};
use crate::{
    report::{Column, ColumnSpec, Finding, Form, Phrase, Role, Row, Section, Severity, Unit, Value},
    text::Text,
    units,
};

/// Kinds that hold less are left out of the table, in bytes.
const SHOWN_BYTES: u64 = 64 << 10;
/// The unit in which the kernel gives out memory, in bytes: smaller differences are not mentioned.
const PAGE_BYTES: f64 = 4096.0;
/// Kinds that a sentence names.
const MOST_NAMED: usize = 3;

impl Holder {
    /// For the table.
    fn word(&self) -> Value {
        let word = match self {
            Holder::Heap => "heap (brk)",
            Holder::Arena => "arenas of glibc",
            Holder::Allocator => "mapped by an allocator",
            Holder::ThreadStack => "stacks of threads",
            Holder::Stack => "stack of the first thread",
            Holder::Variables => "variables of files",
            Holder::Mapped => "mapped by the target itself",
            Holder::Named(name) => return Value::Name(Text::from(name.as_str())),
        };
        Value::Word(word.to_owned())
    }

    /// For the sentence: what grew, apart from live blocks.
    fn phrase(&self) -> Phrase {
        Phrase::plain(match self {
            Holder::Heap | Holder::Arena | Holder::Allocator => "what the allocator holds beside live blocks",
            Holder::ThreadStack => "stacks of threads",
            Holder::Stack => "the stack of the first thread",
            Holder::Variables => "variables of files",
            Holder::Mapped => "mmap of the target itself",
            Holder::Named(name) => return Phrase::Name(Text::from(name.as_str())),
        })
    }
}

impl Grown {
    /// The unexplained growth of the whole, minus what the row suggests (growth minus followed blocks), in bytes; 0 if too small
    /// to show.
    fn row_discrepancy(&self) -> f64 {
        let followed: f64 = self.uses.iter().map(|of| of.followed.0).sum();
        let growth = self.growth() as f64;
        let beside = self.unexplained() as f64 - (growth - followed).max(0.0);
        if beside.abs() < PAGE_BYTES.max(growth / 100.0) { 0.0 } else { beside }
    }

    fn finding(&self, length: Duration, several: bool, rule: &'static str) -> Finding {
        let bytes = |bytes: u64| units::bytes(bytes as f64);
        let followed: f64 = self.uses.iter().map(|of| of.followed.0).sum();
        let explained = (self.growth() - self.unexplained()).min(followed as u64);
        let mut sentence = vec![Phrase::plain("Memory ")];
        if several {
            sentence.push(Phrase::plain("of "));
            sentence.push(Phrase::Name(self.name.clone()));
            sentence.push(Phrase::plain(format!(" (pid {}) ", self.pid)));
        }
        sentence.push(Phrase::plain(format!(
            "grew by {} in {}, of which allocations that are followed explain {}: ",
            bytes(self.growth()),
            units::duration(length),
            bytes(explained),
        )));
        let mut parts: Vec<(Phrase, u64)> = Vec::new();
        for of in self.uses.iter().filter(|of| of.unexplained() * 20 > self.unexplained()) {
            let phrase = of.holder.phrase();
            match parts.iter_mut().find(|(known, _)| *known == phrase) {
                Some((_, sum)) => *sum += of.unexplained(),
                None => parts.push((phrase, of.unexplained())),
            }
        }
        for (at, (phrase, grown)) in parts.into_iter().take(MOST_NAMED).enumerate() {
            sentence.extend((at > 0).then(|| Phrase::plain(", ")));
            sentence.push(phrase);
            sentence.push(Phrase::plain(format!(" ({})", bytes(grown))));
        }
        sentence.push(Phrase::plain("."));
        let finding = Finding::new(rule, Severity::Limit, sentence);
        self.evidence(finding, length)
    }

    /// Adds the numbers of a target to a finding about its memory.
    pub(crate) fn evidence(&self, finding: Finding, length: Duration) -> Finding {
        finding
            .because("growth_bytes", Unit::Bytes, Value::Exact(self.growth()))
            .because("unexplained_bytes", Unit::Bytes, Value::Exact(self.unexplained()))
            .because("after_bytes", Unit::Bytes, Value::Exact(self.after))
            .because("length_ns", Unit::Nanos, Value::nanos(length))
    }
}

/// The finding that comes before the answer: the target whose memory has the most unexplained growth. `rule` is that of the tool
/// that reports it.
pub(crate) fn finding(grown: &[Grown], length: Duration, rule: &'static str) -> Option<Finding> {
    let most = grown.iter().filter(|grown| grown.matters()).max_by_key(|grown| grown.unexplained())?;
    Some(most.finding(length, grown.len() > 1, rule))
}

/// Memory by target and kind.
pub(crate) fn section(grown: &[Grown]) -> Section {
    const COLUMNS: [ColumnSpec; 6] = [
        ("pid", "Process", Unit::None, Role::Key, true),
        ("kind", "Memory", Unit::None, Role::Key, true),
        ("before_bytes", "At the start", Unit::Bytes, Role::Gauge, true),
        ("after_bytes", "At the end", Unit::Bytes, Role::Gauge, true),
        ("followed_bytes", "Followed", Unit::Bytes, Role::Gauge, true),
        ("unexplained_bytes", "Unexplained growth", Unit::Bytes, Role::Gauge, true),
    ];
    let column = |spec: &ColumnSpec| {
        // Tools may follow only a part of the memory, and estimate the rest.
        let form = if spec.0 == "followed_bytes" { Form::Interval } else { Form::Single };
        Column { shown: spec.0 != "pid" || grown.len() > 1, ..Column::of(spec, form) }
    };
    let columns = COLUMNS.iter().map(column).collect();
    let rows = grown.iter().flat_map(rows).collect();
    let mut section = Section::new("memory", "Memory without a file", columns, rows);
    section.notes = notes(grown);
    // A process that became another program has rows of both.
    section.number_rows();
    section
}

fn rows(grown: &Grown) -> Vec<Row> {
    let row = |kind: Value, before: u64, after: u64, followed: Value, unexplained: Value| {
        let pid = Value::Exact(grown.pid.into());
        let cells = vec![pid, kind, Value::Exact(before), Value::Exact(after), followed, unexplained];
        Row { cells, stacks: Vec::new(), severity: None }
    };
    let bytes = |(value, variance): (f64, f64)| match variance > 0.0 {
        true => {
            let half = 1.96 * variance.sqrt();
            Value::estimate(value, (value - half).max(0.0), Some(value + half))
        }
        false => Value::Exact(value as u64),
    };
    let followed =
        grown.uses.iter().fold((0.0, 0.0), |sum, of| (sum.0 + of.followed.0, sum.1 + of.followed.1));
    let all = Value::Word("all".to_owned());
    let mut rows =
        vec![row(all, grown.before, grown.after, bytes(followed), Value::Exact(grown.unexplained()))];
    let shown = |of: &&Use| of.before.max(of.after) >= SHOWN_BYTES;
    rows.extend(grown.uses.iter().filter(shown).map(|of| {
        row(of.holder.word(), of.before, of.after, bytes(of.followed), Value::Exact(of.unexplained()))
    }));
    if grown.shared.0.max(grown.shared.1) >= SHOWN_BYTES {
        let apart = || Value::Unknown("shared memory is not part of the sum".to_owned());
        let word = Value::Word("shared".to_owned());
        rows.push(row(word, grown.shared.0, grown.shared.1, apart(), apart()));
    }
    rows
}

pub(super) fn notes(grown: &[Grown]) -> Vec<String> {
    let unmapped: u64 = grown.iter().map(|grown| grown.unmapped).sum();
    let mut notes = Vec::new();
    if unmapped >= SHOWN_BYTES {
        notes.push(format!(
            "{} that were in use at the start were unmapped since",
            units::bytes(unmapped as f64)
        ));
    }
    if grown.iter().any(|grown| grown.row_discrepancy() > 0.0) {
        notes.push(
            "the unexplained growth of all is the sum over its kinds: a kind that shrank does not offset growth in another"
                .to_owned(),
        );
    }
    if grown.iter().any(|grown| grown.row_discrepancy() < 0.0) {
        notes.push(
            "all includes pages of no kind, such as relocated read-only data: they do not count as unexplained"
                .to_owned(),
        );
    }
    if grown.iter().any(|grown| grown.estimated) {
        notes.push("so much is mapped that a part was looked at: kinds are estimates".to_owned());
    }
    notes
}

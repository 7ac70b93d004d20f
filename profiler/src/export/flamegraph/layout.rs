//! Chooses the stacks that are drawn, shortens them, and sorts them.

use std::collections::BTreeMap;

use super::super::folded::{Heavy, Weighed, beginning, has_several, nameless};
use crate::naming::Catalog;
use crate::report::{Report, Row, Severity, Stack};

/// Problems with less than this share of the total weight are drawn alone, because they would be too small to see.
const VISIBLE_PART: u64 = 5;
/// Stands for consecutive library calls behind the first.
const FOLDED: &str = "(library calls)";

/// The stacks as they are drawn.
pub(super) struct Layout {
    /// Folded stacks, problems first, with marked frames.
    pub(super) lines: Vec<String>,
    /// Weight of all rows.
    pub(super) total: u64,
    /// Weight of the rows that are problems.
    pub(super) problem: u64,
    /// Number of rows that are not problems and are not drawn.
    pub(super) left_out: usize,
}

/// What a frame leads to. It is the first character of the frame's name, and cannot occur in an escaped name.
pub(super) struct Mark;

impl Mark {
    /// Only to problems.
    pub(super) const ALL: char = '\u{2}';
    /// To problems and to other rows.
    pub(super) const PART: char = '\u{3}';

    /// The mark of a name.
    pub(super) fn of(name: &str) -> Option<char> {
        name.chars().next().filter(|first| [Mark::ALL, Mark::PART].contains(first))
    }
}

pub(super) fn is_problem(row: &Row) -> bool {
    row.severity == Some(Severity::Problem)
}

impl Layout {
    pub(super) fn of(report: &Report, weighed: &Weighed<'_>) -> Layout {
        let rows: Vec<Heavy<'_>> = weighed.rows(report).collect();
        let sum = |of: &dyn Fn(&Row) -> bool| {
            let weights = rows.iter().filter(|heavy| of(heavy.row)).map(|heavy| heavy.weight);
            weights.fold(0, u64::saturating_add)
        };
        let (total, problem) = (sum(&|_| true), sum(&is_problem));
        let alone = problem > 0 && problem < total / VISIBLE_PART;
        let several = has_several(report);
        let catalog = Catalog::new(&report.frames);
        let mut root = Node::default();
        let mut left_out = 0;
        for Heavy { row, stack, weight } in &rows {
            if alone && !is_problem(row) {
                left_out += 1;
            } else {
                root.add(&frames(report, &catalog, stack, several), *weight, is_problem(row));
            }
        }
        let mut lines = Vec::new();
        root.write("", &mut lines);
        Layout { lines, total, problem, left_out }
    }
}

/// The frames of a stack, outermost first, with consecutive library calls folded.
fn frames(report: &Report, catalog: &Catalog<'_>, stack: &Stack, several: bool) -> Vec<String> {
    let mut frames = beginning(report, stack, several);
    let mut foreign = 0;
    for call in catalog.calls(stack).iter().rev() {
        foreign = if call.is_foreign() { foreign + 1 } else { 0 };
        // Keep the first, which the program's own code calls.
        match foreign {
            0 | 1 => {
                frames.push(if call.function.is_some() { call.name.folded() } else { nameless(call.frame) })
            }
            2 => frames.push(FOLDED.to_owned()),
            _ => {}
        }
    }
    if frames.is_empty() {
        frames.push("[no stack]".to_owned());
    }
    frames
}

/// A frame and everything below it.
#[derive(Default)]
struct Node {
    /// Weight of the stacks that end here.
    own: u64,
    /// Weight of the frame with everything below it.
    total: u64,
    problem: u64,
    calls: BTreeMap<String, Node>,
}

impl Node {
    fn add(&mut self, frames: &[String], weight: u64, is_problem: bool) {
        self.total = self.total.saturating_add(weight);
        if is_problem {
            self.problem = self.problem.saturating_add(weight);
        }
        match frames {
            [] => self.own = self.own.saturating_add(weight),
            [first, rest @ ..] => self.calls.entry(first.clone()).or_default().add(rest, weight, is_problem),
        }
    }

    /// Writes the stacks below a frame, sorted by the weight of their problems and then by name.
    fn write(&self, stack: &str, lines: &mut Vec<String>) {
        if self.own > 0 {
            lines.push(format!("{stack} {}", self.own));
        }
        let mut calls: Vec<(&String, &Node)> = self.calls.iter().collect();
        calls.sort_by_key(|(_, call)| std::cmp::Reverse(call.problem));
        for (name, call) in calls {
            let mark = match call.problem {
                0 => String::new(),
                all if all == call.total => Mark::ALL.to_string(),
                _ => Mark::PART.to_string(),
            };
            let separator = if stack.is_empty() { "" } else { ";" };
            call.write(&format!("{stack}{separator}{mark}{name}"), lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Value, sample};

    fn laid(report: &Report) -> Layout {
        Layout::of(report, &Weighed::of(report, None).unwrap())
    }

    #[test]
    fn problems_come_first_and_are_marked_up_to_the_root() {
        let mut report = sample::pong();
        // By name, the other stack would come first.
        for frame in &mut report.frames {
            for function in frame.functions.iter_mut().filter(|f| f.name.raw() == b"net::accept") {
                function.name = "accept".into();
            }
        }
        let layout = laid(&report);
        assert_eq!(layout.lines.len(), 2);
        let all = "\u{2}room::Room::tick;\u{2}room::Room::broadcast;\u{2}chat::History::push;\u{2}alloc::vec::Vec<T,A>::push";
        assert!(layout.lines[0].starts_with(&format!("\u{3}main;{all}")), "{:?}", layout.lines);
        assert!(layout.lines[1].starts_with("\u{3}main;accept;player::Session::new;"), "{:?}", layout.lines);
        assert_eq!((layout.total, layout.problem, layout.left_out), (602 << 20, 412 << 20, 0));
    }

    #[test]
    fn very_small_problems_are_drawn_alone() {
        let mut report = sample::pong();
        report.sections[0].rows[0].cells[2] = Value::Exact(1 << 20);
        let layout = laid(&report);
        assert_eq!((layout.lines.len(), layout.left_out), (1, 1));
        assert!(layout.lines[0].contains("chat::History::push"), "{:?}", layout.lines);
        report.sections[0].rows[0].severity = None;
        let layout = laid(&report);
        assert_eq!((layout.lines.len(), layout.left_out, layout.problem), (2, 0, 0));
        assert!(layout.lines.iter().all(|line| !line.contains(['\u{2}', '\u{3}'])));
    }

    #[test]
    fn calls_of_libraries_in_a_row_are_one_frame_behind_the_first() {
        let mut report = sample::pong();
        let malloc = report.stacks[0].frames[0];
        report.stacks[0].frames = [vec![malloc; 4], report.stacks[0].frames[1..].to_vec()].concat();
        let layout = laid(&report);
        let end = "chat::History::push;\u{2}alloc::vec::Vec<T,A>::push;\u{2}(library calls) 432013312";
        assert!(layout.lines[0].ends_with(end), "{:?}", layout.lines);
    }
}

//! From the rows of all stacks to judgements, the most important first.

use std::cmp::Ordering;

use super::rows::{StackRow, Weighted, Window};
use super::verdict::{Judgement, Verdict, judge};

/// A stack with the judgement on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged<'a> {
    /// What the stack did.
    pub row: &'a StackRow,
    /// What that means.
    pub judgement: Judgement,
}

/// Judges every stack. The result is in the order of [`rank`].
pub fn analyze<'a>(rows: &'a [StackRow], window: &Window) -> Vec<Judged<'a>> {
    let mut judged: Vec<_> = rows.iter().map(|row| Judged { row, judgement: judge(row, window) }).collect();
    judged.sort_by(compare);
    judged
}

/// The places of `judged` in the order in which a person wants to see them.
///
/// Leaks come first, by growth; then what is long-lived and what is too young to judge, by old bytes, then by live
/// bytes; then caches by live bytes and churn by bytes allocated. Equals are ordered by the number of the stack, so
/// that the same data always gives the same report.
pub fn rank(judged: &[Judged<'_>]) -> Vec<usize> {
    let mut order: Vec<_> = (0..judged.len()).collect();
    order.sort_by(|&a, &b| compare(&judged[a], &judged[b]));
    order
}

fn compare(a: &Judged<'_>, b: &Judged<'_>) -> Ordering {
    let place = class(a.judgement.verdict).cmp(&class(b.judgement.verdict));
    let weight = || {
        let (first, second) = (weights(a), weights(b));
        second.0.total_cmp(&first.0).then(second.1.total_cmp(&first.1))
    };
    place.then_with(weight).then(a.row.stack.cmp(&b.row.stack))
}

fn class(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Leak => 0,
        Verdict::LongLived => 1,
        Verdict::Young => 2,
        Verdict::Cache => 3,
        Verdict::Churn => 4,
    }
}

/// What orders stacks of one verdict, largest first.
fn weights(judged: &Judged<'_>) -> (f64, f64) {
    let row = judged.row;
    let bytes =
        |exact: u64, estimate: fn(&Weighted) -> f64| row.weighted.as_ref().map_or(exact as f64, estimate);
    let old = bytes(row.old_bytes, |weighted| weighted.old_bytes.0);
    let live = bytes(row.live_bytes, |weighted| weighted.live_bytes.0);
    match judged.judgement.verdict {
        Verdict::Leak => (judged.judgement.growth_bytes_per_hour.map_or(0.0, |growth| growth.value), live),
        Verdict::LongLived | Verdict::Young => (old, live),
        Verdict::Cache => (live, old),
        Verdict::Churn => (bytes(row.alloc_bytes, |weighted| weighted.alloc_bytes.0), live),
    }
}

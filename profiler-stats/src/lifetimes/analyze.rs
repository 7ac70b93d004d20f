//! From the rows of all stacks to judgements, the most important first.

use std::cmp::Ordering;

use super::before::Before;
use super::judge::judge_again;
use super::rows::{StackRow, Weighted, Window};
use super::verdict::{Judgement, Verdict};

/// A stack with the judgement on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged<'a> {
    /// What the stack did.
    pub row: &'a StackRow,
    /// What that means.
    pub judgement: Judgement,
}

/// Judges every stack. `before`: what the interim report before said. The result is in the order of [`rank`].
pub fn analyze<'a>(rows: &'a [StackRow], window: &Window, before: &Before) -> Vec<Judged<'a>> {
    let judge = |row| judge_again(row, window, before.of_stack(row.stack));
    let mut judged: Vec<_> = rows.iter().map(|row| Judged { row, judgement: judge(row) }).collect();
    judged.sort_by(compare);
    judged
}

/// The places of `judged` in the order in which a person wants to see them.
///
/// Leaks come first, by growth; then what is long-lived and what is too young to judge, by old bytes, then by live
/// bytes; then caches by live bytes and churn by bytes acquired. Equals are ordered by the number of the stack, so
/// that the same data always gives the same report.
pub fn rank(judged: &[Judged<'_>]) -> Vec<usize> {
    let mut order: Vec<_> = (0..judged.len()).collect();
    order.sort_by(|&a, &b| compare(&judged[a], &judged[b]));
    order
}

pub(super) fn compare(a: &Judged<'_>, b: &Judged<'_>) -> Ordering {
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
        Verdict::Churn => (bytes(row.acquired_bytes, |weighted| weighted.acquired_bytes.0), live),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Reason;
    use super::*;

    fn judged(row: &StackRow, verdict: Verdict, growth: f64) -> Judged<'_> {
        let judgement = Judgement::sample(verdict, Reason::FewItems, growth);
        Judged { row, judgement }
    }

    #[test]
    fn leaks_first_by_growth_then_by_what_is_held() {
        let row =
            |stack, old_bytes, live_bytes| StackRow { stack, old_bytes, live_bytes, ..StackRow::default() };
        let rows = [row(9, 0, 0), row(8, 10, 5), row(7, 10, 6), row(6, 99, 1), row(5, 1, 1), row(4, 1, 1)];
        let verdicts = [
            judged(&rows[0], Verdict::Churn, 900.0),
            judged(&rows[1], Verdict::Young, 0.0),
            judged(&rows[2], Verdict::Young, 0.0),
            judged(&rows[3], Verdict::LongLived, 0.0),
            judged(&rows[4], Verdict::Leak, 3.0),
            judged(&rows[5], Verdict::Leak, 3.0),
            judged(&rows[3], Verdict::Cache, 0.0),
            judged(&rows[0], Verdict::Leak, 4.0),
        ];
        assert_eq!(rank(&verdicts), [7, 5, 4, 3, 2, 1, 6, 0]);
    }

    #[test]
    fn a_sampled_run_is_ordered_by_its_estimates() {
        let weighted = |estimate| Some(Weighted { live_bytes: (estimate, 0.0), ..Weighted::default() });
        let few = StackRow { stack: 1, live_bytes: 900, weighted: weighted(1_000.0), ..StackRow::default() };
        let many = StackRow { stack: 2, live_bytes: 10, weighted: weighted(5_000.0), ..StackRow::default() };
        let verdicts = [judged(&few, Verdict::Cache, 0.0), judged(&many, Verdict::Cache, 0.0)];
        assert_eq!(rank(&verdicts), [1, 0]);
    }
}

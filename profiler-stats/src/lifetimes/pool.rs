//! Several rows as one: what all stacks through one place did together.

use std::ops::AddAssign;

use super::rows::{StackRow, Weighted};

impl StackRow {
    /// The sum of rows of one observation, as if all their items had come from one stack; births of one moment are
    /// one event in it. It has the number of the first, and is empty without any.
    pub fn pool<'a>(rows: impl IntoIterator<Item = &'a StackRow>) -> StackRow {
        let mut rows = rows.into_iter();
        let mut pool = rows.next().cloned().unwrap_or_default();
        for row in rows {
            pool.add(row);
        }
        pool
    }

    fn add(&mut self, row: &StackRow) {
        self.acquired += row.acquired;
        self.acquired_bytes += row.acquired_bytes;
        self.live += row.live;
        self.live_bytes += row.live_bytes;
        self.old += row.old;
        self.old_bytes += row.old_bytes;
        self.old_bytes_squared += row.old_bytes_squared;
        self.old_inherited_bytes += row.old_inherited_bytes;
        self.inherited_bytes += row.inherited_bytes;
        self.oldest_later_units = self.oldest_later_units.max(row.oldest_later_units);
        self.merged += row.merged;
        let (sum, more) = (&mut self.lifetimes, &row.lifetimes);
        add_each(&mut sum.died, &more.died);
        add_each(&mut sum.live, &more.live);
        add_each(&mut sum.live_age_units, &more.live_age_units);
        add_each(&mut self.inherited_births, &row.inherited_births);
        add_each(&mut self.later_births, &row.later_births);
        add_each(&mut self.later_parts, &row.later_parts);
        add_each(&mut self.births, &row.births);
        add_each(&mut self.birth_bytes, &row.birth_bytes);
        add_each(&mut self.birth_variances, &row.birth_variances);
        self.arrivals.merge(&row.arrivals);
        if let Some(more) = &row.weighted {
            self.weighted.get_or_insert_default().add(more);
        }
    }
}

impl Weighted {
    /// Draws are independent, so variances add up as the estimates do.
    fn add(&mut self, more: &Weighted) {
        let add = |sum: &mut (f64, f64), more: (f64, f64)| *sum = (sum.0 + more.0, sum.1 + more.1);
        add(&mut self.acquired, more.acquired);
        add(&mut self.acquired_bytes, more.acquired_bytes);
        add(&mut self.live, more.live);
        add(&mut self.live_bytes, more.live_bytes);
        add(&mut self.old, more.old);
        add(&mut self.old_bytes, more.old_bytes);
    }
}

fn add_each<T: AddAssign + Copy, const N: usize>(sum: &mut [T; N], more: &[T; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += *more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stack: u32, n: u64) -> StackRow {
        let mut row = StackRow {
            stack,
            acquired: 7 * n,
            acquired_bytes: 700 * n,
            live: 5 * n,
            live_bytes: 500 * n,
            old: 3 * n,
            old_bytes: 300 * n,
            old_bytes_squared: 3e4 * n as f64,
            old_inherited_bytes: 30 * n,
            inherited_bytes: 60.0 * n as f64,
            oldest_later_units: 9,
            merged: 11 * n,
            ..StackRow::default()
        };
        row.lifetimes.died[2] = 2 * n;
        row.lifetimes.live[9] = 5 * n;
        row.lifetimes.live_age_units[9] = 60 * n;
        row.later_parts[5] = 4 * n;
        row.later_births[6] = 2 * n;
        row.inherited_births[7] = n;
        row.births[4] = 3 * n;
        (row.birth_bytes[4], row.birth_variances[4]) = (300.0 * n as f64, 3e4 * n as f64);
        row.arrivals.mark(12, 1);
        let of = |value: u64| (value as f64, value as f64 / 2.0);
        row.weighted = Some(Weighted {
            acquired: of(70 * n),
            acquired_bytes: of(7_000 * n),
            live: of(50 * n),
            live_bytes: of(5_000 * n),
            old: of(30 * n),
            old_bytes: of(3_000 * n),
        });
        row
    }

    #[test]
    fn a_pool_is_the_sum() {
        assert_eq!(StackRow::pool([&row(8, 1), &row(3, 10), &row(5, 100)]), row(8, 111));
        assert_eq!(StackRow::pool([&row(4, 2)]), row(4, 2));
        assert_eq!(StackRow::pool([]), StackRow::default());
    }

    #[test]
    fn births_of_one_moment_are_one_event() {
        let (mut one, mut other) = (StackRow::default(), StackRow::default());
        for (ages, row) in [([10, 20], &mut one), ([20, 30], &mut other)] {
            for age in ages {
                row.arrivals.mark(age, 1);
            }
        }
        let window = super::super::rows::Window { length_units: 100, older_units: 40 };
        assert_eq!(StackRow::pool([&one, &other]).arrivals.events(0, &window), 3);
    }
}

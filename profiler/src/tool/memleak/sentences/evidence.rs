//! The unrounded numbers behind the sentences.

use super::Leak;
use crate::{
    report::{Finding, Unit, Value},
    stats::{estimate::Estimate, lifetimes::sites::JudgedSite},
};

/// The evidence for the answer that something leaks: the sums over all leaks.
pub(super) fn leak_evidence<'a>(
    finding: Finding,
    leaks: &[Leak<'_>],
    sites: impl Iterator<Item = &'a JudgedSite>,
    is_sampled: bool,
) -> Finding {
    let sum = |of: fn(&Leak<'_>) -> f64| counted(leaks.iter().map(of).sum(), is_sampled);
    let growth = total(sites.map(|site| site.judgement.growth_bytes_per_hour.as_ref()));
    let stacks = leaks.iter().map(|leak| leak.stacks as u64).sum();
    finding
        .because("growth_bytes_per_hour", Unit::BytesPerHour, growth)
        .because("old_bytes", Unit::Bytes, sum(|leak| leak.old_bytes))
        .because("old_blocks", Unit::Count, sum(|leak| leak.old_blocks))
        .because("sites", Unit::Count, Value::Exact(leaks.len() as u64))
        .because("stacks", Unit::Count, Value::Exact(stacks))
}

/// Bytes or blocks, which are exact unless they were sampled. The rows have the error of sampled sums.
pub(super) fn counted(number: f64, is_sampled: bool) -> Value {
    match is_sampled {
        false => Value::Exact(number as u64),
        true => Value::estimate(number, 0.0, None),
    }
}

/// The sum of estimates, between the sums of their ends: wider than necessary, but certain to hold if theirs do.
pub(super) fn total<'a>(estimates: impl Iterator<Item = Option<&'a Estimate>>) -> Value {
    let (mut value, mut low, mut high) = (0.0, 0.0, Some(0.0));
    for estimate in estimates {
        let Some(of) = estimate else { return Value::Unknown("it is not known of all".to_owned()) };
        value += of.value;
        low += of.low;
        high = high.zip(of.high).map(|(sum, of)| sum + of);
    }
    Value::estimate(value, low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_lies_between_the_sums_of_the_ends() {
        let of = |value, low, high| Estimate { value, low, high, exact: false };
        let (first, second, open) = (of(10.0, 8.0, Some(13.0)), of(1.0, 0.5, Some(2.0)), of(1.0, 0.5, None));
        let total = |estimates: &[Option<&Estimate>]| total(estimates.iter().copied());
        assert_eq!(total(&[Some(&first), Some(&second)]), Value::estimate(11.0, 8.5, Some(15.0)));
        assert_eq!(total(&[Some(&first), Some(&open)]), Value::estimate(11.0, 8.5, None));
        assert!(matches!(total(&[Some(&first), None]), Value::Unknown(_)), "not a part of it for the whole");
    }

    #[test]
    fn what_was_counted_is_exact_and_what_was_sampled_is_not() {
        assert_eq!(counted(4096.0, false), Value::Exact(4096));
        assert!(matches!(counted(4096.0, true), Value::Estimate { .. }));
    }
}

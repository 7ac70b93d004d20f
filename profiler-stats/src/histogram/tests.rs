use proptest::prelude::*;

use super::{Histogram, Quantile, Unsound, buckets};

fn of(values: &[u64]) -> Histogram {
    let mut histogram = Histogram::new(3, 40).unwrap();
    values.iter().for_each(|&value| histogram.record(value));
    histogram
}

/// Values of every size, not only large ones.
fn values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((0u32..63, any::<u64>()).prop_map(|(shift, bits)| bits >> shift), 1..200)
}

/// The value of the rank that [`Histogram::quantile`] means.
fn by_sorting(values: &[u64], q: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
    sorted[rank - 1]
}

#[test]
fn a_quantile_is_one_value_where_buckets_are_exact() {
    let histogram = of(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for (q, value) in [(0.0, 1), (0.1, 1), (0.5, 5), (0.51, 6), (0.9, 9), (1.0, 10)] {
        assert_eq!(histogram.quantile(q), Some(Quantile { low: value, high: value }), "{q}");
    }
    assert_eq!((histogram.total(), histogram.sum, histogram.max), (10, 55, 10));
    assert_eq!(histogram.mean(), Some(5.5));
    assert_eq!(histogram.error_ratio(), 0.125);
}

#[test]
fn without_values_there_is_no_quantile_and_no_mean() {
    let histogram = of(&[]);
    assert_eq!((histogram.quantile(0.5), histogram.mean(), histogram.max), (None, None, 0));
    assert_eq!(histogram.check(), Ok(()));
    for q in [-0.1, 1.1, f64::NAN] {
        assert_eq!(of(&[1]).quantile(q), None, "{q}");
    }
}

#[test]
fn what_is_larger_than_the_last_bucket_is_bounded_by_the_largest_value() {
    let histogram = of(&[5, 1 << 41, 1 << 50]);
    let last = histogram.quantile(1.0).unwrap();
    assert_eq!((last.low, last.high), ((1 << 40) - (1 << 36), 1 << 50));
    assert_eq!(histogram.check(), Ok(()));
}

#[test]
fn the_counts_of_the_kernel_side_are_the_same_histogram() {
    let values = [0, 1, 15, 16, 17, 999, 1_000_000, 1 << 39, 1 << 44];
    let mut counts = [0u64; buckets::BUCKETS];
    values.iter().for_each(|&value| counts[buckets::bucket(value)] += 1);
    assert_eq!(Histogram::from_kernel(&counts, values.iter().sum(), 1 << 44), of(&values));
}

#[test]
fn histograms_of_other_buckets_and_sums_that_do_not_fit_are_refused() {
    let mut histogram = of(&[1, 2]);
    let before = histogram.clone();
    assert_eq!(histogram.merge(&Histogram::new(4, 40).unwrap()), Err(Unsound::Different));
    let huge = Histogram { sum: u64::MAX, max: u64::MAX, ..of(&[u64::MAX]) };
    assert_eq!(histogram.merge(&huge), Err(Unsound::Overflow));
    assert_eq!(histogram, before);
    for (grouping_power, max_value_power) in [(17, 40), (3, 3), (3, 65), (255, 255)] {
        assert!(Histogram::new(grouping_power, max_value_power).is_err());
    }
}

#[test]
fn a_file_cannot_hold_a_histogram_that_contradicts_itself() {
    let sound = of(&[1, 2, 2, 900]);
    assert_eq!(sound.check(), Ok(()));
    let with = |change: fn(&mut Histogram)| {
        let mut histogram = sound.clone();
        change(&mut histogram);
        histogram.check()
    };
    assert_eq!(with(|h| h.buckets.swap(0, 1)), Err(Unsound::Bucket(1)));
    assert_eq!(with(|h| h.buckets[0].1 = 0), Err(Unsound::Bucket(1)));
    assert_eq!(with(|h| h.buckets[2].0 = 304), Err(Unsound::Bucket(304)));
    assert_eq!(with(|h| h.buckets[0].1 = u64::MAX), Err(Unsound::Overflow));
    assert_eq!(with(|h| h.sum = 900), Err(Unsound::Exact));
    assert_eq!(with(|h| h.sum = 4000), Err(Unsound::Exact));
    assert_eq!(with(|h| h.max = 100), Err(Unsound::Exact));
    assert_eq!(with(|h| h.max = 1000), Err(Unsound::Exact));
    assert_eq!(with(|h| h.grouping_power = 40), Err(Unsound::Powers(40, 40)));
}

proptest! {
    #[test]
    fn buckets_are_those_of_the_crate_histogram(value in (0u32..64, any::<u64>()).prop_map(|(s, v)| v >> s), power in 0u8..9) {
        let mut theirs = histogram::Histogram::new(power, 64).unwrap();
        theirs.increment(value).unwrap();
        let bucket = theirs.iter().find(|bucket| bucket.count() == 1).unwrap();
        let index = theirs.as_slice().iter().position(|count| *count == 1).unwrap();
        let ours = Histogram::new(power, 64).unwrap();
        prop_assert_eq!(buckets::index(power.into(), value), index);
        prop_assert_eq!(ours.range(index as u32), Some((bucket.start(), bucket.end())));
        prop_assert!((bucket.end() - bucket.start()) as f64 <= bucket.start() as f64 * ours.error_ratio());
    }

    #[test]
    fn a_quantile_lies_in_its_bucket_and_within_the_stated_error(values in values(), q in 0.0f64..=1.0) {
        let mut histogram = Histogram::new(3, 64).unwrap();
        values.iter().for_each(|&value| histogram.record(value));
        prop_assert_eq!(histogram.check(), Ok(()));
        let (exact, found) = (by_sorting(&values, q), histogram.quantile(q).unwrap());
        prop_assert!(found.low <= exact && exact <= found.high, "{exact} is not in {found:?}");
        let off = (found.middle() - exact as f64).abs();
        prop_assert!(off <= exact as f64 * histogram.error_ratio(), "{exact} is {off} off");
    }

    #[test]
    fn merged_histograms_are_that_of_all_values(first in values(), second in values()) {
        let small = |values: &[u64]| values.iter().map(|value| value >> 12).collect::<Vec<_>>();
        let (first, second) = (small(&first), small(&second));
        let mut merged = of(&first);
        merged.merge(&of(&second)).unwrap();
        prop_assert_eq!(merged, of(&[first, second].concat()));
    }
}

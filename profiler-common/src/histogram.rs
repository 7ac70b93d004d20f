//! Histogram buckets: H2, as in the crate `histogram` and in rezolus. The kernel side and user space share the arithmetic.
//!
//! Every power of two is divided into `2^grouping_power` buckets of equal width, so a bucket is at most `2^-grouping_power` of
//! its values wide. Values below `2^(grouping_power + 1)` have a bucket each and are exact. Finding a bucket takes one branch,
//! without a table or a loop.

/// Grouping power of the histograms that the kernel side fills: 8 buckets for each power of two, at most 12.5 % wide.
pub const GROUPING_POWER: u32 = 3;
/// The kernel side distinguishes values below `2^MAX_VALUE_POWER`: in nanoseconds that is 18 minutes.
pub const MAX_VALUE_POWER: u32 = 40;
/// Number of buckets that the kernel side fills. The last one also takes every larger value.
pub const BUCKETS: usize = buckets(GROUPING_POWER, MAX_VALUE_POWER);

/// Number of buckets for values below `2^max_value_power`, which is larger than `2^grouping_power` and at most `2^64`.
pub const fn buckets(grouping_power: u32, max_value_power: u32) -> usize {
    ((max_value_power - grouping_power + 1) << grouping_power) as usize
}

/// The bucket that holds a value. `grouping_power` is at most 31.
#[inline(always)]
pub const fn index(grouping_power: u32, value: u64) -> usize {
    // With this bit set, the small values have the width of bucket of the first power of two: 1.
    let power = 63 - (value | (1 << grouping_power)).leading_zeros();
    let shift = power - grouping_power;
    ((shift as u64) << grouping_power) as usize + (value >> shift) as usize
}

/// The bucket of a histogram of the kernel side that holds a value: below [`BUCKETS`].
#[inline(always)]
pub const fn bucket(value: u64) -> usize {
    let index = index(GROUPING_POWER, value);
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// The smallest value of a bucket; `None` if there is no such bucket of 64-bit values.
pub const fn first(grouping_power: u32, index: usize) -> Option<u64> {
    if index >= buckets(grouping_power, u64::BITS) {
        return None;
    }
    let per_power = 1usize << grouping_power;
    if index < per_power {
        return Some(index as u64);
    }
    let shift = index / per_power - 1;
    Some(((per_power + index % per_power) as u64) << shift)
}

/// The largest value of a bucket; `None` if there is no such bucket of 64-bit values.
pub const fn last(grouping_power: u32, index: usize) -> Option<u64> {
    match first(grouping_power, index + 1) {
        Some(next) => Some(next - 1),
        None if index + 1 == buckets(grouping_power, u64::BITS) => Some(u64::MAX),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values around every boundary that a bucket can have.
    fn edges() -> impl Iterator<Item = u64> {
        let steps =
            (0..64).flat_map(|power| (0..16).map(move |part| (1u64 << power) + ((part << power) >> 4)));
        steps.flat_map(|value| [value - 1, value, value.saturating_add(1)]).chain([u64::MAX - 1, u64::MAX])
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_no_bucket_is_too_wide() {
        for grouping_power in 0..8 {
            for value in edges().chain(0..10_000) {
                let index = index(grouping_power, value);
                let (first, last) =
                    (first(grouping_power, index).unwrap(), last(grouping_power, index).unwrap());
                assert!(
                    (first..=last).contains(&value),
                    "{value} is outside of bucket {index}: {first} to {last}"
                );
                assert!(
                    last - first <= first >> grouping_power,
                    "bucket {index} is too wide: {first} to {last}"
                );
            }
        }
    }

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        for grouping_power in 0..8 {
            let all = buckets(grouping_power, u64::BITS);
            assert_eq!(first(grouping_power, 0), Some(0));
            assert_eq!(last(grouping_power, all - 1), Some(u64::MAX));
            assert_eq!((first(grouping_power, all), last(grouping_power, all)), (None, None));
            for index in 1..all {
                assert_eq!(
                    last(grouping_power, index - 1).unwrap() + 1,
                    first(grouping_power, index).unwrap()
                );
            }
        }
    }

    #[test]
    fn the_last_bucket_of_the_kernel_side_takes_all_that_is_larger() {
        assert_eq!(BUCKETS, 304);
        let end = 1u64 << MAX_VALUE_POWER;
        assert_eq!(first(GROUPING_POWER, BUCKETS), Some(end));
        for value in [end - 1, end, end + 1, u64::MAX] {
            assert_eq!(bucket(value), BUCKETS - 1, "{value}");
        }
        assert_eq!(bucket(end - 1 - end / 16), BUCKETS - 2);
        assert_eq!([0, 1, 15, 16, 17, 18, 1000].map(bucket), [0, 1, 15, 16, 16, 17, 63]);
    }
}

//! Histograms with H2 buckets: how often which values occurred, with a bound on how far a quantile can be off.
//!
//! [`profiler_common::histogram`] has the arithmetic of the buckets, which the kernel side counts by.

use profiler_common::histogram as buckets;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Largest grouping power: a bucket is then at most a 65,536th of its values wide.
const MAX_GROUPING_POWER: u8 = 16;

/// A histogram. Quantiles are derived from the buckets ([`Histogram::quantile`]) and never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "lab", derive(schemars::JsonSchema))]
pub struct Histogram {
    /// Every power of two is divided into `2^grouping_power` buckets of equal width. Values below `2^(grouping_power + 1)` have a
    /// bucket each; another bucket is at most `2^-grouping_power` of its smallest value wide. At most 16.
    pub grouping_power: u8,
    /// Values below `2^max_value_power` are told apart; the last bucket also holds all that are larger. More than
    /// `grouping_power`, at most 64.
    pub max_value_power: u8,
    /// Pairs of a bucket's index and the number of values in it, by index, without empty buckets.
    pub buckets: Vec<(u32, u64)>,
    /// The exact sum of the values.
    pub sum: u64,
    /// The exact largest value; 0 if there is none.
    pub max: u64,
}

/// Where a quantile lies: the ends of its bucket. Both are the quantile itself where a bucket holds a single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantile {
    /// It is not smaller.
    pub low: u64,
    /// It is not larger.
    pub high: u64,
}

impl Quantile {
    /// The middle of the bucket: at most half of its width off.
    pub fn middle(self) -> f64 {
        (self.low as f64 + self.high as f64) / 2.0
    }
}

/// Why a histogram cannot be right, or two cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsound {
    /// There is no such division into buckets.
    #[error("a histogram has no grouping power {0} with values below 2^{1}")]
    Powers(u8, u8),
    /// The buckets are not in order, empty, or beyond the last one.
    #[error("bucket {0} of a histogram is out of order, empty, or beyond the last one")]
    Bucket(u32),
    /// The sum or the largest value lies outside of what the buckets allow.
    #[error("the sum or the largest value of a histogram does not fit its buckets")]
    Exact,
    /// They divide the values differently.
    #[error("histograms with different buckets cannot be added")]
    Different,
    /// A count does not fit 64 bits.
    #[error("a histogram counts more than 2^64 values")]
    Overflow,
}

impl Histogram {
    /// A histogram without values.
    ///
    /// # Errors
    /// [`Unsound::Powers`] if the powers are out of their ranges.
    pub fn new(grouping_power: u8, max_value_power: u8) -> Result<Histogram, Unsound> {
        if grouping_power > MAX_GROUPING_POWER || max_value_power <= grouping_power || max_value_power > 64 {
            return Err(Unsound::Powers(grouping_power, max_value_power));
        }
        Ok(Histogram { grouping_power, max_value_power, buckets: Vec::new(), sum: 0, max: 0 })
    }

    /// What the kernel side counted, one number per bucket, with the exact sum and the exact largest value. Buckets beyond
    /// [`profiler_common::histogram::BUCKETS`] are counted in the last one.
    pub fn from_kernel(counts: &[u64], sum: u64, max: u64) -> Histogram {
        let (grouping_power, max_value_power) =
            (buckets::GROUPING_POWER as u8, buckets::MAX_VALUE_POWER as u8);
        let mut histogram = Histogram { grouping_power, max_value_power, buckets: Vec::new(), sum, max };
        for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            histogram.add(index.min(buckets::BUCKETS - 1) as u32, count);
        }
        histogram
    }

    /// Adds one value.
    pub fn record(&mut self, value: u64) {
        let index = buckets::index(self.grouping_power.into(), value).min(self.last_bucket());
        self.add(index as u32, 1);
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// Adds the values of another one.
    ///
    /// # Errors
    /// [`Unsound::Different`] if it has other buckets, [`Unsound::Overflow`] if a sum does not fit 64 bits; nothing is added then.
    pub fn merge(&mut self, other: &Histogram) -> Result<(), Unsound> {
        if (self.grouping_power, self.max_value_power) != (other.grouping_power, other.max_value_power) {
            return Err(Unsound::Different);
        }
        let sum = self.sum.checked_add(other.sum).ok_or(Unsound::Overflow)?;
        self.total().checked_add(other.total()).ok_or(Unsound::Overflow)?;
        for &(index, count) in &other.buckets {
            self.add(index, count);
        }
        self.sum = sum;
        self.max = self.max.max(other.max);
        Ok(())
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The mean, from the exact sum; absent if there are no values.
    pub fn mean(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.sum as f64 / total as f64)
    }

    /// How wide a bucket is at most, as a share of its smallest value: a quantile that is taken from its bucket is off by at most
    /// this share. Values from `2^max_value_power` on are bounded by the largest value alone.
    pub fn error_ratio(&self) -> f64 {
        (-f64::from(self.grouping_power)).exp2()
    }

    /// The quantile by nearest rank: the smallest value that at least a share `q` (from 0 to 1) of the values does not exceed.
    /// Absent if there are no values, or `q` is not a share.
    pub fn quantile(&self, q: f64) -> Option<Quantile> {
        let total = self.total();
        if total == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
        let mut below = 0u64;
        for &(index, count) in &self.buckets {
            below = below.saturating_add(count);
            if below >= rank {
                let (low, high) = self.range(index)?;
                return Some(Quantile { low: low.min(self.max), high: high.min(self.max) });
            }
        }
        None
    }

    /// How many values are in buckets that begin at `value` or above: all of these values are at least as large, and a few others may be.
    pub fn at_least(&self, value: u64) -> u64 {
        let is_above = |index: u32| self.range(index).is_some_and(|(low, _)| low >= value);
        self.buckets.iter().filter(|(index, _)| is_above(*index)).map(|(_, count)| count).sum()
    }

    /// The smallest and the largest value that a bucket can hold; `None` if there is no such bucket.
    pub fn range(&self, index: u32) -> Option<(u64, u64)> {
        let (power, index) = (u32::from(self.grouping_power), index as usize);
        let last = self.last_bucket();
        if index > last {
            return None;
        }
        let high = if index == last { u64::MAX } else { buckets::last(power, index)? };
        Some((buckets::first(power, index)?, high))
    }

    /// Checks what the types do not: files may come from anybody.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Unsound> {
        Histogram::new(self.grouping_power, self.max_value_power)?;
        let (mut next, mut total) = (0u64, 0u64);
        let (mut least, mut most) = (0u128, 0u128);
        for &(index, count) in &self.buckets {
            let (low, high) = self.range(index).ok_or(Unsound::Bucket(index))?;
            if u64::from(index) < next || count == 0 {
                return Err(Unsound::Bucket(index));
            }
            next = u64::from(index) + 1;
            total = total.checked_add(count).ok_or(Unsound::Overflow)?;
            least += u128::from(low) * u128::from(count);
            most = most.saturating_add(u128::from(high.min(self.max)) * u128::from(count));
        }
        let largest = self.buckets.last().and_then(|(index, _)| self.range(*index)).unwrap_or((0, 0));
        // A sum that does not fit is kept as large as can be.
        let sum = u128::from(self.sum);
        let fits = (least.min(u64::MAX.into())..=most).contains(&sum);
        if !(largest.0..=largest.1).contains(&self.max) || !fits {
            return Err(Unsound::Exact);
        }
        Ok(())
    }

    fn last_bucket(&self) -> usize {
        buckets::buckets(self.grouping_power.into(), self.max_value_power.into()) - 1
    }

    fn add(&mut self, index: u32, count: u64) {
        match self.buckets.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(place) => {
                if let Some((_, sum)) = self.buckets.get_mut(place) {
                    *sum = sum.saturating_add(count);
                }
            }
            Err(place) => self.buckets.insert(place, (index, count)),
        }
    }
}

#[cfg(test)]
mod tests;

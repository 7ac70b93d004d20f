//! The age scale: lifetimes are counted in the kernel in bins that grow with age, four to an octave.
//!
//! A relative width of at most 25 % is enough to say "blocks of this age are still being freed", and 108 bins
//! reach from one millisecond to two days, so that one fixed array per stack holds every lifetime.

/// Ages are kept in units of `2^UNIT_SHIFT` nanoseconds (1.05 ms): 32 bits then last 52 days.
pub const UNIT_SHIFT: u32 = 20;
/// Nanoseconds in one age unit.
pub const UNIT_NS: u64 = 1 << UNIT_SHIFT;
/// Units per tick of the kernel are given in `1 / (1 << TICK_SHIFT)`.
pub const TICK_SHIFT: u32 = 24;
/// Number of bins; the last one also takes everything older than its start.
pub const BINS: usize = 108;

/// The bin that holds an age given in units.
#[inline(always)]
pub const fn bin(units: u32) -> usize {
    if units < 4 {
        return units as usize;
    }
    let octave = 31 - units.leading_zeros();
    let bin = ((octave - 1) * 4 + ((units >> (octave - 2)) & 3)) as usize;
    if bin < BINS { bin } else { BINS - 1 }
}

/// The first age, in units, that falls into `bin`. `start(BINS)` is the end of the scale.
pub const fn start(bin: usize) -> u64 {
    if bin < 4 {
        return bin as u64;
    }
    let octave = (bin / 4 + 1) as u32;
    (4 + (bin % 4) as u64) << (octave - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_age_lies_in_its_bin() {
        for units in (0..100_000u32).chain((17..32).map(|s| 1 << s)) {
            let b = bin(units);
            assert!(start(b) <= u64::from(units), "{units} is before bin {b}");
            if b + 1 < BINS {
                assert!(u64::from(units) < start(b + 1), "{units} is after bin {b}");
            }
        }
    }

    #[test]
    fn bins_are_contiguous_and_at_most_a_quarter_wide() {
        for b in 0..BINS {
            assert!(start(b + 1) > start(b));
            assert!(b < 4 || (start(b + 1) - start(b)) * 4 <= start(b));
        }
    }
}

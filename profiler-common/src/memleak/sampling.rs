//! Drawing allocations by bytes: a Poisson process along the bytes a thread allocates.
//!
//! Each byte is hit with probability `1/mean`, independently. A block of `s` bytes is therefore drawn with
//! probability `1 - exp(-s/mean)`, whatever was allocated before it, and dividing by that probability
//! (Horvitz-Thompson) gives unbiased totals. The gap to the next hit is exponential: `-ln(u) * mean`.

/// Weights are kept in 1/1024.
pub const WEIGHT_ONE: u64 = 1024;
/// Points per octave of the table of weights.
pub const POINTS_PER_OCTAVE: u32 = 32;
/// Points of the table of weights: sizes up to 2^40 bytes, above which every weight is 1.
pub const WEIGHT_POINTS: usize = 40 * POINTS_PER_OCTAVE as usize + 1;

const LN_2: u64 = 45_426; // ln 2 in 1/65536
const LN_POINTS: usize = 257;
/// `ln(1 + i/256)` in 1/65536.
static LN: [u32; LN_POINTS] = ln_table();

const fn ln_table() -> [u32; LN_POINTS] {
    let mut table = [0; LN_POINTS];
    let mut i = 0;
    while i < LN_POINTS {
        table[i] = ln_one_plus(i as u64);
        i += 1;
    }
    table
}

/// `ln(1 + i/256)` in 1/65536: binary digits of the logarithm by repeated squaring, then times ln 2.
const fn ln_one_plus(i: u64) -> u32 {
    if i == 256 {
        return LN_2 as u32;
    }
    let mut x = (256 + i) << 22; // in [1, 2), 30 fractional bits
    let mut log2 = 0u64;
    let mut digit = 0;
    while digit < 26 {
        x = (x * x) >> 30;
        log2 <<= 1;
        if x >= 2 << 30 {
            x >>= 1;
            log2 |= 1;
        }
        digit += 1;
    }
    ((log2 * 2_977_044_472 + (1 << 41)) >> 42) as u32 // ln 2 = 2977044472 / 2^32; 26 + 32 - 16 = 42
}

/// The gap in bytes to the next drawn byte, for 64 uniformly random bits and a mean gap of `mean_bytes`.
#[inline(always)]
pub fn gap_bytes(random: u64, mean_bytes: u64) -> u64 {
    // u = 2^-(k+1) * (1 + f) with k leading zeroes and f the bits behind the leading one.
    let bits = random | 1;
    let zeroes = u64::from(bits.leading_zeros());
    let fraction = (bits << zeroes) << 1; // the leading one shifted out
    let i = (fraction >> 56) as usize & 255;
    let rest = fraction >> 40 & 0xffff;
    let (low, high) = (u64::from(LN[i]), u64::from(LN[i + 1]));
    let ln = low + (((high - low) * rest) >> 16);
    (((zeroes + 1) * LN_2 - ln) * mean_bytes) >> 16
}

/// Where a size lies in the table of weights: the point at or below it, and the rest in 1/65536 of the way to the
/// next point.
#[inline(always)]
pub const fn weight_point(size_bytes: u64) -> (usize, u64) {
    let size = if size_bytes == 0 { 1 } else { size_bytes };
    let octave = 63 - size.leading_zeros();
    if octave >= 40 {
        return (WEIGHT_POINTS - 1, 0);
    }
    let position = (size << (63 - octave) << 1) >> 43; // 21 bits behind the leading one
    let point = octave as usize * POINTS_PER_OCTAVE as usize + (position >> 16) as usize;
    (point, position & 0xffff)
}

/// The size in bytes at a point of the table of weights.
pub fn point_size_bytes(point: usize) -> f64 {
    let octave = point / POINTS_PER_OCTAVE as usize;
    let sub = point % POINTS_PER_OCTAVE as usize;
    (1u64 << octave) as f64 * (1.0 + sub as f64 / f64::from(POINTS_PER_OCTAVE))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn logarithms_are_right() {
        for (i, ln) in LN.iter().enumerate() {
            let exact = (1.0 + i as f64 / 256.0).ln() * 65536.0;
            assert!((f64::from(*ln) - exact).abs() <= 1.0, "{i}: {ln} is not {exact}");
        }
    }

    #[test]
    fn gaps_are_exponential() {
        let mean = 524_288u64;
        let (mut state, mut sum, mut above_mean) = (88_172_645_463_325_252u64, 0u64, 0u64);
        let draws = 1_000_000u64;
        for _ in 0..draws {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let gap = gap_bytes(state.wrapping_mul(2_685_821_657_736_338_717), mean);
            sum += gap;
            above_mean += u64::from(gap > mean);
        }
        let ratio = sum as f64 / draws as f64 / mean as f64;
        assert!((ratio - 1.0).abs() < 0.005, "mean is {ratio} of what it should be");
        let tail = above_mean as f64 / draws as f64;
        assert!((tail - (-1f64).exp()).abs() < 0.003, "P(gap > mean) = {tail}");
    }

    #[test]
    fn points_surround_their_sizes() {
        for size in (1..5000u64).chain((13..40).map(|s| (1 << s) + 12_345 % (1 << s))) {
            let (point, rest) = weight_point(size);
            let (low, high) = (point_size_bytes(point), point_size_bytes(point + 1));
            let at = low + (high - low) * rest as f64 / 65536.0;
            assert!((at / size as f64 - 1.0).abs() < 1e-5, "{size} is read as {at}");
        }
        assert_eq!(weight_point(0), weight_point(1));
        assert_eq!(weight_point(u64::MAX).0, WEIGHT_POINTS - 1);
    }
}

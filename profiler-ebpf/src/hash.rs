//! Hashes of numbers, for keys of maps. They are fast; whoever wants two numbers with the same hash finds them.

/// 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Adds a value to a hash.
#[inline(always)]
pub fn hash(hash: u64, value: u64) -> u64 {
    (hash ^ hash >> 32 ^ value).wrapping_mul(MULTIPLIER)
}

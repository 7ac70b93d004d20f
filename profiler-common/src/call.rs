//! How system calls are told apart.

/// Bit of a call: it was made by `int 0x80` or from 32-bit code, and its number is that of i386. The lower 32 bits are the
/// number; bit 30 of it marks x32.
pub const COMPAT: u64 = 1 << 32;

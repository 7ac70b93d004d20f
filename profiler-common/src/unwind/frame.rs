//! How a frame is written down: nearly always as the address that a call returns to.

/// Set in the address of a frame that a signal interrupted: the thread was at that very instruction, which may be the
/// first of its function, while a call lies before the address that it returns to. No address has this bit alone.
pub const INTERRUPTED: u64 = 1 << 62;

/// Bits of an address of user code.
const USER: u64 = (1 << 47) - 1;

/// A frame at `ip`, which is a return address if `returned` is 1, and an interrupted instruction if it is 0.
#[inline(always)]
pub(super) fn marked(ip: u64, returned: u64) -> u64 {
    ip | (returned ^ 1) << INTERRUPTED.trailing_zeros()
}

/// The address of a frame, and whether it was interrupted there.
pub const fn unmarked(frame: u64) -> (u64, bool) {
    if frame & !USER == INTERRUPTED { (frame & USER, true) } else { (frame, false) }
}

#[cfg(test)]
mod tests {
    use super::{marked, unmarked};

    #[test]
    fn a_mark_is_not_taken_for_an_address_nor_the_other_way_round() {
        for address in [1, 0x55d0_c0a0_1000, (1 << 47) - 1] {
            assert_eq!(unmarked(marked(address, 1)), (address, false));
            assert_eq!(unmarked(marked(address, 0)), (address, true));
        }
        // What a damaged stack may hold.
        for word in [u64::MAX, 0xffff_ffff_ff60_0000, 3 << 61, 1 << 63, 1 << 62 | 1 << 47] {
            assert_eq!(unmarked(marked(word, 1)), (word, false));
        }
    }
}

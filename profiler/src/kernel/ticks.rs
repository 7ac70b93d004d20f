//! The kernel's tick counter: a BPF program reads it with one load, where reading the nanosecond clock costs more than
//! everything else that a probe does.

use std::io;

use aya_obj::generated::bpf_func_id;
use profiler_common::age::{TICK_SHIFT, UNIT_SHIFT};

use crate::kernel::bpf;

/// The tick counter at one moment, and the length of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// `jiffies_64`.
    pub(crate) now: u64,
    /// Age units per tick, times `1 << TICK_SHIFT`.
    pub(crate) units: u64,
}

/// Ticks per second that a kernel can be built with (kernel/Kconfig.hz).
const RATES_HZ: [u64; 4] = [100, 250, 300, 1000];
/// The counter starts this long before its lower half overflows (`INITIAL_JIFFIES`, include/linux/jiffies.h).
const STARTS_BEFORE_OVERFLOW_S: u64 = 300;
/// How far the counter may be from the monotonic clock, which starts a moment before it.
const TOLERANCE_MS: u64 = 2000;

impl Ticks {
    /// Reads the counter. `None` if the kernel refuses, or if the length of a tick cannot be determined; then only the
    /// nanosecond clock can be used.
    pub(crate) fn read(monotonic_ns: u64) -> Option<Ticks> {
        let now = counter().inspect_err(|e| tracing::info!("the tick counter cannot be read: {e}")).ok()?;
        let hz = rate(now, monotonic_ns)?;
        // TICK_NSEC, include/vdso/jiffies.h.
        let tick_ns = (1_000_000_000 + hz / 2) / hz;
        Some(Ticks { now, units: tick_ns << (TICK_SHIFT - UNIT_SHIFT) })
    }
}

/// `jiffies_64`, read in two halves: a program returns 32 bits.
fn counter() -> io::Result<u64> {
    const CALL_JIFFIES64: u64 = (bpf_func_id::BPF_FUNC_jiffies64 as u64) << 32 | 0x85;
    const SHIFT_RIGHT_32: u64 = 0x0000_0020_0000_0077;
    const EXIT: u64 = 0x95;
    let upper = || bpf::run_once(&[CALL_JIFFIES64, SHIFT_RIGHT_32, EXIT]);
    let mut high = upper()?;
    loop {
        let low = bpf::run_once(&[CALL_JIFFIES64, EXIT])?;
        let after = upper()?;
        if after == high {
            return Ok(u64::from(high) << 32 | u64::from(low));
        }
        high = after;
    }
}

/// Ticks per second, from the counter and the time since boot. `None` unless exactly one rate fits both.
fn rate(counter: u64, monotonic_ns: u64) -> Option<u64> {
    let fits = |hz: &u64| {
        let start = (1u64 << 32) - STARTS_BEFORE_OVERFLOW_S * hz;
        let elapsed = counter.wrapping_sub(start) as i128 * 1000;
        let expected = i128::from(monotonic_ns) * i128::from(*hz) / 1_000_000;
        (elapsed - expected).abs() <= i128::from(TOLERANCE_MS * hz)
    };
    let mut rates = RATES_HZ.into_iter().filter(fits);
    // About five minutes after boot, every rate fits.
    rates.next().filter(|_| rates.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counter of a system that has been up for `ms` milliseconds.
    fn counter_after(ms: u64, hz: u64) -> u64 {
        (1 << 32) - 300 * hz + ms * hz / 1000
    }

    #[test]
    fn the_rate_follows_from_uptime() {
        for hz in RATES_HZ {
            for up_ms in [10_000, 250_000, 400_000, 86_400_000, 400 * 86_400_000] {
                for late_ms in [0, 5, 900] {
                    assert_eq!(
                        rate(counter_after(up_ms - late_ms, hz), up_ms * 1_000_000),
                        Some(hz),
                        "{up_ms}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_unknown_rate_is_not_guessed() {
        assert_eq!(rate(counter_after(300_000, 250), 300_000_000_000), None, "every rate fits");
        assert_eq!(rate(counter_after(3_600_000, 128), 3_600_000_000_000), None, "no rate fits");
        assert_eq!(rate(0, 1), None);
    }
}

//! The one clock of server and bots: they share a process, so what one writes down the other can subtract from.

use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since this function was first called. Monotonic; 64 bits last for 584 years.
pub(crate) fn now_ns() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

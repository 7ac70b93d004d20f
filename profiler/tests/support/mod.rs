//! What the tests of the whole program share: workloads that keep books, runs of profiler, and the comparison of both.
//!
//! Live tests observe real processes and need root. Without it they fail, unless `PROFILER_NO_ROOT=1` says that this
//! machine has none: then each says `SKIPPED`. They run one at a time: each of them measures, or kills at a chosen
//! moment, and the machine may be small.
#![allow(dead_code, reason = "every test binary uses its own part of this")]

pub(crate) mod account;
pub(crate) mod chains;
pub(crate) mod compile;
pub(crate) mod observer;
pub(crate) mod pong;
pub(crate) mod process;
pub(crate) mod workload;

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to run a live test. Held until the end of the test.
pub(crate) struct Live(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

/// Admits a live test: `None` if the machine has no root and says so.
///
/// # Panics
/// Without root and without `PROFILER_NO_ROOT=1`.
pub(crate) fn live() -> Option<Live> {
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var_os("PROFILER_NO_ROOT").is_some_and(|value| value == "1"),
            "run as root: cargo xtask test (or set PROFILER_NO_ROOT=1 to skip what needs it)"
        );
        say_skipped("not root, and PROFILER_NO_ROOT=1");
        return None;
    }
    // A test that failed while it held the lock says nothing about this one.
    Some(Live(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Says that the running test is skipped, past the capture of the test harness: a skip is never silent.
pub(crate) fn say_skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Tells something that is worth knowing of a test that passed, past the capture of the test harness.
pub(crate) fn remark(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Whether the long versions were asked for (`cargo xtask test --soak`).
pub(crate) fn soak() -> bool {
    std::env::var_os("PROFILER_SOAK").is_some_and(|value| value == "1")
}

/// Random moments: a fixed sequence, so that a failure can be tried again. The machine adds its own chance.
pub(crate) struct Moments(u64);

impl Moments {
    /// A sequence; `seed` must not be 0.
    pub(crate) fn new(seed: u64) -> Moments {
        Moments(seed)
    }

    /// A moment below `bound_ms`, with microsecond resolution.
    pub(crate) fn within_ms(&mut self, bound_ms: u64) -> std::time::Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        std::time::Duration::from_micros(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % (bound_ms * 1000))
    }
}

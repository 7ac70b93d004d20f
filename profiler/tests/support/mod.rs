//! What the tests of the whole program share: workloads that keep books, runs of profiler, and the comparison of both.
//!
//! Live tests observe real processes and need root. Without it they fail, unless `PROFILER_NO_ROOT=1` says that this
//! machine has none: then each says `SKIPPED`. They run one at a time: each of them measures, or kills at a chosen
//! moment, and the machine may be small. Only those that wait most of the time run beside others of their kind.
//!
//! `cargo xtask vm` runs some of them on other kernels, in a machine that has no compiler and is slow:
//! `PROFILER_ONLY_BUILD=1` has a test build its workloads and end where it would start the first program, and
//! `PROFILER_QUICK=1` makes runs short.
#![allow(dead_code, reason = "every test binary uses its own part of this")]
#![allow(clippy::exit, reason = "a test that is only to build ends before it runs anything")]

pub(crate) mod account;
pub(crate) mod books;
pub(crate) mod calls;
pub(crate) mod cgroup;
pub(crate) mod chains;
pub(crate) mod compile;
pub(crate) mod kernel;
pub(crate) mod loop_device;
pub(crate) mod network;
pub(crate) mod observer;
pub(crate) mod pong;
pub(crate) mod process;
pub(crate) mod pty;
pub(crate) mod rounds;
pub(crate) mod socket_state;
pub(crate) mod tables;
pub(crate) mod turns;
pub(crate) mod workload;
pub(crate) mod zone;

use std::io::Write as _;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static RUNNING: RwLock<()> = RwLock::new(());

/// The right to run a live test. Held until the end of the test.
#[expect(dead_code, reason = "held, not read")]
pub(crate) enum Live {
    Alone(RwLockWriteGuard<'static, ()>),
    Beside(RwLockReadGuard<'static, ()>),
}

/// Admits a live test that needs the machine for itself: `None` if the machine has no root and says so.
///
/// # Panics
/// Without root and without `PROFILER_NO_ROOT=1`.
pub(crate) fn live() -> Option<Live> {
    // A test that failed while it held the lock says nothing about this one.
    can_run().then(|| Live::Alone(RUNNING.write().unwrap_or_else(PoisonError::into_inner)))
}

/// The same for a test that waits most of the time, and for nothing that others of its kind do: it runs beside them.
///
/// # Panics
/// As [`live`].
pub(crate) fn live_beside_others() -> Option<Live> {
    can_run().then(|| Live::Beside(RUNNING.read().unwrap_or_else(PoisonError::into_inner)))
}

fn can_run() -> bool {
    if !only_building() && !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var_os("PROFILER_NO_ROOT").is_some_and(|value| value == "1"),
            "run as root: cargo xtask test (or set PROFILER_NO_ROOT=1 to skip what needs it)"
        );
        testbed::skip::skip("not root, and PROFILER_NO_ROOT=1");
        return false;
    }
    true
}

/// How often a planted fault must be found, and a healthy server be left in peace.
pub(crate) fn runs() -> usize {
    if soak() { 10 } else { 2 }
}

/// Whether the long versions were asked for (`cargo xtask test --soak`).
pub(crate) fn soak() -> bool {
    is_set("PROFILER_SOAK")
}

/// One of three: for a machine that is slow (`PROFILER_QUICK=1`), as usual, or for the long versions.
pub(crate) fn by_length<T>(quick: T, usual: T, long: T) -> T {
    if soak() {
        long
    } else if is_set("PROFILER_QUICK") {
        quick
    } else {
        usual
    }
}

/// Whether workloads are to be built and nothing is to be run.
pub(crate) fn only_building() -> bool {
    is_set("PROFILER_ONLY_BUILD")
}

/// Called before any program is started. Ends this process if that is as far as it is to go, so a test builds all
/// its workloads before it starts the first.
pub(crate) fn about_to_run() {
    if only_building() {
        std::process::exit(0);
    }
}

/// Prints a remark of a test that passed to standard error itself, which the test harness does not capture.
pub(crate) fn remark(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
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

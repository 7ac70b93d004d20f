//! Pointless work of one thread. Every threshold is a constant here; `docs/syscalls.md` gives the reasons.

use super::{ByCall, Facts, problem, share_below};
use crate::{
    kernel::calls::{self, native},
    report::{Finding, Unit, Value},
    tool::syscalls::{
        kinds::{
            CLOCK_GETTIME, CLOCKS, FUTEX, LOOKUPS, POLLS, READS, RECEIVES, SENDS, SLEEPS, SYNCS, WRITES,
            is_wait,
        },
        rows::{Sum, Who},
        rules,
    },
    units,
};

/// A thread spins if it polls at least this often per second,
pub(super) const SPIN_PER_S: f64 = 1_000.0;
/// at least this share of the polls find nothing ready,
pub(super) const SPIN_EMPTY: f64 = 0.9;
/// and this share of them return within 50 us, so they do not wait.
pub(super) const SHORT: f64 = 0.9;
pub(super) const SHORT_NS: u64 = 50_000;
/// Transfers are tiny if there are this many per second, of this many bytes on average,
pub(super) const TINY_PER_S: f64 = 1_000.0;
pub(super) const TINY_BYTES: f64 = 1.5;
/// and this many for each call that waits: a single byte that wakes a thread is read once per poll.
pub(super) const TINY_PER_WAIT: f64 = 8.0;
/// A read that takes longer has waited for its byte. Some programs wake a thread that way.
pub(super) const TINY_READ_NS: u64 = 10_000;
/// Sends could be batched if there are this many per second, and this many each time the thread polls or sleeps.
pub(super) const SENDS_PER_S: f64 = 5_000.0;
pub(super) const SENDS_PER_TURN: f64 = 32.0;
/// A storm of EAGAIN: this many per second, and this share of the calls.
pub(super) const EAGAIN_PER_S: f64 = 1_000.0;
pub(super) const EAGAIN_SHARE: f64 = 0.9;
/// This many clock reads per second go through the kernel.
pub(super) const CLOCKS_PER_S: f64 = 1_000.0;
/// Lookups of files that do not exist, per second and in all. A program that starts also looks for many, but only briefly. A server looks
/// for what its clients ask for: this many for each call in which the thread receives something.
pub(super) const MISSING_PER_S: f64 = 100.0;
pub(super) const MISSING_LEAST: u64 = 1_000;
pub(super) const MISSING_PER_RECEIVED: u64 = 5;
/// A thread has a regular loop if it sleeps this often per second, and this many times for each sync. A sync that takes longer
/// than this then delays the loop.
pub(super) const REGULAR_PER_S: f64 = 5.0;
pub(super) const SLEEPS_PER_SYNC: u64 = 5;
pub(super) const SYNC_NS: u64 = 10_000_000;

const EAGAIN: u64 = 11;
const ENOENT: u64 = 2;

/// A thread that is judged.
struct Judged<'a> {
    facts: &'a Facts<'a>,
    who: Who,
    calls: &'a ByCall<'a>,
}

/// Everything in a thread's calls that is pointless.
pub(super) fn findings(facts: &Facts<'_>, who: Who, calls: &ByCall<'_>) -> Vec<Finding> {
    let thread = Judged { facts, who, calls };
    let mut findings = Vec::new();
    for (call, sum) in calls {
        findings.extend(thread.spin(*call, sum));
        findings.extend(thread.tiny(*call, sum));
        findings.extend(thread.eagain(*call, sum));
    }
    findings.extend(thread.sends());
    findings.extend(thread.clocks());
    findings.extend(thread.missing());
    findings.extend(thread.syncs());
    findings
}

impl Judged<'_> {
    fn rate(&self, count: u64) -> f64 {
        self.facts.rate(count)
    }

    /// The calls of some kinds, given by their x86-64 numbers; includes the same calls of i386 and x32.
    fn of(&self, kinds: &[u64]) -> Vec<(u64, &Sum)> {
        let is_one = |call: u64| native(call).is_some_and(|call| kinds.contains(&call));
        self.calls.iter().filter(|(call, _)| is_one(**call)).map(|(call, sum)| (*call, *sum)).collect()
    }

    fn problem(&self, rule: &'static str, call: u64, words: String) -> Finding {
        problem(self.facts, self.who, rule, call, words)
    }

    fn spin(&self, call: u64, sum: &Sum) -> Option<Finding> {
        let rate = self.rate(sum.returned);
        let empty = sum.zeros as f64 / sum.returned.max(1) as f64;
        if !POLLS.contains(&native(call)?) || rate < SPIN_PER_S || empty < SPIN_EMPTY {
            return None;
        }
        (share_below(sum, SHORT_NS) >= SHORT).then(|| {
            let words = format!(
                "polls with {} {} times a second, and {} of the polls find nothing ready: give them a timeout.",
                calls::call(call),
                units::count(rate),
                units::percent(empty)
            );
            self.problem(rules::POLL_SPIN, call, words)
                .because("calls", Unit::Count, Value::Exact(sum.returned))
                .because("nothing_ready", Unit::Count, Value::Exact(sum.zeros))
        })
    }

    fn tiny(&self, call: u64, sum: &Sum) -> Option<Finding> {
        let is_read = READS.contains(&native(call)?);
        if !is_read && !WRITES.contains(&native(call)?) {
            return None;
        }
        let worked = sum.returned.saturating_sub(sum.failed());
        let mean = sum.results as f64 / worked.max(1) as f64;
        let rate = self.rate(worked);
        let waits: u64 =
            self.calls.iter().filter(|(call, _)| is_wait(**call)).map(|(_, sum)| sum.returned).sum();
        let per_wait = worked as f64 / waits.max(1) as f64;
        if rate < TINY_PER_S || mean > TINY_BYTES || sum.results == 0 || per_wait < TINY_PER_WAIT {
            return None;
        }
        (!is_read || share_below(sum, TINY_READ_NS) >= SHORT).then(|| {
            let words = format!(
                "calls {} {} times a second, {} bytes each on average: use a buffer.",
                calls::call(call),
                units::count(rate),
                units::plain(mean)
            );
            self.problem(rules::TINY_TRANSFERS, call, words)
                .because("calls", Unit::Count, Value::Exact(worked))
                .because("bytes", Unit::Bytes, Value::Exact(sum.results))
        })
    }

    fn eagain(&self, call: u64, sum: &Sum) -> Option<Finding> {
        // A futex call that finds the value changed is normal.
        if native(call)? == FUTEX {
            return None;
        }
        let count = sum.errors.get(&EAGAIN).copied().unwrap_or(0);
        let share = count as f64 / sum.returned.max(1) as f64;
        if self.rate(count) < EAGAIN_PER_S || share < EAGAIN_SHARE {
            return None;
        }
        // Some calls fail with this error when they time out. Those have waited.
        (share_below(sum, SHORT_NS) >= SHORT).then(|| {
            let words = format!(
                "calls {} {} times a second, and {} of the calls find nothing to do (EAGAIN): wait until something is ready.",
                calls::call(call),
                units::count(self.rate(sum.returned)),
                units::percent(share)
            );
            self.problem(rules::EAGAIN_STORM, call, words)
                .because("calls", Unit::Count, Value::Exact(sum.returned))
                .because("eagain", Unit::Count, Value::Exact(count))
        })
    }

    fn sends(&self) -> Option<Finding> {
        let count = |kinds: &[u64]| self.of(kinds).iter().map(|(_, sum)| sum.returned).sum::<u64>();
        let (sent, turns) = (count(&SENDS), count(&POLLS) + count(&SLEEPS));
        let sends = self.of(&SENDS);
        let (call, _) = sends.iter().max_by_key(|(_, sum)| sum.returned)?;
        let per_turn = sent as f64 / turns.max(1) as f64;
        if turns == 0 || self.rate(sent) < SENDS_PER_S || per_turn < SENDS_PER_TURN {
            return None;
        }
        // On a stream, each client has its own socket: nothing could be batched.
        (self.facts.has_datagrams)(self.who.space).then(|| {
            let words = format!(
                "sends {} messages a second one by one, {} each time it polls or sleeps: sendmmsg sends many through a socket at once.",
                units::count(self.rate(sent)),
                units::count(per_turn)
            );
            self.problem(rules::UNBATCHED_SENDS, *call, words)
                .because("sends", Unit::Count, Value::Exact(sent))
                .because("turns", Unit::Count, Value::Exact(turns))
        })
    }

    /// Reads of clocks that the vDSO does not have are left out. They are known only for native calls, and for threads
    /// that have a record.
    fn clocks(&self) -> Option<Finding> {
        let kernel_clocks = self.facts.kernel_clocks.get(&self.who).copied();
        let avoidable = |call: &u64| {
            let count = self.calls.get(call)?.returned;
            match (*call, kernel_clocks) {
                (CLOCK_GETTIME, known) => Some((*call, count.saturating_sub(known?))),
                _ => Some((*call, count)),
            }
        };
        let (call, count) = CLOCKS.iter().filter_map(avoidable).max_by_key(|(_, count)| *count)?;
        let rate = self.rate(count);
        (rate >= CLOCKS_PER_S).then(|| {
            let words = format!(
                "reads a clock with {} {} times a second through the kernel: the vDSO reads CLOCK_REALTIME and CLOCK_MONOTONIC \
                 without a system call, unless the clock source of this machine (/sys/devices/system/clocksource) prevents that.",
                calls::call(call),
                units::count(rate)
            );
            self.problem(rules::CLOCK_CALLS, call, words).because("calls", Unit::Count, Value::Exact(count))
        })
    }

    fn missing(&self) -> Option<Finding> {
        let missing = |sum: &Sum| sum.errors.get(&ENOENT).copied().unwrap_or(0);
        let lookups = self.of(&LOOKUPS);
        let (call, sum) = lookups.iter().max_by_key(|(_, sum)| missing(sum))?;
        let received: u64 = self.of(&RECEIVES).iter().map(|(_, sum)| sum.returned).sum();
        let rate = self.rate(missing(sum));
        let least = MISSING_LEAST.max(MISSING_PER_RECEIVED * received);
        (rate >= MISSING_PER_S && missing(sum) >= least).then(|| {
            let words = format!(
                "calls {} {} times a second for files that do not exist: remember which are missing.",
                calls::call(*call),
                units::count(rate)
            );
            self.problem(rules::MISSING_FILES, *call, words).because(
                "missing",
                Unit::Count,
                Value::Exact(missing(sum)),
            )
        })
    }

    fn syncs(&self) -> Option<Finding> {
        let slept: u64 = self.of(&SLEEPS).iter().map(|(_, sum)| sum.returned).sum();
        let syncs = self.of(&SYNCS);
        let synced: u64 = syncs.iter().map(|(_, sum)| sum.returned).sum();
        let (call, sum) = syncs.iter().max_by_key(|(_, sum)| sum.max_ns)?;
        let is_regular = self.rate(slept) >= REGULAR_PER_S && slept >= SLEEPS_PER_SYNC * synced;
        (is_regular && sum.max_ns >= SYNC_NS).then(|| {
            let words = format!(
                "sleeps {} times a second, and waits for the disk in between: {} of {}, the longest {}. Let another \
                 thread do it.",
                units::count(self.rate(slept)),
                units::plural(sum.returned as usize, "call", "calls"),
                calls::call(*call),
                units::nanos(sum.max_ns as f64)
            );
            self.problem(rules::SYNC_IN_LOOP, *call, words)
                .because("calls", Unit::Count, Value::Exact(sum.returned))
                .because("max_ns", Unit::Nanos, Value::Exact(sum.max_ns))
        })
    }
}

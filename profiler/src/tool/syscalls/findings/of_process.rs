//! Pointless work of all threads of a process together.

use std::collections::BTreeMap;

use super::{Facts, share_below};
use crate::{
    kernel::calls::native,
    report::{Finding, Severity, Unit, Value},
    tool::syscalls::{kinds::FUTEX, rows::Sum, rules},
    units,
};

/// Futex calls per second of a process, half of which return within 20 us: those wake a thread, or find that they need not wait.
pub(super) const FUTEX_PER_S: f64 = 20_000.0;
pub(super) const FUTEX_SHORT: f64 = 0.5;
pub(super) const FUTEX_SHORT_NS: u64 = 20_000;
/// The share of them that is in vain: they wake nobody, or return at once because the value has changed.
pub(super) const FUTEX_IN_VAIN: f64 = 0.5;

const EAGAIN: u64 = 11;

/// Storms of futex calls, by address space.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut futexes: BTreeMap<(u16, u64), Sum> = BTreeMap::new();
    for ((who, call), sum) in facts.by.iter().filter(|((_, call), _)| native(*call) == Some(FUTEX)) {
        futexes.entry((who.space, *call)).or_default().add(sum);
    }
    futexes.iter().filter_map(|((space, call), sum)| storm(facts, *space, *call, sum)).collect()
}

/// A lower bound of the calls that were in vain. A thread that was woken returns 0, as does a call that wakes nobody. But each
/// thread that was woken is also counted in the result of the call that woke it.
fn in_vain(sum: &Sum) -> u64 {
    let too_late = sum.errors.get(&EAGAIN).copied().unwrap_or(0);
    sum.zeros.saturating_sub(sum.results) + too_late
}

fn storm(facts: &Facts<'_>, space: u16, call: u64, sum: &Sum) -> Option<Finding> {
    let (rate, short) = (facts.rate(sum.returned), share_below(sum, FUTEX_SHORT_NS));
    let in_vain = in_vain(sum);
    let vain = in_vain as f64 / sum.returned.max(1) as f64;
    // Calls that wake a thread hand over work, however many there are: a thread pool may make 170,000 a second.
    (rate >= FUTEX_PER_S && vain >= FUTEX_IN_VAIN && short >= FUTEX_SHORT).then(|| {
        let process = (facts.pid)(space).map_or_else(String::new, |pid| format!(" of process {pid}"));
        let words = format!(
            "Threads{process} wake each other all the time: {} futex calls a second, {} of them within {}, {} in vain. A lock \
             is contended, or a condition is signalled for every item.",
            units::count(rate),
            units::percent(short),
            units::nanos(FUTEX_SHORT_NS as f64),
            units::percent(vain)
        );
        Finding::plain(rules::FUTEX_STORM, Severity::Problem, words)
            .on(facts.row(space, call))
            .because("calls", Unit::Count, Value::Exact(sum.returned))
            .because("in_vain", Unit::Count, Value::Exact(in_vain))
    })
}

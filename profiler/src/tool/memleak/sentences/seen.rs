//! What was seen of the leaks: the age of blocks of which none was freed, what they hold, and what was freed before.

use std::time::Duration;

use profiler_common::age::UNIT_NS;

use super::{Facts, Leak};
use crate::{stats::lifetimes::survivors::Kept, units};

/// Says no more than was seen: what will be freed later is not known. `functions`: how many leak.
pub(super) fn seen(leaks: &[Leak<'_>], functions: usize, facts: &Facts<'_>) -> String {
    let freed = if leaks.iter().any(|leak| leak.freed) { "hardly any" } else { "none" };
    let they = if functions == 1 { "It has" } else { "They have" };
    let bytes: f64 = leaks.iter().map(|leak| leak.old_bytes).sum();
    let about = if facts.drawing.is_some() { "~" } else { "" };
    let held = match bytes {
        // Each takes the smallest block of the allocator.
        0.0 => {
            let blocks: f64 = leaks.iter().map(|leak| leak.old_blocks).sum();
            format!("{} blocks of 0 B", units::count(blocks))
        }
        bytes => units::bytes(bytes),
    };
    format!(
        ". {they} freed {freed} of what got older than {}, in {} of observation: {about}{held}, from {} of {}{}.",
        ages(leaks, facts),
        units::range(leaks.iter().map(|leak| leak.lasted)),
        leaks.iter().map(|leak| leak.stacks).sum::<usize>(),
        units::plural(facts.stacks, "call stack", "call stacks"),
        freed_before(leaks, facts)
    )
}

/// What was freed between the age asked about and the age from which leaks are counted.
fn freed_before(leaks: &[Leak<'_>], facts: &Facts<'_>) -> String {
    let blocks: u64 = leaks.iter().map(|leak| leak.freed_before).sum();
    let from = leaks.iter().map(|leak| leak.from).max().unwrap_or(facts.older);
    if blocks == 0 {
        return String::new();
    }
    let drawn = if facts.drawing.is_some() { "drawn " } else { "" };
    let (one, many) = (format!("{drawn}block was"), format!("{drawn}blocks were"));
    let (count, older) = (units::count(blocks as f64), units::duration(facts.older));
    let what = if blocks == 1 { one } else { many };
    format!("; {count} {what} freed at ages between {older} and {}", shown(from, facts))
}

/// The ages from which on blocks are kept: one, or the lowest and the highest.
fn ages(leaks: &[Leak<'_>], facts: &Facts<'_>) -> String {
    let from = || leaks.iter().map(|leak| leak.from);
    let lowest = shown(from().min().unwrap_or(facts.older), facts);
    let highest = shown(from().max().unwrap_or(facts.older), facts);
    if lowest == highest { highest } else { format!("{lowest} to {highest}") }
}

/// Any other age than the one asked about is rounded up, because some slightly younger blocks may have been freed.
fn shown(age: Duration, facts: &Facts<'_>) -> String {
    if age == facts.older { units::duration(age) } else { units::rounded_up(age) }
}

/// The age from which on blocks are kept.
pub(super) fn age(kept: &Kept) -> Duration {
    Duration::from_nanos(kept.from_units.saturating_mul(UNIT_NS))
}

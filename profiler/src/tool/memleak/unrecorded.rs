//! Calls of allocators that gave no block to judge: none was sampled, all failed, or all were releases.

use std::time::Duration;

use profiler_common::memleak::counters::Counter;

use super::{coarse::Drawing, rules};
use crate::{
    report::{Finding, Severity},
    units,
};

/// Outcomes of calls that gave no block.
const ENDS: [(Counter, &str); 6] = [
    (Counter::ReturnFailed, "failed"),
    (Counter::EntryImpossible, "asked for more than there can be"),
    (Counter::ReturnReleased, "released a block (realloc to 0 bytes)"),
    (Counter::EntryNested, "were made by other calls"),
    (Counter::EntryUnsafe, "were not followed (lost_unsafe_to_follow)"),
    (Counter::Abandoned, "never returned"),
];

/// The finding instead of "no allocation was seen". `None` if there were no calls at all. `counts_while_all_attached`: the part
/// of the counts from the time in which all probes were attached; before and after that, releases are seen and allocations are
/// not.
pub(super) fn finding(
    counters: &[u64; Counter::COUNT],
    counts_while_all_attached: &[u64; Counter::COUNT],
    sample_bytes: Option<u64>,
    length: Duration,
) -> Option<Finding> {
    let of = |counter: Counter| counters[counter as usize];
    if let Some(drawing) = Drawing::of(counters, sample_bytes, 0).filter(Drawing::left_out_all) {
        return Some(drawing.finding(length));
    }
    let calls = of(Counter::EntryHits).saturating_sub(of(Counter::EntryOther));
    if calls == 0 {
        let of = |counter: Counter| counts_while_all_attached[counter as usize];
        let released = of(Counter::FreeHits).saturating_sub(of(Counter::FreeOther));
        return (released > 0).then(|| only_released(released, length));
    }
    let ends: Vec<String> = ENDS
        .iter()
        .filter(|(counter, _)| of(*counter) > 0)
        .map(|(counter, words)| format!("{} {words}", units::count(of(*counter) as f64)))
        .collect();
    let ends = if ends.is_empty() { "none has returned yet".to_owned() } else { ends.join(", ") };
    let advice = if of(Counter::ReturnFailed) == calls {
        "look at its limits (`ulimit -v`, the cgroup's memory.max)"
    } else {
        "observe it for longer"
    };
    let words = format!(
        "No block was allocated in {}: of {}, {ends}. The target does call its allocator; {advice}.",
        units::duration(length),
        units::plural(calls as usize, "call of an allocator", "calls of allocators"),
    );
    Some(Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words))
}

fn only_released(calls: u64, length: Duration) -> Finding {
    let words = format!(
        "No allocation was seen in {}, and {}: the target works, and may allocate at another time. Observe it for longer.",
        units::duration(length),
        units::plural(calls as usize, "release of memory from before", "releases of memory from before"),
    );
    Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn said(counts: &[(Counter, u64)], sample_bytes: Option<u64>) -> Option<String> {
        let mut counters = [0; Counter::COUNT];
        for (counter, count) in counts {
            counters[*counter as usize] = *count;
        }
        Some(finding(&counters, &counters, sample_bytes, SECOND)?.text)
    }

    #[test]
    fn failed_calls_are_reported() {
        assert_eq!(said(&[], None), None);
        assert_eq!(said(&[(Counter::EntryHits, 3), (Counter::EntryOther, 3)], None), None, "those of others");
        let failed = [(Counter::EntryHits, 7), (Counter::EntryBegun, 7), (Counter::ReturnFailed, 7)];
        assert_eq!(
            said(&failed, None).unwrap(),
            "No block was allocated in 1s: of 7 calls of allocators, 7 failed. The target does call its allocator; \
             look at its limits (`ulimit -v`, the cgroup's memory.max)."
        );
        let released =
            said(&[(Counter::FreeHits, 5), (Counter::FreeOther, 1), (Counter::FreeUntracked, 4)], None);
        assert!(
            released
                .unwrap()
                .starts_with("No allocation was seen in 1s, and 4 releases of memory from before: ")
        );
        assert_eq!(said(&[(Counter::FreeHits, 5), (Counter::FreeOther, 5)], None), None);
        let under_way = [(Counter::EntryHits, 1), (Counter::EntryBegun, 1)];
        assert!(said(&under_way, None).unwrap().contains("of 1 call of an allocator, none has returned yet"));
    }

    #[test]
    fn releases_while_not_all_probes_sat_are_not_told() {
        let with = |released: u64, others: u64| {
            let mut counters = [0; Counter::COUNT];
            counters[Counter::FreeHits as usize] = released + others;
            counters[Counter::FreeOther as usize] = others;
            counters
        };
        let said = |meanwhile| finding(&with(9, 2), &meanwhile, None, SECOND).map(|finding| finding.text);
        assert_eq!(said(with(0, 1)), None);
        assert!(said(with(2, 1)).unwrap().contains("and 2 releases of memory from before"));
    }

    #[test]
    fn where_none_was_drawn_it_is_the_sampling() {
        let left_out = [(Counter::EntryHits, 9_000), (Counter::EntrySampledOut, 9_000)];
        let text = said(&left_out, Some(1 << 30)).unwrap();
        assert!(text.starts_with("Undecided: --sample-bytes 1GiB"), "{text}");
    }
}

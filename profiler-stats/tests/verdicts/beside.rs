//! A leak beside a cache of the same site: what is said of it must not depend on when one happens to look.

use profiler_stats::lifetimes::judge::judge;
use profiler_stats::lifetimes::verdict::{Judgement, Verdict};

use crate::model::{Rng, Site};
use crate::{OLDER_NS, failures, repetitions, tally};

/// Blocks of the leak in an age, and of the cache.
const LEAKED: f64 = 40.0;
const CACHED: f64 = 160.0;
/// Mean size of a block, in bytes.
const MEAN_BYTES: f64 = 64.0 + 1_000.0;

/// A cache whose entries live for `lifetime` ages, watched for `ages`.
fn beside(lifetime: f64, ages: f64, seed: u64) -> (Judgement, f64) {
    let older_ns = OLDER_NS[seed as usize % OLDER_NS.len()];
    let mut site = Site::new(Site::window(older_ns, ages));
    let mut rng = Rng::new(seed);
    site.steady(&mut rng, LEAKED, |_| f64::INFINITY);
    site.steady(&mut rng, CACHED, |_| lifetime);
    let (row, window) = site.finish();
    (judge(&row, &window), older_ns as f64 / 3.6e12)
}

#[test]
fn a_leak_beside_a_cache_of_twice_the_age_is_found_after_any_time() {
    let lengths = [3.25, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 8.0];
    let lifetimes = [1.5, 1.8, 2.0, 2.1];
    let failed =
        failures(lifetimes.iter().flat_map(|life| lengths.map(|ages| (*life, ages))), |&(life, ages)| {
            let repetitions = repetitions(100);
            let counts = tally(repetitions, |seed| beside(life, ages, seed).0.verdict.name());
            let of = |verdict: Verdict| counts.get(verdict.name()).copied().unwrap_or(0);
            let found = of(Verdict::Leak) * 20 >= repetitions * 19;
            let open = (of(Verdict::Leak) + of(Verdict::Young)) * 20 >= repetitions * 19;
            (if ages >= 4.5 { found } else { open }, counts)
        });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Without the entries of the cache, which go: with them it would be up to three times as much.
#[test]
fn its_growth_is_that_of_the_leak_only() {
    let repetitions = repetitions(1_000);
    for (life, ages) in [(1.5, 5.0), (2.0, 5.0), (2.0, 8.0)] {
        let counts = tally(repetitions, |seed| {
            let (judgement, hours) = beside(life, ages, seed);
            let growth = judgement.growth_bytes_per_hour.expect("watched for longer than the age");
            let truth = LEAKED * MEAN_BYTES / hours;
            let near = (growth.value / truth - 1.0).abs() < 0.4;
            let holds = growth.low <= truth && growth.high.is_none_or(|high| truth <= high);
            let kept = judgement.kept.is_some_and(|kept| kept.released_before > 0);
            (judgement.verdict.name(), near, holds, kept)
        });
        let of = |is: fn(&(&str, bool, bool, bool)) -> bool| -> u64 {
            counts.iter().filter(|(outcome, _)| is(outcome)).map(|(_, count)| count).sum()
        };
        assert!(
            of(|(word, near, ..)| *near && *word == "LEAK") * 100 >= repetitions * 95,
            "{life} {ages}: {counts:?}"
        );
        assert!(of(|(_, _, holds, _)| *holds) * 100 >= repetitions * 93, "{life} {ages}: {counts:?}");
        assert!(of(|(_, _, _, kept)| *kept) * 100 >= repetitions * 95, "{life} {ages}: {counts:?}");
    }
}

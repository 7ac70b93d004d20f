//! How often is a verdict wrong? Simulated call stacks with known behaviour, fixed seeds. All at full length, 10,000
//! repetitions each: `PROFILER_SOAK=1 cargo test --release -p profiler-stats --test verdicts`.

mod beside;
mod bursts;
mod functions;
mod growers;
mod interim;
mod model;
mod properties;
mod scenarios;

use std::collections::BTreeMap;
use std::fmt::Debug;

use model::{Rng, Site};
use profiler_common::age::UNIT_NS;
use profiler_stats::lifetimes::judge::{MARGIN, judge};
use profiler_stats::lifetimes::rows::{StackRow, Window};
use profiler_stats::lifetimes::verdict::{Judgement, Verdict};
use scenarios::{HONEST, Listed, PLANTED, Scenario, UNEVEN};

/// Ages asked about: a test's 2 and 7 seconds, a quick look's 5 minutes, and half an hour. They differ in where the
/// age lies within its bin.
const OLDER_NS: [u64; 4] = [2_000_000_000, 7_000_000_000, 300_000_000_000, 1_800_000_000_000];

fn simulate(scenario: &Scenario, seed: u64) -> (StackRow, Window) {
    let older_ns = OLDER_NS[seed as usize % OLDER_NS.len()];
    let mut site = Site::new(Site::window(older_ns, scenario.ages));
    (scenario.fill)(&mut site, &mut Rng::new(seed), scenario.rate);
    site.finish()
}

/// Whether the simulations run at full length: `PROFILER_SOAK=1`, best with a release build.
fn soaks() -> bool {
    std::env::var_os("PROFILER_SOAK").is_some_and(|soak| soak == "1")
}

/// How often a scenario is repeated: `usual`, or 10,000 times at full length.
fn repetitions(usual: u64) -> u64 {
    if soaks() { 10_000 } else { usual }
}

/// The scenarios whose outcomes are not as they must be, each with its outcomes: all of them, since a run at full
/// length takes minutes.
fn failures<S: Debug, C: Debug>(
    scenarios: impl IntoIterator<Item = S>,
    outcome: impl Fn(&S) -> (bool, C),
) -> Vec<String> {
    let judged = scenarios.into_iter().map(|scenario| (outcome(&scenario), scenario));
    judged.filter(|((holds, _), _)| !holds).map(|((_, counts), s)| format!("{s:?}: {counts:?}")).collect()
}

/// How often each outcome came, over the seeds below `repetitions`, on all processors.
fn tally<T: Ord + Send>(repetitions: u64, outcome: impl Fn(u64) -> T + Sync) -> BTreeMap<T, u64> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut counts = BTreeMap::new();
    std::thread::scope(|scope| {
        let part = |first: u64| {
            let outcome = &outcome;
            move || (first..repetitions).step_by(threads as usize).map(outcome).collect::<Vec<_>>()
        };
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(part(first))).collect();
        for part in parts {
            for outcome in part.join().expect("a simulation does not panic") {
                *counts.entry(outcome).or_insert(0) += 1;
            }
        }
    });
    counts
}

fn run(scenario: &Scenario, seed: u64) -> Judgement {
    let (row, window) = simulate(scenario, seed);
    judge(&row, &window)
}

fn verdicts(scenario: &Scenario, repetitions: u64) -> BTreeMap<&'static str, u64> {
    tally(repetitions, |seed| run(scenario, seed).verdict.name())
}

fn count(counts: &BTreeMap<&'static str, u64>, verdict: Verdict) -> u64 {
    counts.get(verdict.name()).copied().unwrap_or(0)
}

/// Asserts of each scenario what `holds` says of its verdicts and of their number: 200, and at full length 10,000.
fn assert_verdicts(scenarios: &[Listed], holds: impl Fn(&BTreeMap<&'static str, u64>, u64) -> bool) {
    let failed = failures(scenarios, |scenario| {
        let repetitions = repetitions(200);
        let counts = verdicts(scenario, repetitions);
        (holds(&counts, repetitions), counts)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn planted_leaks_are_found() {
    assert_verdicts(PLANTED, |counts, of| count(counts, Verdict::Leak) * 100 >= of * 99);
}

#[test]
fn uneven_leaks_are_mostly_found() {
    assert_verdicts(UNEVEN, |counts, of| {
        let bounded = count(counts, Verdict::Cache) + count(counts, Verdict::Churn);
        count(counts, Verdict::Leak) * 100 >= of * 95 && bounded == 0
    });
}

/// None of 200, and at full length one in a thousand at most.
#[test]
fn honest_memory_is_never_called_a_leak() {
    assert_verdicts(HONEST, |counts, of| count(counts, Verdict::Leak) * 1_000 <= of);
}

/// Half an hour asked about, 45 minutes watched: what sorting by outstanding bytes, by age or by survival gets wrong.
#[test]
fn four_stacks_of_a_game_server_are_kept_apart() {
    let scenarios = PLANTED.iter().chain(HONEST);
    let named = |name| scenarios.clone().find(|scenario| scenario.name == name).expect("is in the lists");
    for (name, verdict) in [
        ("cache of 2/3 age, watched for 1.5 ages", Verdict::Cache),
        ("sessions, mean 5/6 age, watched for 1.5 ages", Verdict::LongLived),
        ("1 % of temporary buffers, watched for 1.5 ages", Verdict::Leak),
        ("pure leak, watched for 1.5 ages", Verdict::Leak),
        ("temporary buffers", Verdict::Churn),
        ("cache of 1.5 ages", Verdict::Cache),
        ("table filled at start", Verdict::LongLived),
    ] {
        let counts = verdicts(named(name), 200);
        assert_eq!(count(&counts, verdict), 200, "{name}: {counts:?}");
    }
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let scenario = Scenario { ages: 1.5, rate: 200.0, ..sessions(25.0 / 30.0) };
    let (mut survival, mut hazard) = (0, 0);
    for seed in 0..1_000 {
        let judgement = run(&scenario, seed);
        let holds = |estimate: &profiler_stats::estimate::Estimate, truth: f64| {
            estimate.low <= truth && estimate.high.is_none_or(|high| truth <= high)
        };
        let kept = judgement.survival.expect("watched for longer than the age");
        survival += u64::from(holds(&kept, (-1.2f64).exp()));
        let hours = OLDER_NS[seed as usize % OLDER_NS.len()] as f64 * (25.0 / 30.0) / 3.6e12;
        hazard += u64::from(holds(&judgement.hazard.per_hour, 1.0 / hours));
    }
    assert!((930..=970).contains(&survival), "survival: {survival} of 1000");
    assert!((930..=970).contains(&hazard), "hazard: {hazard} of 1000");
}

#[test]
fn a_young_leak_is_judged_when_announced() {
    let leak = |ages, rate| Scenario {
        name: "",
        ages,
        rate,
        fill: |site, rng, rate| site.steady(rng, rate, |_| f64::INFINITY),
    };
    let mut announced = 0;
    for (ages, rate) in [(0.3, 400.0), (0.9, 100.0), (1.3, 60.0), (2.0, 15.0)] {
        for seed in 0..50 {
            let (row, window) = simulate(&leak(ages, rate), seed);
            let judgement = judge(&row, &window);
            if judgement.verdict != Verdict::Young {
                continue;
            }
            let after = judgement.judged_after.expect("the rate is known").as_nanos() as f64 / UNIT_NS as f64;
            let after = after / window.older_units as f64;
            assert!(after >= MARGIN - 1e-3 && after > ages && after < 6.0, "{ages} ages: {after}");
            announced += 1;
            let later = run(&leak(1.3 * after, rate), seed);
            assert_eq!(later.verdict, Verdict::Leak, "announced for {after} ages: {later:?}");
        }
    }
    assert!(announced > 150, "only {announced} were young");
}

fn sessions(mean: f64) -> Scenario {
    // The mean goes by way of a function without captures.
    let fill: fn(&mut Site, &mut Rng, f64) = if mean > 1.0 {
        |site, rng, rate| site.steady(rng, rate, |rng| rng.exponential(5.0))
    } else {
        |site, rng, rate| site.steady(rng, rate, |rng| rng.exponential(25.0 / 30.0))
    };
    Scenario { name: "sessions", ages: 4.0, rate: 60.0, fill }
}

/// The table in the documentation:
/// `cargo test --release -p profiler-stats --test verdicts rates -- --ignored --nocapture`.
#[test]
#[ignore = "prints tables over many seeds"]
fn rates() {
    for scenario in PLANTED.iter().chain(UNEVEN).chain(HONEST) {
        println!("{:52} {:?}", scenario.name, verdicts(scenario, 1_000));
    }
    println!("sessions of mean 5 ages, by rate: the honest case nearest to a leak");
    for (ages, rates) in
        [(1.5, [60.0, 90.0, 110.0, 130.0, 160.0, 200.0]), (4.0, [4.0, 6.0, 8.0, 10.0, 14.0, 20.0])]
    {
        for rate in rates {
            println!(
                "{ages} ages, {rate} per age: {:?}",
                verdicts(&Scenario { ages, rate, ..sessions(5.0) }, 5_000)
            );
        }
    }
    println!("a cache of 1.5 ages whose first entries have just expired");
    for ages in [1.5, 1.505, 1.51, 1.52, 1.55, 1.6] {
        for rate in [100.0, 400.0] {
            let cache =
                Scenario { name: "", ages, rate, fill: |site, rng, rate| site.steady(rng, rate, |_| 1.5) };
            println!("{ages} ages, {rate} per age: {:?}", verdicts(&cache, 1_000));
        }
    }
}

//! What the interim reports of one run say, one after the other.

use std::collections::BTreeMap;

use profiler_stats::lifetimes::judge::{MARGIN, judge_again};
use profiler_stats::lifetimes::verdict::Said;
use profiler_stats::lifetimes::verdict::Verdict::{self, Cache, Churn, Leak, LongLived, Young};

use crate::bursts::{Beat, beats, window_of};
use crate::model::{Rng, Site};
use crate::scenarios::{Changes, HONEST, Listed, PLANTED, Scenario, UNEVEN};
use crate::{OLDER_NS, failures, repetitions, tally};

/// Interim reports of a run.
const LOOKS: u32 = 50;

/// What the looks at a run say, equally far apart, each change once. Before the first line can answer, all say that it is too
/// early.
fn changes(site: &Site) -> Vec<Verdict> {
    let mut said: Vec<Verdict> = Vec::new();
    let mut before = None;
    for look in 1..=LOOKS {
        let ages = site.ages() * f64::from(look) / f64::from(LOOKS);
        let (row, window) = site.look(ages);
        let verdict = judge_again(&row, &window, before).verdict;
        before = Some(Said::after(before, verdict));
        let shown = if ages < MARGIN { Young } else { verdict };
        if said.last() != Some(&shown) {
            said.push(shown);
        }
    }
    said
}

/// The same in the words of the first line: a leak, that there is none (LONG-LIVED, CACHE and CHURN are one answer), or that
/// it is not known.
fn said(site: &Site) -> Vec<Verdict> {
    let mut said = changes(site);
    for verdict in &mut said {
        if matches!(verdict, Cache | Churn) {
            *verdict = LongLived;
        }
    }
    said.dedup();
    said
}

/// A run of ten ages of a leak that comes by a beat.
fn of_beat(beat: &Beat, seed: u64, until: f64) -> Vec<Verdict> {
    let (mut site, mut rng) = window_of(beat, seed, 10.0);
    beat.fill(&mut site, &mut rng, until);
    said(&site)
}

/// A run of a scenario.
fn filled(scenario: &Scenario, seed: u64) -> Site {
    let older_ns = OLDER_NS[seed as usize % OLDER_NS.len()];
    let mut site = Site::new(Site::window(older_ns, scenario.ages));
    (scenario.fill)(&mut site, &mut Rng::new(seed), scenario.rate);
    site
}

fn of_scenario(scenario: &Scenario, seed: u64) -> Vec<Verdict> {
    said(&filled(scenario, seed))
}

fn names(said: &[Verdict]) -> Vec<&'static str> {
    said.iter().map(|verdict| verdict.name()).collect()
}

/// Whether what is said changes in no other way than `expected`, of which some may be left out.
fn is_as(expected: &[Verdict], said: &[Verdict]) -> bool {
    let mut left = expected.iter();
    said.iter().all(|verdict| left.any(|expected| expected == verdict))
}

/// How often the answer was wrong, and which answers those were.
fn others(
    repetitions: u64,
    run: impl Fn(u64) -> Vec<Verdict> + Sync,
    holds: impl Fn(&[Verdict]) -> bool + Sync,
) -> (u64, BTreeMap<Vec<&'static str>, u64>) {
    let mut others = tally(repetitions, |seed| {
        let said = run(seed);
        if holds(&said) { Vec::new() } else { names(&said) }
    });
    others.remove(&Vec::new());
    (others.values().sum(), others)
}

/// The beats that are slow enough for a look to fall between two of them.
fn slow() -> impl Iterator<Item = Beat> {
    beats().into_iter().filter(|beat| beat.period >= 0.05)
}

/// Asserts that what is said of a beat changes in no other way than `expected`, but for one run in 500: three beats that
/// are missed one after the other are evidence too.
#[track_caller]
fn assert_changes(expected: &'static [Verdict], until: f64) {
    let repetitions = repetitions(12);
    let failed = failures(slow(), |beat| {
        let (count, others) =
            others(repetitions, |seed| of_beat(beat, seed, until), |said| is_as(expected, said));
        (count * 500 <= repetitions, others)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_continuing_leak_stays_a_leak_in_every_interim_report() {
    assert_changes(&[Young, Leak], f64::INFINITY);
}

/// A silence is evidence: once it is long enough, and not before, and for good.
#[test]
fn a_leak_that_stops_is_taken_back_once() {
    assert_changes(&[Young, Leak, LongLived], 5.0);
}

/// As if there had been one look: within three of its periods and an age.
#[test]
fn more_looks_do_not_delay_noticing_that_a_leak_has_stopped() {
    let repetitions = repetitions(40);
    let failed = failures(slow(), |beat| {
        let run = |seed: u64| {
            let stops = 4.0 + 2.0 * Rng::new(!seed).unit();
            let (mut site, mut rng) = window_of(beat, seed, stops + 3.0 * beat.period + 1.0);
            beat.fill(&mut site, &mut rng, stops);
            said(&site)
        };
        let (count, others) = others(repetitions, run, |said| said.last() == Some(&LongLived));
        (count * 20 <= repetitions, others)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Whether an answer that was withdrawn comes back. "Too early" at the start is not an answer.
fn flips(said: &[Verdict]) -> bool {
    let answers = if said.first() == Some(&Young) { &said[1..] } else { said };
    (1..answers.len()).any(|at| answers[..at].contains(&answers[at]))
}

/// Of what leaks and of what is honest: a leak in one run of a hundred at most, and the verdict of a row, whatever it is, in
/// one of twenty, since what is honest may come near to the line.
#[test]
fn a_verdict_that_was_taken_back_does_not_return() {
    let scenarios = PLANTED.iter().chain(UNEVEN).chain(HONEST);
    let failed = failures(scenarios.filter(|scenario| scenario.changes == Changes::Once), |scenario| {
        let repetitions = repetitions(40);
        let mut counts = tally(repetitions, |seed| changes(&filled(scenario, seed)));
        counts.retain(|said, _| flips(said));
        let rows: u64 = counts.values().sum();
        let is_leak = |verdict: &&Verdict| **verdict == Leak;
        let again = counts.iter().filter(|(said, _)| said.iter().filter(is_leak).count() > 1);
        let leaks: u64 = again.map(|(_, count)| count).sum();
        (rows * 20 <= repetitions && leaks * 100 <= repetitions, counts)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// As long as the cache is new, everything is kept. When its first entries are freed, what is left is not known to leak until
/// it has been watched for long enough: but it is not said to be none meanwhile, but for one run in twenty.
#[test]
fn a_leak_in_a_new_cache_is_not_called_clean() {
    let new = PLANTED.iter().filter(|scenario| scenario.changes == Changes::NewCache);
    let failed = failures(new, |scenario| {
        let repetitions = repetitions(40);
        let run = |seed: u64| of_scenario(scenario, seed);
        let (count, others) = others(repetitions, run, |said| is_as(&[Young, Leak, Young, Leak], said));
        (count * 20 <= repetitions, others)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// While it is filled, a table beside a cache is taken for a leak, and not any more once it is full. When the first entries of the
/// cache are freed, the leak may be taken back and said again, which is known; it must not become more frequent, nor last.
#[test]
fn a_table_that_was_filled_once_is_not_a_leak() {
    const RUNS: u64 = 200;
    let fill = HONEST.iter().filter(|scenario| scenario.changes == Changes::Fills);
    let failed = failures(fill, |scenario| {
        let counts = tally(RUNS, |seed| changes(&filled(scenario, seed)));
        let of = |is: fn(&[Verdict]) -> bool| -> u64 {
            counts.iter().filter(|(said, _)| is(said)).map(|(_, count)| count).sum()
        };
        let again = of(|said| said.iter().filter(|verdict| **verdict == Leak).count() > 1);
        let to_the_end = of(|said| said.last() == Some(&Leak));
        (again * 100 <= RUNS * 80 && to_the_end == 0, counts)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// That a leak is not lightly taken back must not make one of what is honest: at the end it is called so as seldom as if it
/// had been looked at only once.
#[test]
fn fifty_looks_end_with_the_right_verdict() {
    let ends = |expected: fn(&Verdict) -> bool| {
        move |scenario: &&Listed| {
            let repetitions = repetitions(40);
            let right = |said: &[Verdict]| said.last().is_some_and(expected);
            let (count, others) = others(repetitions, |seed| of_scenario(scenario, seed), right);
            (count, repetitions, others)
        }
    };
    let planted = failures(PLANTED, |scenario| {
        let (wrong, repetitions, others) = ends(|verdict| *verdict == Leak)(scenario);
        (wrong * 100 <= repetitions, others)
    });
    let honest = failures(HONEST, |scenario| {
        let (wrong, repetitions, others) = ends(|verdict| *verdict != Leak)(scenario);
        (wrong * 1_000 <= repetitions, others)
    });
    assert!(planted.is_empty() && honest.is_empty(), "{}\n{}", planted.join("\n"), honest.join("\n"));
}

/// What each kind says: `cargo test --release -p profiler-stats --test verdicts changes -- --ignored --nocapture`.
#[test]
#[ignore = "prints a table"]
fn changes_by_kind() {
    let print = |what: String, run: &(dyn Fn(u64) -> Vec<Verdict> + Sync)| {
        let mut counts: Vec<_> = tally(1_000, |seed| names(&run(seed))).into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        println!("{what}");
        for (said, count) in counts {
            println!("    {count:5} {}", said.join(" "));
        }
    };
    for scenario in PLANTED.iter().chain(UNEVEN).chain(HONEST) {
        print(scenario.name.to_owned(), &|seed| changes(&filled(scenario, seed)));
    }
    for beat in slow() {
        for until in [f64::INFINITY, 5.0] {
            print(format!("{beat:?} until {until}"), &|seed| of_beat(&beat, seed, until));
        }
    }
}

//! What the module promises, measured on simulated series; `tests/tables.rs` prints the figures in its documentation.

use super::simulation::{Beating, CHANCES, Chance, rng};
use super::*;

mod cases;
mod tables;

/// How many of so many series with these beats are found, with a period that is at most 5 % off.
fn hits(beating: Beating, series: usize) -> usize {
    let found = |&series: &usize| {
        let (times, true_ns) = beating.times_ns(&mut rng(beating.seen, series));
        match find(&times, 0, 0) {
            Verdict::Periodic(period) => (period.period_ns.value / true_ns - 1.0).abs() < 0.05,
            _ => false,
        }
    };
    (0..series).filter(found).count()
}

/// Chances of a false alarm, of the series in which there is one. Series have 3 to 40 stalls or clusters.
fn false_alarms(chance: Chance, kind: usize, series: usize) -> Vec<f64> {
    let alarm = |series: usize| match find(&chance.times_ns(3 + series % 38, &mut rng(kind, series)), 0, 0) {
        Verdict::Periodic(period) => Some(period.false_alarm),
        _ => None,
    };
    (0..series).filter_map(alarm).collect()
}

#[test]
fn of_series_without_a_period_one_in_a_hundred_seems_to_have_one() {
    const SERIES: usize = 10_000;
    let each = SERIES / CHANCES.len();
    let mut all = Vec::new();
    for (kind, &chance) in CHANCES.iter().enumerate() {
        let alarms = false_alarms(chance, kind, each);
        // Three standard deviations more than 1 % of these few.
        assert!(alarms.len() <= each / 100 + 8, "{chance:?}: {} of {each}", alarms.len());
        all.extend(alarms);
    }
    assert!(all.len() <= SERIES / 100, "{} of {SERIES}", all.len());
}

#[test]
fn so_do_the_most_regular_of_them() {
    const SERIES: usize = 10_000;
    for (kind, chance) in [(20, Chance::Even), (21, Chance::Walk(0.3))] {
        let alarms = false_alarms(chance, kind, SERIES);
        assert!(alarms.len() <= SERIES / 100, "{chance:?}: {} of {SERIES}", alarms.len());
        // The chance that is stated is an upper estimate, also of the rarer ones.
        for stated in [0.005, 0.002] {
            let rarer = alarms.iter().filter(|chance| **chance <= stated).count();
            assert!(rarer as f64 <= stated * SERIES as f64, "{chance:?}: {rarer} of {SERIES} below {stated}");
        }
    }
}

#[test]
fn ten_beats_are_found() {
    const SERIES: usize = 10_000;
    // Jitter, missing, extra, and how many of 1,000 must be found: locked to a grid, and drifting.
    let cases = [
        (0.01, 0.2, 0.1, 950, 950),
        (0.04, 0.0, 0.0, 950, 950),
        (0.04, 0.2, 0.1, 950, 950),
        (0.05, 0.0, 0.0, 950, 950),
        (0.05, 0.2, 0.0, 950, 950),
        // Here it begins to fail.
        (0.05, 0.0, 0.1, 900, 950),
        (0.05, 0.2, 0.1, 850, 920),
    ];
    for (jitter, missing, extra, locked, drifting) in cases {
        for (drifts, least) in [(false, locked), (true, drifting)] {
            for calls in [1, 5] {
                let beating = Beating { jitter, drifts, missing, extra, calls, ..Beating::PLAIN };
                let found = hits(beating, SERIES);
                assert!(found * 1_000 >= least * SERIES, "{found} of {SERIES}: {beating:?}");
            }
        }
    }
}

#[test]
fn the_jitter_that_is_said_to_show_does() {
    const SERIES: usize = 500;
    for seen in [5, 7, 10, 15, 20, 50] {
        let jitter = jitter_that_shows(seen);
        for drifts in [false, true] {
            let found = hits(Beating { seen, jitter, drifts, ..Beating::PLAIN }, SERIES);
            assert!(found * 100 >= 94 * SERIES, "{found} of {SERIES} with {seen} beats and {jitter}");
        }
        assert!(jitter <= MOST_THAT_SHOWS && jitter >= jitter_that_shows(seen - 1));
    }
}

#[test]
fn a_phase_is_seldom_wrong_and_named_if_there_are_beats_enough() {
    const SERIES: usize = 400;
    // How many of 1,000 are named at least.
    for (seen, least) in [(6, 0), (10, 50), (20, 550), (40, 950), (120, 950)] {
        for drifts in [false, true] {
            let (right, wrong) =
                if drifts { (Phase::Drifting, Phase::Locked) } else { (Phase::Locked, Phase::Drifting) };
            let beating = Beating { seen, jitter: 0.03, drifts, missing: 0.2, extra: 0.1, ..Beating::PLAIN };
            let phase = |series| match find(&beating.times_ns(&mut rng(seen, series)).0, 0, 0) {
                Verdict::Periodic(period) => Some(period.phase),
                _ => None,
            };
            let phases: Vec<Phase> = (0..SERIES).filter_map(phase).collect();
            let count = |phase| phases.iter().filter(|other| **other == phase).count();
            assert!(
                count(wrong) * 1_000 <= 35 * phases.len(),
                "{beating:?}: {} of {}",
                count(wrong),
                phases.len()
            );
            assert!(
                count(right) * 1_000 >= least * phases.len(),
                "{beating:?}: {} of {}",
                count(right),
                phases.len()
            );
        }
    }
}

#[test]
fn the_interval_has_the_period_in_it() {
    const SERIES: usize = 300;
    for (seen, missing, extra) in [(8, 0.0, 0.0), (10, 0.2, 0.1), (30, 0.2, 0.1), (80, 0.0, 0.0)] {
        for drifts in [false, true] {
            let beating = Beating { seen, jitter: 0.02, drifts, missing, extra, ..Beating::PLAIN };
            let within = |series| {
                let (times, true_ns) = beating.times_ns(&mut rng(seen, series));
                let Verdict::Periodic(Period { period_ns, .. }) = find(&times, 0, 0) else { return None };
                assert!(period_ns.low < period_ns.value && !period_ns.exact);
                Some(period_ns.low <= true_ns && true_ns <= period_ns.high.unwrap())
            };
            let found: Vec<bool> = (0..SERIES).filter_map(within).collect();
            let right = found.iter().filter(|right| **right).count();
            assert!(right * 100 >= 90 * found.len(), "{beating:?}: {right} of {}", found.len());
        }
    }
}

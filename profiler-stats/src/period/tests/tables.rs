//! Tables for people: where the limits come from, and where the test stops working.

use crate::period::simulation::{Beating, CHANCES, Chance, rng};
use crate::period::tests::hits;
use crate::period::*;

/// By how much the better score is above its threshold; -50 if no chain is long and narrow enough.
fn excess(places: &[f64]) -> f64 {
    let (Best { gaps, grid }, threshold) = (Best::of(places), threshold(places.len()));
    let gaps = gaps.map_or(-50.0, |fit| fit.gaps_score() - threshold);
    gaps.max(grid.map_or(-50.0, |fit| fit.grid_score() - threshold - GRID_EXCESS))
}

/// The value that the share `q` of these does not exceed.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * q) as usize).min(values.len() - 1)]
}

/// The excess of a series that has exactly so many beats after merging.
fn excess_of(chance: Chance, beats: usize, kind: usize, series: usize) -> Option<f64> {
    let mut rng = rng(kind * 1_000 + beats, series);
    // Clusters that are wide are several beats each.
    let least = if matches!(chance, Chance::Clusters(width) if width > 0.05) { beats / 2 + 1 } else { beats };
    (0..40).find_map(|more| {
        let series = Beats::of(&chance.times_ns(least + more / 4, &mut rng));
        (series.count() == beats).then(|| excess(series.places()))
    })
}

#[test]
#[ignore = "prints a table"]
fn false_alarms_by_number_of_beats() {
    println!(
        "per cent of 20,000 series each, and how far the 0.1 and 0.02 % highest scores are above the threshold"
    );
    for beats in [5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 20, 25, 30, 40, 60] {
        print!("{beats} beats:");
        for (kind, &chance) in CHANCES.iter().enumerate() {
            let mut excesses: Vec<f64> =
                (0..20_000).filter_map(|series| excess_of(chance, beats, kind, series)).collect();
            // Of many beats, clusters are seldom exactly so many.
            if excesses.len() < 1_000 {
                continue;
            }
            let alarms = excesses.iter().filter(|excess| **excess > 0.0).count();
            let (rare, rarer) = (quantile(&mut excesses, 0.999), quantile(&mut excesses, 0.9998));
            print!(" {chance:?} {:.2} ({rare:.1} {rarer:.1})", alarms as f64 * 100.0 / excesses.len() as f64);
        }
        println!();
    }
}

#[test]
#[ignore = "prints a table"]
fn hits_by_jitter_missing_beats_and_number_of_beats() {
    println!("per cent of 1,000 series each in which the period is found, at most 5 % off");
    let counts = [5, 6, 7, 8, 10, 12, 15, 20, 40];
    println!("phase    jitter missing extra  beats {counts:?}");
    for (missing, extra) in
        [(0.0, 0.0), (0.2, 0.0), (0.0, 0.1), (0.2, 0.1), (0.3, 0.0), (0.4, 0.0), (0.0, 0.2), (0.0, 0.3)]
    {
        for drifts in [false, true] {
            for jitter in [0.001, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15] {
                print!("{} {jitter:6} {missing:7} {extra:5}  ", if drifts { "drifting" } else { "locked  " });
                for seen in counts {
                    let found = hits(Beating { seen, jitter, drifts, missing, extra, calls: 1 }, 1_000);
                    print!(" {:5.1}", found as f64 / 10.0);
                }
                println!();
            }
        }
    }
}

#[test]
#[ignore = "prints a table"]
fn how_regular_gaps_must_be_to_be_called_periodic() {
    println!("per cent of 1,000 series with normal gaps of this deviation that are called periodic");
    let counts = [6, 8, 10, 15, 20, 40, 100, 250];
    println!("deviation beats {counts:?}");
    for deviation in [0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3] {
        print!("{deviation:9}");
        for beats in counts {
            let called = (0..1_000).filter(|&series| {
                let times = Chance::Normal(deviation).times_ns(beats, &mut rng(beats, series));
                matches!(find(&times, 0, 0), Verdict::Periodic(_))
            });
            print!(" {:5.1}", called.count() as f64 / 10.0);
        }
        println!();
    }
}

#[test]
#[ignore = "prints a table"]
fn phases_by_number_of_beats() {
    println!(
        "von Neumann's ratio: 2 % lower quantile if locked, 98 % if drifting; and per cent named right and wrong"
    );
    for seen in [5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 200] {
        print!("{seen:3} beats:");
        for (jitter, missing, extra) in [(0.01, 0.0, 0.0), (0.05, 0.0, 0.0), (0.03, 0.2, 0.1)] {
            for (drifts, q, right, wrong) in
                [(false, 0.02, Phase::Locked, Phase::Drifting), (true, 0.98, Phase::Drifting, Phase::Locked)]
            {
                let beating = Beating { seen, jitter, drifts, missing, extra, calls: 1 };
                let fit = |series| {
                    let (times, _) = beating.times_ns(&mut rng(seen, series));
                    most_regular(Beats::of(&times).places()).map(|(fit, ..)| fit)
                };
                let fits: Vec<Fit> = (0..1_000).filter_map(fit).collect();
                let mut ratios: Vec<f64> = fits.iter().filter_map(|fit| fit.neumann).collect();
                let share = |phase| {
                    fits.iter().filter(|fit| fit.phase() == phase).count() as f64 * 100.0 / fits.len() as f64
                };
                print!(" {:.2} {:5.1} {:3.1};", quantile(&mut ratios, q), share(right), share(wrong));
            }
        }
        println!();
    }
}

//! Single series, and what holds for all.

use proptest::prelude::*;

use crate::period::*;

const SECOND: u64 = 1_000_000_000;

/// A period that must be found.
fn periodic(verdict: Verdict) -> Period {
    match verdict {
        Verdict::Periodic(period) => period,
        other => panic!("{other:?}"),
    }
}

/// Beats every 300 s, each late by what a file that is saved takes; one is missing, one has three calls, and one stall is another.
fn saves() -> Vec<u64> {
    let late_ms = [210, 180, 240, 0, 250, 190, 170, 260, 200, 230];
    let on_grid = late_ms.iter().enumerate().filter(|(index, _)| *index != 3);
    let mut times: Vec<u64> =
        on_grid.map(|(beat, late)| beat as u64 * 300 * SECOND + late * 1_000_000).collect();
    times.extend([600 * SECOND + 1_400_000_000, 600 * SECOND + 2_900_000_000, 1_930 * SECOND]);
    times.iter().map(|time| time + 50 * SECOND).collect()
}

#[test]
fn saves_every_five_minutes_are_found_and_all_calls_accounted_for() {
    let period = periodic(find(&saves(), 0, 4_000 * SECOND));
    assert_eq!((period.seen, period.missing, period.extra, period.merged, period.older), (9, 1, 1, 2, 0));
    assert_eq!((period.before, period.after), (0, 4));
    assert!((period.period_ns.value / 3e11 - 1.0).abs() < 1e-4, "{period:?}");
    assert!(period.jitter < 2e-4 && period.false_alarm <= 0.002, "{period:?}");
    assert!(!period.test.name().is_empty());
}

#[test]
fn times_without_any_jitter_are_locked() {
    let times: Vec<u64> = (0..5).map(|beat| 7 + beat * SECOND).collect();
    let period = periodic(find(&times, 0, 0));
    assert_eq!((period.phase, period.seen, period.missing, period.after), (Phase::Locked, 5, 0, 0));
    assert_eq!(period.period_ns.value, 1e9);
}

#[test]
fn a_period_that_drifts_is_found_where_no_grid_is() {
    // Each starts 10 s after the end of the one before, which takes 0 to 2 s.
    let lengths = [
        3, 19, 0, 14, 6, 11, 1, 17, 8, 20, 20, 13, 18, 2, 15, 5, 9, 16, 20, 12, 19, 18, 17, 3, 1, 0, 2, 4, 0,
        1,
    ];
    let mut now = 0;
    let times: Vec<u64> = (0..120)
        .map(|beat| {
            now += 10 * SECOND + lengths[beat % 30] * SECOND / 10;
            now
        })
        .collect();
    let period = periodic(find(&times, 0, now));
    assert_eq!((period.phase, period.test, period.missing), (Phase::Drifting, Test::FoldedGaps, 0));
    assert!((period.jitter - 0.065).abs() < 0.01, "{period:?}");
}

#[test]
fn silence_after_the_last_beat_is_counted_in_periods() {
    let times: Vec<u64> = (10..20).map(|beat| beat * SECOND + beat % 3).collect();
    let period = periodic(find(&times, 0, 25 * SECOND + SECOND / 2));
    assert_eq!((period.before, period.after, period.missing), (9, 6, 0));
    // A span that ends before the last stall is taken to reach to it.
    let period = periodic(find(&times, 12 * SECOND, 13 * SECOND));
    assert_eq!((period.before, period.after), (0, 0));
}

#[test]
fn few_beats_are_not_looked_at() {
    for (times, beats) in
        [(vec![], 0), (vec![5; 1_000_000], 1), (vec![0, u64::MAX], 2), (vec![0, 1, 2, 3, 4, 5, 6], 1)]
    {
        assert_eq!(find(&times, 0, u64::MAX), Verdict::TooFew { beats });
    }
    let four: Vec<u64> = (0..4).map(|beat| beat * SECOND).collect();
    assert_eq!(find(&four, 0, 4 * SECOND), Verdict::TooFew { beats: 4 });
}

#[test]
fn what_has_no_period_says_what_would_have_been_found() {
    let times = [0, 3, 4, 9, 11, 18, 24, 25, 33, 37].map(|time| time * SECOND);
    let Verdict::NotPeriodic { beats: 10, jitter_that_shows } = find(&times, 0, 40 * SECOND) else {
        panic!()
    };
    assert!((0.045..0.055).contains(&jitter_that_shows), "{jitter_that_shows}");
}

#[test]
fn two_stalls_at_uneven_distances_per_period_are_not_one_of_another_period() {
    for second in [2, 3, 4] {
        for pairs in [10, 20, 100] {
            let times: Vec<u64> =
                (0..pairs).flat_map(|beat| [beat * 10 * SECOND, (beat * 10 + second) * SECOND]).collect();
            assert!(matches!(find(&times, 0, 0), Verdict::NotPeriodic { .. }), "{second} {pairs}");
        }
    }
}

#[test]
fn a_timer_that_a_main_loop_looks_at_is_found() {
    // It fires every 525 ms, and the loop turns every 50 ms.
    let times: Vec<u64> = (1..30u64).map(|beat| (beat * 525).div_ceil(50) * 50_000_000).collect();
    let period = periodic(find(&times, 0, 0));
    assert!(
        (period.period_ns.value / 525e6 - 1.0).abs() < 0.002 && period.phase == Phase::Locked,
        "{period:?}"
    );
}

#[test]
fn a_million_times_are_no_more_work_than_the_last_beats() {
    let mut times: Vec<u64> = (0..1_000_000).map(|beat| beat * SECOND).rev().collect();
    let period = periodic(find(&times, 0, 0));
    assert_eq!((period.seen, period.older, period.before), (256, 999_744, 0));
    // Each gap is half of the one before: a round of merging lets the next find another burst.
    times = (0..64).map(|power| u64::MAX >> power).collect();
    assert!(
        matches!(find(&times, u64::MAX, 0), Verdict::NotPeriodic { beats: 7, .. }),
        "{:?}",
        find(&times, 0, 0)
    );
}

/// Times that are near to a period, near to each other, or anything.
fn any_times() -> impl Strategy<Value = Vec<u64>> {
    let near = (0u64..40, 0u64..1 << 22).prop_map(|(beat, late)| (beat << 30) + late);
    let close = 0u64..5_000;
    prop::collection::vec(prop_oneof![6 => near, 1 => close, 1 => any::<u64>()], 0..80)
}

/// Stalls with jitter, in microseconds.
fn beats() -> impl Strategy<Value = Vec<u64>> {
    let late = prop::collection::vec(0u64..150_000, 5..60);
    late.prop_map(|late| late.iter().enumerate().map(|(beat, late)| beat as u64 * 1_000_000 + late).collect())
}

proptest! {
    #[test]
    fn whatever_the_times_all_are_accounted_for(times in any_times(), begin in any::<u64>(), end in any::<u64>()) {
        match find(&times, begin, end) {
            Verdict::TooFew { beats } => prop_assert!(beats < LEAST_BEATS),
            Verdict::NotPeriodic { beats, jitter_that_shows } => {
                prop_assert!((LEAST_BEATS..=MOST_BEATS).contains(&beats));
                prop_assert!(jitter_that_shows > 0.0 && jitter_that_shows <= MOST_THAT_SHOWS);
            }
            Verdict::Periodic(period) => {
                prop_assert_eq!(period.seen + period.extra + period.merged + period.older, times.len());
                prop_assert!(period.seen >= LEAST_BEATS);
                let high = period.period_ns.high.unwrap();
                prop_assert!(period.period_ns.low <= period.period_ns.value && period.period_ns.value <= high);
                prop_assert!(period.false_alarm > 0.0 && period.false_alarm <= FALSE_ALARM);
                prop_assert!(period.jitter.is_finite());
            }
        }
    }

    #[test]
    fn the_unit_of_time_and_its_origin_do_not_matter(times in beats(), factor in 2u64..2_000, shift in 0u64..1 << 50) {
        let of = |times: Vec<u64>| find(&times, times[0], times[times.len() - 1]);
        let plain: Vec<u64> = times.iter().map(|time| time * 1_000).collect();
        let moved: Vec<u64> = plain.iter().rev().map(|time| time * factor + shift).collect();
        let (first, last) = (moved[moved.len() - 1], moved[0]);
        match (of(plain), find(&moved, first, last)) {
            (Verdict::Periodic(one), Verdict::Periodic(other)) => {
                let ratio = other.period_ns.value / one.period_ns.value / factor as f64;
                prop_assert!((ratio - 1.0).abs() < 1e-9, "{one:?} {other:?}");
                prop_assert!((other.jitter - one.jitter).abs() < 1e-9);
                prop_assert!((other.false_alarm / one.false_alarm - 1.0).abs() < 1e-6);
                let counts = |period: &Period| (period.phase, period.test, period.seen, period.missing, period.extra);
                prop_assert_eq!(counts(&one), counts(&other));
            }
            (one, other) => prop_assert_eq!(one, other),
        }
    }
}

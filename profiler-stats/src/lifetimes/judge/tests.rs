//! Tests of the verdicts on rows with known items.

use super::super::rows::Weighted;
use super::*;

/// An age of 2^20 units, 18 minutes: it is the start of a bin.
const OLDER: u64 = 1 << 20;

fn window(ages: f64) -> Window {
    Window { length_units: (OLDER as f64 * ages) as u64, older_units: OLDER }
}

/// `count` items of 100 bytes, born evenly over the observation, that live for `lifetime` ages.
fn even(count: u64, ages: f64, lifetime: f64) -> StackRow {
    let window = window(ages);
    let mut row = StackRow::default();
    for item in 0..count {
        let age = ((item as f64 + 0.5) / count as f64 * window.length_units as f64) as u64;
        row.acquire(age, (lifetime * OLDER as f64) as u64, &window);
    }
    row
}

fn verdict(row: &StackRow, ages: f64) -> (Verdict, Reason) {
    let judgement = judge(row, &window(ages));
    (judgement.verdict, judgement.reason)
}

const FOREVER: f64 = 1e3;

#[test]
fn an_even_leak() {
    let judgement = judge(&even(100, 4.0, FOREVER), &window(4.0));
    assert_eq!((judgement.verdict, judgement.reason), (Verdict::Leak, Reason::KeptAndGrowing));
    assert_eq!(judgement.survival.map(|survival| survival.value), Some(1.0));
    assert_eq!((judgement.hazard.releases, judgement.hazard.from_units), (0, OLDER * 3 / 4));
    assert_eq!(judgement.hazard.to_units, 4 * OLDER);
    assert_eq!(judgement.judged_after, None);
    // An item reaches three quarters of the age if born in the first 3.25 ages: 25 * 3.25^2 / 2 item-ages.
    let hours = 132.0 * OLDER as f64 * UNIT_NS as f64 / 3.6e12;
    assert!((judgement.hazard.exposure_item_hours / hours - 1.0).abs() < 0.01);
}

#[test]
fn the_margin_before_a_leak_is_called() {
    assert_eq!(verdict(&even(5_000, 1.24, FOREVER), 1.24), (Verdict::Young, Reason::TooShort));
    assert_eq!(verdict(&even(5_000, 1.26, FOREVER), 1.26), (Verdict::Leak, Reason::KeptAndGrowing));
}

/// A program that began to acquire a little less than an age ago, and much.
#[test]
fn items_that_are_not_old_yet_are_no_leak() {
    let window = window(1.3);
    let mut row = StackRow::default();
    let mut born = |from: u64, to: u64| {
        for item in 0..5_000 {
            row.acquire(from * OLDER / 100 + item * (to - from) * OLDER / 100 / 5_000, u64::MAX, &window);
        }
        judge(&row, &window)
    };
    let judgement = born(0, 99);
    assert_eq!((judgement.verdict, judgement.reason), (Verdict::Young, Reason::GrowthUnclear));
    assert_eq!(born(99, 130).verdict, Verdict::Leak, "or this tests nothing");
}

#[test]
fn too_little_exposure_is_young_and_says_when() {
    let judgement = judge(&even(12, 4.0, FOREVER), &window(4.0));
    assert_eq!((judgement.verdict, judgement.reason), (Verdict::Young, Reason::FewItemHours));
    // 3 per age from 3/4 on: 1.5 (T - 0.75)^2 reaches 30 at T = 5.22 ages.
    let ages = judgement.judged_after.unwrap().as_nanos() as f64 / (OLDER * UNIT_NS) as f64;
    assert!((ages - 5.22).abs() < 0.1, "{ages}");
}

#[test]
fn what_was_said_is_taken_back_for_a_reason_only() {
    let again = |row: &StackRow, before| {
        let judgement = judge_again(row, &window(4.0), Some(Said::first(before)));
        (judgement.verdict, judgement.reason)
    };
    let mut few = even(12, 4.0, FOREVER);
    assert_eq!(verdict(&few, 4.0), (Verdict::Young, Reason::FewItemHours));
    assert_eq!(again(&few, Verdict::Leak), (Verdict::Leak, Reason::StillKeptAndGrowing));
    // 16 item-ages without a release do not speak against what was said, and 33 do.
    for before in [Verdict::LongLived, Verdict::Cache, Verdict::Churn] {
        assert_eq!(again(&few, before), (before, Reason::StillNone));
    }
    assert_eq!(again(&even(24, 4.0, FOREVER), Verdict::LongLived).0, Verdict::Leak);
    // 3 releases in 16 item-ages: more than a leak's, though not beyond doubt.
    few.lifetimes.died[age::bin(2 * OLDER as u32)] += 3;
    assert_eq!(verdict(&few, 4.0).0, Verdict::Young);
    assert_eq!(again(&few, Verdict::Leak).0, Verdict::Young);
    assert_eq!(again(&few, Verdict::LongLived), (Verdict::LongLived, Reason::StillNone));
}

#[test]
fn short_looks_announce_the_margin() {
    let judgement = judge(&even(5_000, 0.5, FOREVER), &window(0.5));
    assert_eq!((judgement.survival, judgement.growth_bytes_per_hour), (None, None));
    assert_eq!(judgement.hazard.per_hour.high, None);
    assert_eq!(judgement.judged_after, Some(Duration::from_nanos(OLDER * UNIT_NS / 4 * 5)));
}

#[test]
fn caches_and_churn() {
    assert_eq!(verdict(&even(400, 4.0, 0.5), 4.0), (Verdict::Cache, Reason::BoundedAge));
    assert_eq!(verdict(&even(400, 4.0, 1.5), 4.0), (Verdict::Cache, Reason::BoundedAge));
    assert_eq!(verdict(&even(400, 4.0, 0.01), 4.0), (Verdict::Churn, Reason::ReleasedSoon));
    assert_eq!(verdict(&even(400, 0.3, 0.01), 0.3), (Verdict::Churn, Reason::ReleasedSoon));
    assert_eq!(verdict(&even(400, 0.3, 0.2), 0.3), (Verdict::Young, Reason::TooShort));
}

#[test]
fn nothing_acquired_is_young() {
    let judgement = judge(&StackRow::default(), &window(4.0));
    assert_eq!((judgement.verdict, judgement.reason), (Verdict::Young, Reason::FewItems));
    assert_eq!(judgement.judged_after, None);
    let nothing = Window { length_units: 0, older_units: 0 };
    assert_eq!(judge(&StackRow::default(), &nothing).verdict, Verdict::Young);
}

#[test]
fn a_leak_behind_a_cache_is_found_at_a_later_age() {
    let leak = even(200, 4.0, FOREVER);
    let row = StackRow::pool([&even(2_000, 4.0, 1.5), &leak]);
    let judgement = judge(&row, &window(4.0));
    assert_eq!((judgement.verdict, judgement.hazard.releases), (Verdict::Leak, 0));
    assert_eq!(judgement.hazard.from_units, 2 * OLDER);
    // The entries are released in the bin of 1.5 ages, which ends at 1.75: nothing older is.
    let kept = judgement.kept.unwrap();
    assert!((1.75..2.0).contains(&(kept.from_units as f64 / OLDER as f64)), "{kept:?}");
    assert_eq!(kept.released_before, row.lifetimes.died.iter().sum::<u64>());
    assert_eq!((kept.bytes, kept.items.abs_diff(113) < 8), (100.0 * kept.items as f64, true));
    // 50 items of 100 bytes in an age, as the leak has; with the cache it would be 142.
    let per_age = judgement.growth_bytes_per_hour.unwrap().value * OLDER as f64 * UNIT_NS as f64 / 3.6e12;
    assert!((per_age / 5_000.0 - 1.0).abs() < 0.02, "{per_age}");
    assert_eq!(judge(&leak, &window(4.0)).kept, None, "all that is old");
}

/// A leak that stays one though no age proves it at this look: its growth is that of what has outlived the cache, too.
#[test]
fn a_leak_that_stays_has_the_growth_of_what_is_kept() {
    let mut looks = 0;
    for tenth in 17..40 {
        let ages = f64::from(tenth) / 10.0;
        let leak = even((50.0 * ages) as u64, ages, FOREVER);
        let row = StackRow::pool([&even((100.0 * ages) as u64, ages, 1.5), &leak]);
        let judgement = judge_again(&row, &window(ages), Some(Said::first(Verdict::Leak)));
        if judgement.reason != Reason::StillKeptAndGrowing || judgement.kept.is_none() {
            continue;
        }
        looks += 1;
        let growth = judgement.growth_bytes_per_hour.unwrap().value;
        let per_age = growth * OLDER as f64 * UNIT_NS as f64 / 3.6e12;
        assert!((per_age / 5_000.0 - 1.0).abs() < 0.25, "{per_age} at {ages} ages");
    }
    assert!(looks > 0, "no look has a leak that only stays one");
}

/// Watched for less than that takes, it is not known: and that is not the same as none.
#[test]
fn what_has_outlived_a_cache_is_doubted() {
    let row = StackRow::pool([&even(1_600, 4.0, 2.2), &even(80, 4.0, FOREVER)]);
    let judgement = judge(&row, &window(4.0));
    assert_eq!((judgement.verdict, judgement.reason), (Verdict::Young, Reason::SomeStay));
    let ages = judgement.judged_after.unwrap().as_nanos() as f64 / (OLDER * UNIT_NS) as f64;
    assert!(ages > 4.0 && ages < 6.0, "{ages}");
    assert_eq!(verdict(&even(1_600, 4.0, 2.2), 4.0), (Verdict::LongLived, Reason::StillReleased));
}

/// It was loaded at once, and is kept: its time without releases says nothing of the others.
#[test]
fn a_table_lends_nothing_to_what_comes_and_goes() {
    let mut table = StackRow::default();
    for item in 0..500 {
        table.acquire(4 * OLDER - item * 100, 1_000 * OLDER, &window(4.0));
    }
    for lifetime in [0.8, 1.5] {
        let row = StackRow::pool([&table, &even(240, 4.0, lifetime)]);
        assert_eq!(verdict(&row, 4.0), (Verdict::LongLived, Reason::StillReleased), "{lifetime}");
    }
    let row = StackRow::pool([&table, &even(240, 4.0, FOREVER)]);
    assert_eq!(verdict(&row, 4.0).0, Verdict::Leak, "what keeps coming is found all the same");
}

/// A drawn item stands for many others, of which it tells nothing.
#[test]
fn a_few_drawn_items_decide_nothing() {
    let drawn = |count: u64, lifetime: f64| {
        let mut row = StackRow::default();
        for item in 0..count {
            let age = 4 * OLDER - 1_000 * (item + 1);
            row.acquire(age, (lifetime * OLDER as f64) as u64, &window(4.0));
        }
        row
    };
    for (lifetime, all) in [(FOREVER, Verdict::LongLived), (0.7, Verdict::Cache), (0.05, Verdict::Churn)] {
        for (count, expected) in [(1, Verdict::Young), (4, Verdict::Young), (5, all)] {
            let exact = drawn(count, lifetime);
            let sampled = StackRow { weighted: Some(Weighted::default()), ..exact.clone() };
            assert_eq!(verdict(&sampled, 4.0).0, expected, "{count} of {lifetime}");
            if lifetime == FOREVER {
                assert_eq!(verdict(&exact, 4.0).0, all, "all that there was: {count}");
            }
        }
    }
}

//! What the interim reports of one run say, one after the other.

use std::collections::BTreeMap;

use profiler::tool::memleak::judge::judge;
use profiler::tool::memleak::verdict::Verdict::{self, Leak, LongLived, Young};

use crate::bursts::{Beat, beats, window_of};
use crate::{failures, repetitions, tally};

/// What fifty interim reports of one run say, a fifth of an age apart, each change once.
fn interim(beat: &Beat, seed: u64, until: f64) -> Vec<Verdict> {
    let look = |number: u32| {
        let (mut site, mut rng) = window_of(beat, seed, f64::from(number) / 5.0);
        beat.fill(&mut site, &mut rng, until);
        let (row, window) = site.finish();
        judge(&row, &window).verdict
    };
    let mut said: Vec<Verdict> = (1..=50).map(look).collect();
    said.dedup();
    said
}

/// Asserts that what is said changes in no other way than `expected`, of which some may be left out, but for one run
/// in a hundred: two beats that are missed one after the other are evidence too. Of single blocks that come twice an
/// age, one in ten: with five or six births to go by, each that comes late is a good part of the evidence.
#[track_caller]
fn assert_changes(expected: &'static [Verdict], until: f64) {
    let slow = beats().into_iter().filter(|beat| beat.period >= 0.05);
    let failed = failures(slow, |beat| {
        let repetitions = repetitions(40) / 10;
        let others = tally(repetitions, |seed| {
            let said = interim(beat, seed, until);
            let mut left = expected.iter();
            let as_expected = said.iter().all(|verdict| left.any(|expected| expected == verdict));
            if as_expected { Vec::new() } else { said.iter().map(|verdict| verdict.name()).collect() }
        });
        let others: BTreeMap<_, _> = others.into_iter().filter(|(said, _)| !said.is_empty()).collect();
        let rare = if beat.blocks == 1 { 10 } else { 100 };
        (others.values().sum::<u64>() * rare <= repetitions, others)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_leak_that_goes_on_stays_a_leak_in_every_interim_report() {
    assert_changes(&[Young, Leak], f64::INFINITY);
}

/// A silence is evidence: once it is long enough, and not before, and for good.
#[test]
fn a_leak_that_stops_is_taken_back_once() {
    assert_changes(&[Young, Leak, Young, LongLived], 5.0);
}

//! Leaks that come by the beat of a server: K blocks in every tick, the beat more or less steady.

use std::collections::BTreeMap;

use profiler_stats::lifetimes::judge::judge;
use profiler_stats::lifetimes::verdict::{Reason, Verdict};

use crate::model::{Rng, Site};
use crate::{OLDER_NS, failures, repetitions, soaks, tally};

/// A leak of `blocks` in every beat. Times in ages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    pub(crate) blocks: u64,
    pub(crate) period: f64,
    /// A gap is longer or shorter by up to this share of the period.
    jitter: f64,
    /// Share of the beats that bring nothing.
    missed: f64,
    /// Blocks of one beat come from so many stacks; the one of the stacks that is judged is drawn anew each time.
    stacks: u64,
}

impl Beat {
    pub(crate) fn fill(&self, site: &mut Site, rng: &mut Rng, until: f64) {
        let mut time = rng.unit() * self.period;
        while time < until.min(site.ages()) {
            if rng.unit() >= self.missed {
                let of = self.blocks.div_ceil(self.stacks);
                site.blocks(time, f64::INFINITY, 64, of);
            }
            time += self.period * (1.0 + self.jitter * (2.0 * rng.unit() - 1.0));
        }
    }

    /// A length, in ages, at which the leak must be found: exposure enough, 18 old blocks, and beats enough to see
    /// them go on.
    fn enough(&self) -> f64 {
        let rate = self.blocks.div_ceil(self.stacks) as f64 * (1.0 - self.missed) / self.period;
        (0.75 + 1.3 * (60.0 / rate).sqrt()).max(1.0 + 18.0 / rate).max(1.5 + 5.0 * self.period)
    }
}

pub(crate) fn beats() -> Vec<Beat> {
    let mut beats = Vec::new();
    for period in [1e-4, 1e-3, 0.01, 0.05, 0.12, 0.25, 0.5] {
        for blocks in [1, 12, 100, 10_000] {
            for (jitter, missed) in [(0.0, 0.0), (0.25, 0.0), (0.5, 0.0), (0.25, 0.05), (0.5, 0.05)] {
                beats.push(Beat { blocks, period, jitter, missed, stacks: 1 });
            }
        }
        beats.push(Beat { blocks: 100, period, jitter: 0.25, missed: 0.05, stacks: 7 });
    }
    beats
}

pub(crate) fn window_of(beat: &Beat, seed: u64, ages: f64) -> (Site, Rng) {
    let rng = Rng::new(seed ^ (beat.blocks << 40) ^ (beat.period.to_bits() >> 8));
    (Site::new(Site::window(OLDER_NS[seed as usize % OLDER_NS.len()], ages)), rng)
}

/// What a beat that goes on is called, if the program was stopped for `stall` ages before the look. Half of the seeds look at
/// a length at which it must be found, half at any.
fn going_on(beat: &Beat, stall: f64, repetitions: u64) -> BTreeMap<(&'static str, Reason), u64> {
    tally(repetitions, |seed| {
        let must = seed % 2 == 0;
        let ages = if must { beat.enough() + stall } else { 1.25 + 6.75 * Rng::new(!seed).unit() };
        let (mut site, mut rng) = window_of(beat, seed, ages);
        beat.fill(&mut site, &mut rng, ages - stall);
        let (row, window) = site.finish();
        let judgement = judge(&row, &window);
        let outcome = match (judgement.verdict, judgement.reason) {
            (Verdict::Leak, _) => "leak",
            (_, Reason::StoppedGrowing) => "stopped",
            _ if must => "missed",
            _ => "early",
        };
        (outcome, judgement.reason)
    })
}

/// What a beat is called that stopped three of its periods and an age ago, at any moment from the fourth age on.
fn stopped(beat: &Beat, repetitions: u64) -> BTreeMap<(&'static str, Reason), u64> {
    tally(repetitions, |seed| {
        let stops = 4.0 + 2.0 * Rng::new(!seed).unit();
        let (mut site, mut rng) = window_of(beat, seed, stops + 3.0 * beat.period + 1.0);
        beat.fill(&mut site, &mut rng, stops);
        let (row, window) = site.finish();
        let judgement = judge(&row, &window);
        (judgement.verdict.name(), judgement.reason)
    })
}

fn of(counts: &BTreeMap<(&'static str, Reason), u64>, name: &str) -> u64 {
    counts.iter().filter(|(outcome, _)| outcome.0 == name).map(|(_, count)| count).sum()
}

/// A beat a ten-thousandth of an age long is tens of thousands of events to draw: fewer runs of these.
fn repetitions_of(beat: &Beat) -> u64 {
    let shortest = if soaks() { 5e-4 } else { 2e-3 };
    repetitions(200) / if beat.period < shortest { 10 } else { 1 }
}

#[test]
fn a_steady_rhythm_is_found_and_never_called_stopped() {
    let failed = failures(beats(), |beat| {
        let repetitions = repetitions_of(beat);
        let counts = going_on(beat, 0.0, repetitions);
        let holds =
            of(&counts, "stopped") <= repetitions / 10_000 && of(&counts, "missed") * 20 <= repetitions / 2;
        (holds, counts)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// On a busy machine a program may not run for a tenth of a second, and its report is late.
#[test]
fn a_stall_before_the_look_is_not_an_end() {
    let failed = failures(beats(), |beat| {
        let repetitions = repetitions_of(beat);
        let counts = going_on(beat, 0.1, repetitions);
        (of(&counts, "stopped") <= repetitions / 10_000, counts)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_end_of_a_rhythm_is_seen_within_three_periods_and_an_age() {
    let failed = failures(beats(), |beat| {
        let repetitions = repetitions_of(beat);
        let counts = stopped(beat, repetitions);
        (of(&counts, Verdict::LongLived.name()) * 20 >= repetitions * 19, counts)
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The full table: `PROFILER_SOAK=1 cargo test --release -p profiler-stats --test verdicts beats -- --ignored
/// --nocapture`.
#[test]
#[ignore = "prints a table"]
fn beats_by_kind() {
    for beat in beats() {
        let repetitions = repetitions_of(&beat);
        println!(
            "{beat:?}\n  goes on: {:?}\n  stops: {:?}",
            going_on(&beat, 0.0, repetitions),
            stopped(&beat, repetitions)
        );
    }
}

//! Blocks that grow by realloc: each has parts with ages of their own, and they are all freed at once.

use profiler_stats::lifetimes::verdict::Verdict;

use crate::model::{Rng, Site};
use crate::scenarios::{Listed, of};
use crate::{OLDER_NS, assert_verdicts, count, run, verdicts};

/// The kernel side gives a block that grows all the time a part in each step, of between a sixteenth and an eighth of the
/// age. The finest steps are the hardest: they have the most parts that are freed together.
const STEP: f64 = 1.0 / 16.0;

/// A block that is allocated at `from`, grows all the time, and is freed after `lifetime`.
fn grower(site: &mut Site, rng: &mut Rng, from: f64, lifetime: f64) {
    let end = (from + lifetime).min(site.ages());
    let mut at = from;
    while at < end {
        let bytes = 256 + (rng.unit() * 512.0) as u64;
        if at > from {
            site.later_part(at, from + lifetime - at, bytes);
        } else {
            site.blocks(at, lifetime, bytes, 1);
        }
        // A part is as old as the last of what came in its step.
        at = ((at / STEP).floor() + 1.0) * STEP + STEP * 0.999;
    }
}

fn session_buffers(site: &mut Site, rng: &mut Rng, rate: f64, lifetime: impl Fn(&mut Rng) -> f64) {
    let mut time = 0.0;
    loop {
        time += rng.exponential(1.0 / rate);
        if time >= site.ages() {
            return;
        }
        let lives = lifetime(rng);
        grower(site, rng, time, lives);
    }
}

/// One buffer that is there from the first third of an age on.
fn one(site: &mut Site, rng: &mut Rng, _rate: f64) {
    let from = rng.unit() * 0.3;
    grower(site, rng, from, f64::INFINITY);
}

fn kept(site: &mut Site, rng: &mut Rng, rate: f64) {
    session_buffers(site, rng, rate, |_| f64::INFINITY);
}

fn exponential_2(site: &mut Site, rng: &mut Rng, rate: f64) {
    session_buffers(site, rng, rate, |rng| rng.exponential(2.0));
}

fn exponential_5(site: &mut Site, rng: &mut Rng, rate: f64) {
    session_buffers(site, rng, rate, |rng| rng.exponential(5.0));
}

fn lognormal(site: &mut Site, rng: &mut Rng, rate: f64) {
    session_buffers(site, rng, rate, |rng| rng.lognormal(0.8, 1.5));
}

/// Buffers that grow until they are large enough, and stay.
fn fill_up(site: &mut Site, rng: &mut Rng, rate: f64) {
    for _ in 0..rate as u64 {
        let from = rng.unit() * 0.5;
        let mut at = from;
        while at < from + 0.8 {
            if at > from {
                site.later_part(at, f64::INFINITY, 512);
            } else {
                site.blocks(at, f64::INFINITY, 512, 1);
            }
            at += STEP;
        }
    }
}

const PLANTED: &[Listed] = &[
    of("one buffer that grows for ever", 4.0, 1.0, one),
    of("buffers of sessions that are never freed", 4.0, 10.0, kept),
    of("many buffers of sessions that are never freed", 4.0, 60.0, kept),
];

const HONEST: &[Listed] = &[
    of("buffers of sessions, mean 5/6 age, few", 4.0, 2.0, |site, rng, rate| {
        session_buffers(site, rng, rate, |rng| rng.exponential(0.833));
    }),
    of("buffers of sessions, mean 2 ages, few", 4.0, 2.0, exponential_2),
    of("buffers of sessions, mean 2 ages", 4.0, 20.0, exponential_2),
    of("buffers of sessions, mean 5 ages", 4.0, 10.0, exponential_5),
    of("buffers of sessions, mean 5 ages, many", 4.0, 60.0, exponential_5),
    of("buffers of sessions, lognormal, few", 4.0, 2.0, lognormal),
    of("buffers of sessions, lognormal", 4.0, 20.0, lognormal),
    of("buffers of matches of 1.3 ages", 4.0, 4.0, |site, rng, rate| {
        let mut start = -rng.unit() * 1.3;
        while start < site.ages() {
            for _ in 0..rate as u64 {
                let from = start.max(0.0) + rng.unit() * 0.2;
                grower(site, rng, from, (start + 1.3 - from).max(0.01));
            }
            start += 1.3;
        }
    }),
    of("one buffer that fills", 4.0, 1.0, fill_up),
    of("buffers that fill", 4.0, 30.0, fill_up),
];

/// Said of few sessions that all outlive most of the observation; they cannot be told from a leak.
const SLOW: &[Listed] = &[
    of("buffers of one session per age, mean 2 ages", 4.0, 1.0, exponential_2),
    of("buffers of one session per age, mean 5 ages", 4.0, 1.0, exponential_5),
    of("buffers of two sessions per age, mean 5 ages", 4.0, 2.0, exponential_5),
];

#[test]
fn blocks_that_grow_for_ever_leak() {
    assert_verdicts(PLANTED, |counts, of| count(counts, Verdict::Leak) * 100 >= of * 95);
}

/// Of the many parts of a few blocks nothing is proved: they are freed together.
#[test]
fn blocks_that_grow_and_are_freed_are_not_a_leak() {
    assert_verdicts(HONEST, |counts, of| count(counts, Verdict::Leak) * 100 <= of);
}

/// One buffer is not judged before it has grown for three ages, and then it is.
#[test]
fn a_single_buffer_is_judged_when_announced() {
    for seed in 0..20 {
        let young = run(&of("", 2.6, 1.0, one), seed);
        assert_eq!(young.verdict, Verdict::Young, "{young:?}");
        let after = young.judged_after.expect("it is known when").as_nanos() as f64;
        let older = OLDER_NS[seed as usize % OLDER_NS.len()] as f64;
        assert!((2.9..3.5).contains(&(after / older)), "{} ages", after / older);
        assert_eq!(run(&of("", 1.02 * after / older, 1.0, one), seed).verdict, Verdict::Leak);
    }
}

/// For the documentation:
/// `cargo test --release -p profiler-stats --test verdicts growers::rates -- --ignored --nocapture`.
#[test]
#[ignore = "prints tables over many seeds"]
fn rates() {
    for scenario in PLANTED.iter().chain(HONEST).chain(SLOW) {
        println!("{:52} {:?}", scenario.name, verdicts(scenario, 1_000));
    }
}

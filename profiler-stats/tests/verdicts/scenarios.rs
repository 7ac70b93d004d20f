//! What servers do with memory. Each scenario fills one call stack; rates are blocks per age.

use std::collections::VecDeque;
use std::ops::Deref;

use crate::model::{Rng, Site};

/// One kind of behaviour, at a rate, watched for a number of ages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Length of the observation in ages.
    pub(crate) ages: f64,
    /// Blocks per age, of the part that matters.
    pub(crate) rate: f64,
    pub(crate) fill: fn(&mut Site, &mut Rng, f64),
}

/// How the answer may change between the interim reports of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// What was taken back is hardly ever said again.
    Once,
    /// A leak in a cache that is new: that entries are freed after all is news, and that not all of them are, is news again.
    NewCache,
    /// Something that is filled grows like a leak meanwhile, and stops.
    Fills,
}

/// A scenario of the lists below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    scenario: Scenario,
    pub(crate) changes: Changes,
}

impl Listed {
    const fn that(self, changes: Changes) -> Listed {
        Listed { changes, ..self }
    }
}

impl Deref for Listed {
    type Target = Scenario;

    fn deref(&self) -> &Scenario {
        &self.scenario
    }
}

pub(crate) const fn of(
    name: &'static str,
    ages: f64,
    rate: f64,
    fill: fn(&mut Site, &mut Rng, f64),
) -> Listed {
    Listed { scenario: Scenario { name, ages, rate, fill }, changes: Changes::Once }
}

const LEAKED: f64 = f64::INFINITY;

/// Must be LEAK.
pub(crate) const PLANTED: &[Listed] = &[
    of("pure leak, watched for 1.5 ages", 1.5, 387.0, leak),
    of("pure leak", 4.0, 60.0, leak),
    of("slow pure leak", 4.0, 20.0, leak),
    of("1 % of temporary buffers, watched for 1.5 ages", 1.5, 387.0, leak_in_temporaries),
    of("1 % of temporary buffers", 4.0, 60.0, leak_in_temporaries),
    of("1 % of temporary buffers, slow", 4.0, 20.0, leak_in_temporaries),
    of("leak in a cache of 2/3 age", 4.0, 40.0, |site, rng, rate| {
        leak(site, rng, rate);
        site.steady(rng, 400.0, |_| 0.667);
    }),
    of("1 % leak in a cache of 1.5 ages", 4.0, 60.0, |site, rng, rate| {
        leak(site, rng, rate);
        site.steady(rng, 99.0 * rate / 10.0, |_| 1.5);
    })
    .that(Changes::NewCache),
    of("leak beside a cache of 2 ages", 5.0, 40.0, |site, rng, rate| {
        leak(site, rng, rate);
        site.steady(rng, 4.0 * rate, |_| 2.0);
    })
    .that(Changes::NewCache),
    of("leak beside a cache of 2.6 ages", 8.0, 40.0, |site, rng, rate| {
        leak(site, rng, rate);
        site.steady(rng, 4.0 * rate, |rng| 2.6 * (0.95 + 0.1 * rng.unit()));
    })
    .that(Changes::NewCache),
    of("leak in bursts, every 0.7 ages", 4.0, 40.0, |site, rng, rate| {
        bursts(site, rng, 0.7, rate);
    }),
    of("leak in bursts, every 0.45 ages", 4.0, 20.0, |site, rng, rate| {
        bursts(site, rng, 0.45, rate);
    }),
    of("leak behind a table filled at start", 4.0, 40.0, |site, rng, rate| {
        at_start(site, rng, 500.0);
        leak(site, rng, rate);
    }),
    of("leak that begins at a third", 4.0, 40.0, |site, rng, rate| {
        let span = (site.ages() / 3.0, site.ages());
        site.arrivals(rng, rate, span, |_, _| LEAKED);
    }),
    of("leak that follows the players", 4.0, 60.0, |site, rng, rate| {
        let ages = site.ages();
        site.arrivals(rng, rate, (0.0, ages), |rng, time| {
            let online = 0.6 + 0.4 * (time / ages * std::f64::consts::TAU).sin();
            if rng.unit() < online { LEAKED } else { 0.0 }
        });
    }),
    of("leak of which a few are found again", 4.0, 100.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.exponential(50.0));
    }),
];

/// Leaks that come so unevenly that a pause may look like the end: most must be found, and none be taken for a
/// cache or churn.
pub(crate) const UNEVEN: &[Listed] = &[of("leak in bursts at random", 4.0, 20.0, |site, rng, rate| {
    let mut time = 0.0;
    while time < site.ages() {
        time += rng.exponential(0.25);
        site.blocks(time, LEAKED, 100, rate as u64);
    }
})];

/// Must never be LEAK.
pub(crate) const HONEST: &[Listed] = &[
    of("cache of 2/3 age, watched for 1.5 ages", 1.5, 3_000.0, |site, rng, rate| {
        site.steady(rng, rate, |_| 0.667)
    }),
    of("cache of 0.9 ages", 4.0, 300.0, |site, rng, rate| site.steady(rng, rate, |_| 0.9)),
    of("cache of 1.5 ages", 4.0, 100.0, |site, rng, rate| site.steady(rng, rate, |_| 1.5)),
    of("cache of 1.5 ages, watched for 1.7 ages", 1.7, 300.0, |site, rng, rate| {
        site.steady(rng, rate, |_| 1.5)
    }),
    of("cache of 1.5 ages, watched for 2.2 ages", 2.2, 100.0, |site, rng, rate| {
        site.steady(rng, rate, |_| 1.5)
    }),
    of("cache of 3 ages", 4.0, 60.0, |site, rng, rate| site.steady(rng, rate, |_| 3.0)),
    of("sessions, mean 5/6 age, watched for 1.5 ages", 1.5, 1_000.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.exponential(25.0 / 30.0));
    }),
    of("sessions, mean 0.2 ages", 4.0, 300.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.exponential(0.2))
    }),
    of("sessions, mean 5/6 age", 4.0, 100.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.exponential(0.833))
    }),
    of("sessions, mean 2 ages", 4.0, 60.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.exponential(2.0))
    }),
    of("sessions, mean 5 ages", 4.0, 60.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.exponential(5.0))
    }),
    of("sessions, mean 5 ages, watched for 1.5 ages", 1.5, 387.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.exponential(5.0));
    }),
    of("sessions, lognormal, mean 0.8, sigma 1.5", 4.0, 100.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.lognormal(0.8, 1.5));
    }),
    of("sessions, lognormal, mean 1, sigma 2.5", 4.0, 200.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.lognormal(1.0, 2.5));
    }),
    of("sessions, gamma of shape 3, mean 0.8", 4.0, 100.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.gamma(3, 0.8));
    }),
    of("sessions, gamma of shape 4, mean 2", 4.0, 60.0, |site, rng, rate| {
        site.steady(rng, rate, |rng| rng.gamma(4, 2.0));
    }),
    of("sessions of a server that fills up", 4.0, 200.0, |site, rng, rate| {
        let span = (0.0, site.ages());
        site.arrivals(
            rng,
            rate,
            span,
            |rng, time| if rng.unit() * 4.0 < time { rng.exponential(2.0) } else { 0.0 },
        );
    }),
    of("table filled at start", 4.0, 500.0, at_start),
    of("table filled at start, watched for 1.5 ages", 1.5, 500.0, at_start),
    of("small table filled at start", 4.0, 30.0, at_start),
    of("table filled at start, a few entries later", 4.0, 60.0, |site, rng, rate| {
        at_start(site, rng, rate);
        for _ in 0..4 {
            let time = rng.unit() * site.ages();
            site.blocks(time, LEAKED, 256, 1);
        }
    }),
    of("table filled at start, and sessions, mean 0.8 ages", 4.0, 60.0, |site, rng, rate| {
        at_start(site, rng, 500.0);
        site.steady(rng, rate, |rng| rng.exponential(0.8));
    }),
    of("table filled at start, and sessions, mean 2 ages", 6.0, 60.0, |site, rng, rate| {
        at_start(site, rng, 500.0);
        site.steady(rng, rate, |rng| rng.exponential(2.0));
    }),
    of("table filled at start, and a cache of 0.8 ages", 2.0, 60.0, |site, rng, rate| {
        at_start(site, rng, 100.0);
        site.steady(rng, rate, |_| 0.8);
    }),
    of("table filled at start, and a cache of 2 ages", 4.0, 60.0, |site, rng, rate| {
        at_start(site, rng, 100.0);
        site.steady(rng, rate, |_| 2.0);
    }),
    of("table filled in an age, and a cache of 0.8 ages", 4.0, 60.0, |site, rng, rate| {
        fills(site, rng, 100.0, 1.0);
        site.steady(rng, rate, |_| 0.8);
    })
    .that(Changes::Fills),
    of("table filled in an age, and a cache of 2 ages", 4.0, 60.0, |site, rng, rate| {
        fills(site, rng, 100.0, 1.0);
        site.steady(rng, rate, |_| 2.0);
    })
    .that(Changes::Fills),
    of("cache that fills in 0.3 ages and stops", 4.0, 300.0, |site, rng, rate| fills(site, rng, rate, 0.3)),
    of("cache that fills in 1.5 ages and stops", 4.0, 100.0, |site, rng, rate| fills(site, rng, rate, 1.5)),
    of("cache that fills in 2.5 ages and stops", 4.0, 100.0, |site, rng, rate| fills(site, rng, rate, 2.5)),
    of("cache that fills in 3.2 ages and stops", 4.0, 100.0, |site, rng, rate| fills(site, rng, rate, 3.2)),
    of("cache that fills ever more slowly", 4.0, 300.0, |site, rng, rate| {
        let span = (0.0, site.ages());
        site.arrivals(
            rng,
            rate,
            span,
            |rng, time| if rng.unit() < (-time / 0.6).exp() { LEAKED } else { 0.0 },
        );
    }),
    of("full queue that evicts the oldest", 4.0, 100.0, |site, rng, rate| evicts(site, rng, rate, 80)),
    of("full queue that evicts late", 4.0, 100.0, |site, rng, rate| evicts(site, rng, rate, 200)),
    of("everything freed at each change of map", 4.0, 60.0, |site, rng, rate| {
        let span = (0.0, site.ages());
        site.arrivals(rng, rate, span, |_, time| 1.3 - time % 1.3);
    }),
    of("one level loaded in the middle", 4.0, 0.0, |site, _, _| site.blocks(1.7, LEAKED, 1_000, 300)),
    of("one level loaded late", 4.0, 0.0, |site, _, _| site.blocks(2.6, LEAKED, 1_000, 300)),
    of("temporary buffers", 4.0, 50_000.0, Site::temporary),
    of("temporary buffers and a few long sessions", 4.0, 40.0, |site, rng, rate| {
        site.temporary(rng, 20_000.0);
        site.steady(rng, rate, |rng| rng.exponential(1.5));
    }),
];

fn leak(site: &mut Site, rng: &mut Rng, rate: f64) {
    site.steady(rng, rate, |_| LEAKED);
}

fn leak_in_temporaries(site: &mut Site, rng: &mut Rng, rate: f64) {
    leak(site, rng, rate);
    site.temporary(rng, 99.0 * rate);
}

fn bursts(site: &mut Site, rng: &mut Rng, every: f64, blocks: f64) {
    let mut time = rng.unit() * every;
    while time < site.ages() {
        site.blocks(time, LEAKED, 100, blocks as u64);
        time += every;
    }
}

/// `blocks` in the first fiftieth of the observation.
fn at_start(site: &mut Site, rng: &mut Rng, blocks: f64) {
    for _ in 0..blocks as u64 {
        let time = rng.unit() * site.ages() / 50.0;
        site.blocks(time, LEAKED, 256, 1);
    }
}

fn fills(site: &mut Site, rng: &mut Rng, rate: f64, until: f64) {
    site.arrivals(rng, rate, (0.0, until), |_, _| LEAKED);
}

/// A queue of fixed capacity, filled before the observation, at a rate that swings by half.
fn evicts(site: &mut Site, rng: &mut Rng, rate: f64, capacity: usize) {
    let (mut queue, mut time) = (VecDeque::new(), 0.0);
    while time < site.ages() {
        time += rng.exponential(1.0 / (rate * (1.0 + 0.5 * (time * 3.0).sin())));
        queue.push_back(time);
        if queue.len() > capacity
            && let Some(birth) = queue.pop_front()
        {
            site.blocks(birth, time - birth, 4_096, 1);
        }
    }
    for birth in queue {
        site.blocks(birth, LEAKED, 4_096, 1);
    }
}

//! Series of stalls with and without a period, from seeds.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// How stalls come that do not repeat.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chance {
    /// Independently of each other.
    Poisson,
    /// With gaps of a gamma distribution of this shape: the more, the more regular.
    Gamma(u32),
    /// With gaps spread evenly over 0.5 to 1.5: the most regular that is not called periodic.
    Even,
    /// With gaps of a log-normal distribution, with a deviation of this power of e.
    LogNormal(f64),
    /// With gaps of a normal distribution of this deviation. Small ones are periodic.
    Normal(f64),
    /// With short gaps and long ones in turn, by chance.
    TwoGaps,
    /// With gaps that wander: each is that before times a log-normal variable, within a factor of 7.
    Walk(f64),
    /// At a rate that rises and falls.
    Waves,
    /// In clusters that come independently, of 3 stalls on average, spread over this part of the mean gap between clusters.
    Clusters(f64),
}

/// Every kind for which a period is a false alarm.
pub(super) const CHANCES: [Chance; 13] = [
    Chance::Poisson,
    Chance::Gamma(2),
    Chance::Gamma(3),
    Chance::Gamma(4),
    Chance::Even,
    Chance::LogNormal(0.5),
    Chance::TwoGaps,
    Chance::Walk(0.3),
    Chance::Walk(0.5),
    Chance::Waves,
    Chance::Clusters(0.02),
    Chance::Clusters(0.1),
    Chance::Clusters(0.3),
];

impl Chance {
    /// The times of so many stalls, or clusters of stalls.
    pub(super) fn times_ns(self, count: usize, rng: &mut SmallRng) -> Vec<u64> {
        let mut wandering = 0.0f64;
        let (phase, wave) = (rng.random::<f64>(), 5.0 + 20.0 * rng.random::<f64>());
        let mut now = 0.0;
        let mut times = Vec::new();
        for _ in 0..count {
            now += match self {
                Chance::Poisson | Chance::Clusters(_) => exponential(rng),
                Chance::Gamma(shape) => (0..shape).map(|_| exponential(rng)).sum::<f64>() / f64::from(shape),
                Chance::Even => rng.random_range(0.5..1.5),
                Chance::LogNormal(deviation) => (deviation * normal(rng)).exp(),
                Chance::Normal(deviation) => (1.0 + deviation * normal(rng)).max(0.01),
                Chance::TwoGaps if rng.random() => rng.random_range(0.3..0.7),
                Chance::TwoGaps => rng.random_range(1.1..1.9),
                Chance::Walk(step) => {
                    wandering += step * normal(rng);
                    if wandering.abs() > 2.0 {
                        wandering = 4.0 * wandering.signum() - wandering;
                    }
                    wandering.exp()
                }
                Chance::Waves => {
                    let mut gap = 0.0;
                    loop {
                        gap += exponential(rng) / 2.0;
                        let height = (std::f64::consts::TAU * ((now + gap) / wave + phase)).sin();
                        if 2.0 * rng.random::<f64>() < 1.0 + height {
                            break gap;
                        }
                    }
                }
            };
            times.push(now);
            if let Chance::Clusters(width) = self {
                while rng.random_range(0..3) > 0 {
                    times.push(now + width * exponential(rng));
                }
            }
        }
        in_ns(times, unit_ns(rng))
    }
}

/// How stalls come that repeat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beating {
    /// How many beats are seen.
    pub(super) seen: usize,
    /// Standard deviation of a beat, or of a period if it drifts, in periods.
    pub(super) jitter: f64,
    /// Whether each beat is timed from the one before.
    pub(super) drifts: bool,
    /// The chance of each beat to be missing.
    pub(super) missing: f64,
    /// How many other stalls there are for each beat seen, rounded to whole ones.
    pub(super) extra: f64,
    /// Up to how many calls a stall has, one 2 % of the period after the other.
    pub(super) calls: usize,
}

impl Beating {
    /// 10 beats on a grid, all seen and nothing else.
    pub(super) const PLAIN: Beating =
        Beating { seen: 10, jitter: 0.05, drifts: false, missing: 0.0, extra: 0.0, calls: 1 };

    /// The times, and the period, in nanoseconds.
    pub(super) fn times_ns(self, rng: &mut SmallRng) -> (Vec<u64>, f64) {
        let (mut begun, mut beats) = (0.0, Vec::new());
        for number in 1.. {
            if beats.len() == self.seen {
                break;
            }
            let off = self.jitter * normal(rng);
            begun = if self.drifts { begun + (1.0 + off).max(0.05) } else { f64::from(number) };
            if rng.random::<f64>() >= self.missing {
                beats.push(if self.drifts { begun } else { begun + off });
            }
        }
        let (first, last) = (beats[0], beats[beats.len() - 1]);
        let mut times: Vec<f64> = Vec::new();
        for beat in beats {
            times.extend((0..rng.random_range(1..=self.calls)).map(|call| beat + 0.02 * call as f64));
        }
        let extra = (self.extra * self.seen as f64).round() as usize;
        times.extend((0..extra).map(|_| rng.random_range(first..last)));
        let unit_ns = unit_ns(rng);
        (in_ns(times, unit_ns), unit_ns)
    }
}

/// A generator that depends on nothing but these.
pub(super) fn rng(kind: usize, series: usize) -> SmallRng {
    SmallRng::seed_from_u64(((kind as u64) << 32) + series as u64)
}

fn normal(rng: &mut SmallRng) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn exponential(rng: &mut SmallRng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// A mean gap from 1 ms to 1,000 s.
fn unit_ns(rng: &mut SmallRng) -> f64 {
    10f64.powf(rng.random_range(6.0..12.0))
}

fn in_ns(mut times: Vec<f64>, unit_ns: f64) -> Vec<u64> {
    times.sort_by(f64::total_cmp);
    // Jitter may put the first beat before 0.
    times.iter().map(|time| ((time + 1.0).max(0.0) * unit_ns) as u64).collect()
}

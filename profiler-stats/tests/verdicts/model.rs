//! Synthetic call stacks with known lifetimes. Time is counted in ages: 1 is the age asked about.

use profiler_common::age::{self, UNIT_NS};
use profiler_stats::lifetimes::rows::{BIRTH_SLICES, StackRow, Window};

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every machine and with every library version.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        // Mixed twice, or the streams of neighbouring seeds would be the same one, shifted.
        let mut rng = Rng(seed);
        rng.0 = rng.next();
        rng.0 ^= rng.next().rotate_left(32);
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1, never 0.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A lognormal variable of the given mean.
    pub(crate) fn lognormal(&mut self, mean: f64, sigma: f64) -> f64 {
        mean * (sigma * self.normal() - sigma * sigma / 2.0).exp()
    }

    /// A gamma variable of whole shape and the given mean.
    pub(crate) fn gamma(&mut self, shape: u32, mean: f64) -> f64 {
        (0..shape).map(|_| self.exponential(mean / f64::from(shape))).sum()
    }
}

/// Blocks that are born together. Times in ages.
struct Born {
    birth: f64,
    lifetime: f64,
    bytes: u64,
    times: u64,
    /// Parts that blocks got when they grew, and not blocks.
    later: bool,
}

/// A call stack under observation: all that it allocates.
pub(crate) struct Site {
    window: Window,
    born: Vec<Born>,
}

impl Site {
    pub(crate) fn new(window: Window) -> Site {
        Site { window, born: Vec::new() }
    }

    /// A window: the age asked about in nanoseconds, and the length of the observation in ages.
    pub(crate) fn window(older_ns: u64, ages: f64) -> Window {
        let older_units = older_ns / UNIT_NS;
        Window { length_units: (older_units as f64 * ages) as u64, older_units }
    }

    /// `times` blocks born at `birth` that live for `lifetime`; an endless one is a leak.
    pub(crate) fn blocks(&mut self, birth: f64, lifetime: f64, bytes: u64, times: u64) {
        self.born.push(Born { birth, lifetime, bytes, times, later: false });
    }

    /// A part that a block of this stack gets at `birth`, `lifetime` before its end.
    pub(crate) fn later_part(&mut self, birth: f64, lifetime: f64, bytes: u64) {
        self.born.push(Born { birth, lifetime, bytes, times: 1, later: true });
    }

    /// Length of the observation in ages.
    pub(crate) fn ages(&self) -> f64 {
        self.window.length_units as f64 / self.window.older_units as f64
    }

    /// Blocks that arrive at random, `rate` per age, from `from` to `to`, with lifetimes as drawn.
    pub(crate) fn arrivals(
        &mut self,
        rng: &mut Rng,
        rate: f64,
        (from, to): (f64, f64),
        mut lifetime: impl FnMut(&mut Rng, f64) -> f64,
    ) {
        let mut time = from;
        loop {
            time += rng.exponential(1.0 / rate);
            if time >= to {
                return;
            }
            let bytes = 64 + (rng.unit() * 2_000.0) as u64;
            let lives = lifetime(rng, time);
            self.blocks(time, lives, bytes, 1);
        }
    }

    /// Blocks that arrive at random over the whole observation.
    pub(crate) fn steady(&mut self, rng: &mut Rng, rate: f64, mut lifetime: impl FnMut(&mut Rng) -> f64) {
        let span = (0.0, self.ages());
        self.arrivals(rng, rate, span, |rng, _| lifetime(rng));
    }

    /// Temporary blocks, `rate` per age, in use for a thousandth of the age. They are drawn by the hundred: their
    /// number does not matter to a verdict, only that they are many.
    pub(crate) fn temporary(&mut self, rng: &mut Rng, rate: f64) {
        let mut time = 0.0;
        while time < self.ages() {
            time += rng.exponential(100.0 / rate);
            let lives = rng.exponential(0.001);
            self.blocks(time, lives, 512, 100);
        }
    }

    /// What it did until the end.
    pub(crate) fn finish(&self) -> (StackRow, Window) {
        (self.row(&self.window), self.window)
    }

    /// What it did until it was looked at `ages` after the beginning.
    pub(crate) fn look(&self, ages: f64) -> (StackRow, Window) {
        let Window { older_units, .. } = self.window;
        let window = Window { length_units: (older_units as f64 * ages) as u64, older_units };
        (self.row(&window), window)
    }

    fn row(&self, window: &Window) -> StackRow {
        let mut row = StackRow::default();
        let slot_units = window.slot_units();
        for born in &self.born {
            add(&mut row, born, window, slot_units);
        }
        row
    }
}

fn add(row: &mut StackRow, born: &Born, window: &Window, slot_units: u64) {
    let Born { birth, lifetime, bytes, times, later } = *born;
    let older = window.older_units as f64;
    let left = window.length_units as f64 - birth * older;
    if left < 0.0 {
        return;
    }
    row.acquired += times;
    row.acquired_bytes += bytes * times;
    let lifetime = lifetime * older;
    if lifetime <= left {
        if later {
            row.merged += times;
        } else {
            row.lifetimes.died[age::bin(lifetime as u32)] += times;
        }
        return;
    }
    let units = left as u64;
    row.live += times;
    row.live_bytes += bytes * times;
    if later {
        row.later_parts[age::bin(units as u32)] += times;
        row.oldest_later_units = row.oldest_later_units.max(units);
    } else {
        row.lifetimes.live[age::bin(units as u32)] += times;
        row.lifetimes.live_age_units[age::bin(units as u32)] += units * times;
    }
    row.arrivals.mark(units, slot_units);
    if units >= window.older_units {
        row.old += times;
        row.old_bytes += bytes * times;
        row.old_bytes_squared += (bytes * bytes * times) as f64;
        let eligible = (window.length_units - window.older_units) as f64;
        let slice = (birth * older / eligible * BIRTH_SLICES as f64) as usize;
        let slice = slice.min(BIRTH_SLICES - 1);
        row.births[slice] += times;
        row.later_births[slice] += if later { times } else { 0 };
        row.birth_bytes[slice] += (bytes * times) as f64;
        row.birth_variances[slice] += (bytes * bytes * times) as f64;
    }
}

//! What profiler itself takes: time to start, memory, processor.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Figures, Rig};

/// How often each figure is taken; the median is reported.
const ROUNDS: usize = 5;

pub(super) fn run(rig: &Rig) -> Result<Figures> {
    let size = rig.profiler.metadata().context("cannot look at profiler")?.len();
    let start = median((0..ROUNDS).map(|_| start(rig)).collect::<Result<Vec<_>>>()?);
    let mut figures = Figures::new();
    figures.insert("binary_bytes".into(), size.into());
    figures.insert("start_ms".into(), (start.as_secs_f64() * 1e3).into());
    Ok(figures)
}

/// From exec to the end of the cheapest run, under the same privilege as a real one.
fn start(rig: &Rig) -> Result<Duration> {
    let before = Instant::now();
    let output = rig.profiler().arg("--version").output().context("cannot run profiler")?;
    if !output.status.success() {
        bail!("profiler --version failed ({})", output.status);
    }
    Ok(before.elapsed())
}

/// The middle one; zero of none.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

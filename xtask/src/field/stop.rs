//! Ctrl-C and similar signals: they are noted, so that everything that was started is ended properly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether this task is to end.
pub(super) struct Stop {
    requested: Arc<AtomicBool>,
}

impl Stop {
    /// From now on the signals that would end us are noted.
    pub(super) fn listen() -> Result<Self> {
        let requested = Arc::<AtomicBool>::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&requested))
                .context("cannot listen for signals")?;
        }
        Ok(Self { requested })
    }

    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self { requested: Arc::default() }
    }

    /// # Errors
    /// This task is to end.
    pub(super) fn check(&self) -> Result<()> {
        if self.requested.load(Ordering::Relaxed) {
            bail!("stopped by a signal");
        }
        Ok(())
    }

    /// Waits for a time that is measured.
    ///
    /// # Errors
    /// This task is to end.
    pub(super) fn pass(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

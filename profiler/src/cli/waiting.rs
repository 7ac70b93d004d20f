//! Shows on standard error what is being waited for, if it takes long.

use std::{
    io::Write as _,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use profiler::stage::Stage;

/// Shorter waits are not shown.
const SHORT: Duration = Duration::from_secs(1);
/// Interval at which the stage is read.
const LOOK: Duration = Duration::from_millis(100);
/// Interval at which the line is repeated where lines cannot be redrawn.
const AGAIN: Duration = Duration::from_secs(10);

/// Watches a stage as long as this is held.
#[derive(Debug)]
pub(crate) struct Watch {
    _stop: Option<Sender<()>>,
}

impl Watch {
    /// Begins to watch. `bar`: where to show the stage; without one, each wait is a line of its own.
    pub(crate) fn start(stage: Stage, bar: Option<ProgressBar>, quiet: bool) -> Watch {
        if quiet {
            return Watch { _stop: None };
        }
        let (stop, stopped) = channel::<()>();
        // Without the thread nothing is shown, and nothing else is lost.
        let _ = thread::Builder::new().name("waiting".to_owned()).spawn(move || {
            let mut said: Option<(Instant, Instant)> = None;
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let Some(current) = stage.current().filter(|stage| stage.since.elapsed() >= SHORT) else {
                    continue;
                };
                if let Some(bar) = &bar {
                    bar.set_message(format!("{} ...", current.words));
                    bar.tick();
                } else if said.is_none_or(|(of, at)| of != current.since || at.elapsed() >= AGAIN) {
                    said = Some((current.since, Instant::now()));
                    // If standard error is gone, nobody reads this.
                    let _ = writeln!(std::io::stderr(), "{} ...", current.words);
                }
            }
        });
        Watch { _stop: Some(stop) }
    }
}

//! The signals that ask us to end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use profiler::error::{Error, ErrorKind, Result};
use signal_hook::low_level::{emulate_default_handler, register};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is said when a signal ends us at once. A terminal has shown `^C` in that line.
const GIVEN_UP: &[u8] = b"\nended at once by another signal: the report is given up\n";

/// Waits for signals that ask us to end. Those up to a number are for whoever waits; the next one ends us at once, as it
/// would if nobody listened, and whatever we are doing.
#[derive(Debug)]
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// Begins to listen. `heard`: signals that do not end us at once. Needs a tokio runtime with I/O.
    pub(super) fn listen(heard: usize) -> Result<Stop> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Limit, "tried to listen for signals").because_of(error)
        };
        let listen = |kind: SignalKind| signal(kind).map_err(failed);
        let [interrupt, terminate, hangup] = [
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ];
        let came = Arc::new(AtomicUsize::new(0));
        // Not SIGHUP: a terminal that closes sends it more than once.
        for number in [libc::SIGINT, libc::SIGTERM] {
            let came = Arc::clone(&came);
            let count = move || {
                if came.fetch_add(1, Ordering::Relaxed) >= heard {
                    // SAFETY: the bytes are there for ever, and write(2) is safe in a signal handler.
                    let _ =
                        unsafe { libc::write(libc::STDERR_FILENO, GIVEN_UP.as_ptr().cast(), GIVEN_UP.len()) };
                    // It fails for signals that nobody may handle, which this is not.
                    let _ = emulate_default_handler(number);
                }
            };
            // SAFETY: what it does is safe in a signal handler: an atomic addition, a write, and what the crate says is
            // safe there.
            unsafe { register(number, count) }.map_err(failed)?;
        }
        Ok(Stop { interrupt, terminate, hangup })
    }

    /// Ready at the next signal; at once, if one has come since the last call.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

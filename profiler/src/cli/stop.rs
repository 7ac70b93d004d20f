//! The signals that ask us to end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use profiler::error::{Error, ErrorKind, Result};
use signal_hook::low_level::{emulate_default_handler, register};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The message when a signal ends us at once. The terminal has shown `^C` in that line.
const GIVEN_UP: &[u8] = b"\nended at once by another signal: the report is given up\n";

/// Waits for signals that ask us to end. The first few are passed to the caller; the next one ends us at once, as it
/// would without a handler, whatever we are doing.
#[derive(Debug)]
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// Installs the handlers. `heard`: number of signals that do not end us at once. Needs a tokio runtime with I/O.
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
        // SIGHUP is not counted: a terminal that closes sends it more than once.
        for number in [libc::SIGINT, libc::SIGTERM] {
            let came = Arc::clone(&came);
            let count = move || {
                if came.fetch_add(1, Ordering::Relaxed) >= heard {
                    // SAFETY: the bytes are static, and write(2) is safe in a signal handler.
                    let _ =
                        unsafe { libc::write(libc::STDERR_FILENO, GIVEN_UP.as_ptr().cast(), GIVEN_UP.len()) };
                    // This fails only for signals that cannot be handled.
                    let _ = emulate_default_handler(number);
                }
            };
            // SAFETY: an atomic addition and a write are safe in a signal handler, and the crate says the same of its
            // function.
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

//! When to end: at SIGTERM or SIGINT, when the time is up, and in a child process when its parent has gone.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::clock;

/// What a process waits for until it ends.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Readable when a signal has come. It is never read, so it stays readable.
    signals: UnixStream,
    /// Whether the end of standard input is an order to end.
    owned: bool,
    /// Clock time in nanoseconds; `u64::MAX` without `--for`.
    time_is_up_ns: u64,
}

impl Stop {
    /// Takes over SIGTERM and SIGINT. A process that is `owned` ends also when its standard input does: it is a pipe to the
    /// parent then, which closes whatever happens to the parent.
    pub(crate) fn listen(owned: bool) -> anyhow::Result<Self> {
        let (signals, write) = UnixStream::pair().context("making a pipe for signals")?;
        let again = write.try_clone().context("making a pipe for signals")?;
        pipe::register(SIGTERM, write).context("handling SIGTERM")?;
        pipe::register(SIGINT, again).context("handling SIGINT")?;
        Ok(Self { signals, owned, time_is_up_ns: u64::MAX })
    }

    /// Ends after this time, counted from now.
    pub(crate) fn after(&mut self, length: Option<Duration>) {
        self.time_is_up_ns =
            length.map_or(u64::MAX, |length| clock::now_ns().saturating_add(clock::ns(length)));
    }

    /// Waits until it is time to end, or until `deadline_ns`. Says whether it is time to end.
    pub(crate) fn wait_until(&self, deadline_ns: u64) -> bool {
        self.wait_for(None, deadline_ns) == Wakeup::Asked
    }

    /// Waits until it is time to end, until there is something to read, or until `deadline_ns`.
    pub(crate) fn wait_for(&self, input: Option<BorrowedFd<'_>>, deadline_ns: u64) -> Wakeup {
        let stdin = io::stdin();
        loop {
            let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if self.owned {
                watched.push(PollFd::new(&stdin, PollFlags::IN));
            }
            let orders = watched.len();
            watched.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
            // An error is that a signal has interrupted it: the pipe says so at the next look.
            let timeout = clock::timeout_until(deadline_ns.min(self.time_is_up_ns));
            let seen = poll(&mut watched, Some(&timeout)).is_ok();
            let mut ready = watched.iter().map(|watched| seen && !watched.revents().is_empty());
            let now = clock::now_ns();
            // The parent never writes: all that can be read from standard input is its end.
            if now >= self.time_is_up_ns || ready.by_ref().take(orders).any(|ready| ready) {
                return Wakeup::Asked;
            }
            if ready.any(|ready| ready) {
                return Wakeup::Input;
            }
            if now >= deadline_ns {
                return Wakeup::Late;
            }
        }
    }
}

/// Why a wait has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakeup {
    /// It is time to end.
    Asked,
    /// There is something to read, or its end.
    Input,
    /// The deadline has passed.
    Late,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_deadline_is_no_reason_to_end_and_time_that_is_up_is() {
        let mut stop = Stop::listen(false).unwrap();
        assert!(!stop.wait_until(clock::now_ns() + 1_000_000));
        stop.after(Some(Duration::from_millis(1)));
        assert!(stop.wait_until(u64::MAX));
    }

    #[test]
    fn what_can_be_read_ends_a_wait() {
        let stop = Stop::listen(false).unwrap();
        let (read, write) = UnixStream::pair().unwrap();
        let soon = || clock::now_ns() + 1_000_000;
        assert_eq!(stop.wait_for(Some(read.as_fd()), soon()), Wakeup::Late);
        drop(write);
        assert_eq!(stop.wait_for(Some(read.as_fd()), u64::MAX), Wakeup::Input);
    }
}

//! Somebody who connects to the spectators' port and closes again, over and over.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::threads;

const THREAD: &str = "bots-storm";
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A thread that does nothing else.
#[derive(Debug)]
pub(super) struct Storm {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

impl Storm {
    /// Begins with so many connections per second.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(super) fn begin(address: SocketAddr, per_s: u32) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = threads::spawn(THREAD, move || rage(address, per_s, &asked))?;
        Ok(Self { stop, thread })
    }

    /// Ends, and says how many connections were made and how many could not be.
    ///
    /// # Errors
    /// If the thread has panicked.
    pub(super) fn end(self) -> anyhow::Result<(u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        threads::join(THREAD, self.thread)
    }
}

fn rage(address: SocketAddr, per_s: u32, stop: &AtomicBool) -> (u64, u64) {
    let period_ns = 1_000_000_000 / u64::from(per_s.max(1));
    let (mut made, mut failed) = (0, 0);
    let mut next_ns = clock::now_ns();
    while !stop.load(Ordering::Relaxed) {
        match connect_and_close_again(address) {
            Ok(()) => made += 1,
            Err(_) => failed += 1,
        }
        next_ns = (next_ns + period_ns).max(clock::now_ns());
        clock::sleep_until(next_ns);
    }
    (made, failed)
}

/// Planted fault (`--storm`): a connection that is good for nothing.
#[inline(never)]
fn connect_and_close_again(address: SocketAddr) -> io::Result<()> {
    TcpStream::connect_timeout(&address, CONNECT_WITHIN).map(drop)
}

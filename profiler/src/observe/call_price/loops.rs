//! Calls whose price is measured.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::{fs::FileExt as _, net::UnixStream},
    },
    time::Instant,
};

use super::{Dearer, KINDS};

/// Length of a short request of a server.
const MESSAGE: [u8; 128] = [7; 128];
/// Requests in a series, each with its answer, and over TCP. A series takes about a millisecond, so that the scheduler rarely interrupts it.
const REQUESTS: u32 = 150;
const REQUESTS_OVER_TCP: u32 = 40;
/// A request is sent and received, and so is its answer.
const CALLS_PER_REQUEST: u32 = 4;
/// Reads of a file in a series.
const READS: u32 = 600;
/// Calls of a series at least.
pub(super) const LEAST_CALLS: u64 = (REQUESTS_OVER_TCP * CALLS_PER_REQUEST) as u64;

/// Calls to measure: messages to ourselves, and reads of our own program.
pub(super) struct Loops {
    ends: [File; 2],
    requests: u32,
    file: Option<File>,
    dearer: Dearer,
}

impl Loops {
    pub(super) fn new(dearer: Dearer) -> io::Result<Loops> {
        let file = if dearer == Dearer::Nothing { None } else { Some(File::open("/proc/self/exe")?) };
        // A network namespace may have no loopback device that is up.
        let tcp = if dearer == Dearer::OnSockets { over_tcp().ok() } else { None };
        let (ends, requests) = match tcp {
            Some(ends) => (ends, REQUESTS_OVER_TCP),
            None => (UnixStream::pair().map(<[UnixStream; 2]>::from)?.map(OwnedFd::from), REQUESTS),
        };
        Ok(Loops { ends: ends.map(File::from), requests, file, dearer })
    }

    /// Mean time of one call, by kind.
    pub(super) fn per_call_ns(&mut self) -> io::Result<[f64; KINDS]> {
        let [client, server] = &mut self.ends;
        let mut buffer = MESSAGE;
        let begun = Instant::now();
        for _ in 0..self.requests {
            client.write_all(&MESSAGE)?;
            server.read_exact(&mut buffer)?;
            server.write_all(&MESSAGE)?;
            client.read_exact(&mut buffer)?;
        }
        let message = begun.elapsed().as_nanos() as f64 / f64::from(self.requests * CALLS_PER_REQUEST);
        let begun = Instant::now();
        if let Some(file) = &self.file {
            for _ in 0..READS {
                file.read_exact_at(&mut buffer, 0)?;
            }
        }
        let file = begun.elapsed().as_nanos() as f64 / f64::from(READS);
        Ok(if self.dearer == Dearer::OnSockets { [file, message] } else { [message, file] })
    }
}

/// Both ends of a connection over loopback.
fn over_tcp() -> io::Result<[OwnedFd; 2]> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let own = client.local_addr()?;
    // Another process may have been faster to connect.
    let server = loop {
        let (server, from) = listener.accept()?;
        if from == own {
            break server;
        }
    };
    Ok([client.into(), server.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_time() {
        for dearer in [Dearer::OnFiles, Dearer::OnSockets] {
            let took = Loops::new(dearer).unwrap().per_call_ns().unwrap();
            assert!(took.iter().all(|ns| *ns > 1.0), "{took:?}");
        }
    }
}

//! One spectator: reads frames, and says for each that it has seen it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde::Serialize;

use crate::clock;
use crate::protocol::{FRAME_HEADER_BYTES, SEEN_BYTES, read_frame_header};

/// Longest frame that is taken, in bytes.
const FRAME_BYTES: usize = 4 << 20;
/// A frame that is older than this when it is whole is late.
const LATE_NS: u64 = 20_000_000;

/// What all spectators have counted.
#[derive(Debug, Default, Serialize)]
pub(super) struct Books {
    /// Frames that were read whole.
    frames: u64,
    bytes: u64,
    /// Frames that took more than 20 ms from the server's loop to here.
    late_frames: u64,
    /// How long the longest took.
    longest_ns: u64,
    /// Connections that the server has ended.
    ended: u64,
    /// The one that does not read.
    slow_reader: Option<SocketAddr>,
}

impl Books {
    /// Empty ones.
    pub(super) fn new(slow_reader: Option<SocketAddr>) -> Self {
        Self { slow_reader, ..Self::default() }
    }
}

/// A spectator.
#[derive(Debug)]
pub(super) struct Watcher {
    stream: TcpStream,
    unread: Vec<u8>,
    reads: bool,
    is_leaving: bool,
}

impl Watcher {
    /// Connects.
    ///
    /// # Errors
    /// If the server does not take the connection.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, unread: Vec::new(), reads: true, is_leaving: false })
    }

    /// Where it is, as the server sees it.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Planted fault (`--slow-reader`): stays connected and does not read any more.
    #[inline(never)]
    pub(super) fn stop_reading(&mut self) {
        self.reads = false;
    }

    /// Says goodbye: the server closes the connection, and all that it has sent until then is read.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        // If the server has gone, there is nobody to say it to.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether nothing more is read.
    pub(super) fn is_out(&self) -> bool {
        !self.reads
    }

    /// Reads what there is.
    pub(super) fn watch(&mut self, books: &mut Books) {
        let mut bytes = [0; 16 << 10];
        while self.reads {
            match self.stream.read(&mut bytes) {
                Ok(length) if length > 0 => {
                    books.bytes += length as u64;
                    self.unread.extend(bytes.get(..length).unwrap_or_default());
                    self.reads = self.take_frames(books);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    books.ended += u64::from(!self.is_leaving);
                    self.reads = false;
                }
            }
        }
    }

    /// Takes off what is whole. False if this is not a stream of frames.
    fn take_frames(&mut self, books: &mut Books) -> bool {
        while let Some((body_bytes, number, sent_ns)) = read_frame_header(&self.unread) {
            let length = FRAME_HEADER_BYTES + body_bytes as usize;
            if length > FRAME_BYTES {
                return false;
            }
            if self.unread.len() < length {
                return true;
            }
            self.unread.drain(..length);
            books.frames += 1;
            let age_ns = clock::now_ns().saturating_sub(sent_ns);
            books.longest_ns = books.longest_ns.max(age_ns);
            books.late_frames += u64::from(age_ns > LATE_NS);
            self.say_seen(number);
        }
        true
    }

    fn say_seen(&mut self, number: u32) {
        let seen: [u8; SEEN_BYTES] = number.to_le_bytes();
        // A server that does not read it has other problems.
        let _ = self.stream.write(&seen);
    }
}

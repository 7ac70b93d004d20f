//! A client of the backend: requests that are written together, until all of their answers are read.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::books::{Books, Counter};
use crate::clock;
use crate::resp::{self, Value};

/// How long an answer may take before the connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long we wait after a failed connection before we try again.
const RETRY_AFTER_NS: u64 = 1_000_000_000;

/// Whether the loop waits for the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiter {
    Loop,
    Other,
}

/// One connection, made when it is needed, and again after an error.
#[derive(Debug)]
pub(crate) struct Redis {
    address: SocketAddr,
    waiter: Waiter,
    books: Arc<Books>,
    connection: Option<BufReader<Counted>>,
    /// Clock time before which no connection is tried.
    retry_ns: u64,
}

/// Commands to be sent together.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    count: usize,
}

impl Requests {
    /// Adds a command; its counter is that of the books.
    pub(crate) fn add(&mut self, words: &[&[u8]], counter: &Counter) -> &mut Self {
        resp::command(&mut self.bytes, words);
        self.count += 1;
        counter.one();
        self
    }

    /// Whether there is nothing to ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Redis {
    /// A client that is not connected yet.
    pub(crate) fn new(address: SocketAddr, waiter: Waiter, books: Arc<Books>) -> Self {
        Self { address, waiter, books, connection: None, retry_ns: 0 }
    }

    /// One round trip: sends all requests, and waits for all answers.
    ///
    /// # Errors
    /// If the backend cannot be reached, does not answer in time, or says what is not RESP2. An error of a command is an
    /// answer.
    pub(crate) fn ask(&mut self, requests: &Requests) -> io::Result<Vec<Value>> {
        let asked = self.round_trip(requests);
        if asked.is_err() {
            self.connection = None;
            self.books.backend.errors.one();
        }
        asked
    }

    /// One round trip with one command.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub(crate) fn ask_one(&mut self, words: &[&[u8]], counter: &Counter) -> io::Result<Value> {
        let mut requests = Requests::default();
        let answers = self.ask(requests.add(words, counter))?;
        answers.into_iter().next().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    #[inline(never)]
    fn round_trip(&mut self, requests: &Requests) -> io::Result<Vec<Value>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let sent_ns = clock::now_ns();
        connection.get_mut().stream.write_all(&requests.bytes)?;
        let answers: Vec<_> =
            (0..requests.count).map(|_| Value::read(&mut connection)).collect::<io::Result<_>>()?;
        let waited_ns = clock::now_ns() - sent_ns;
        let books = &self.books.backend;
        books.bytes_out.add(requests.bytes.len() as u64);
        books.round_trips.one();
        if self.waiter == Waiter::Loop {
            books.round_trips_on_tick.one();
        }
        books.waited_ns.add(waited_ns);
        books.longest_ns.raise_to(waited_ns);
        self.connection = Some(connection);
        Ok(answers)
    }

    fn connect(&mut self) -> io::Result<BufReader<Counted>> {
        let now = clock::now_ns();
        if now < self.retry_ns {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.retry_ns = now + RETRY_AFTER_NS;
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        self.books.backend.connections.one();
        Ok(BufReader::new(Counted { stream, books: Arc::clone(&self.books) }))
    }
}

/// A stream whose incoming bytes are counted as the system calls return them.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    books: Arc<Books>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(into)?;
        self.books.backend.bytes_in.add(length as u64);
        Ok(length)
    }
}

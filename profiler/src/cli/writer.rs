//! A thread that writes while an observation goes on. A reader that stops reading, such as a pager that waits for a key, must not keep
//! profiler from watching the time, the cost and signals.

use std::{
    io::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

use profiler::error::{Error, ErrorKind, Result};

/// Pages that may wait for the reader. Further ones are left out.
const MOST_WAITING: usize = 16;
/// Lines for standard error that may wait besides.
const MOST_LINES: usize = 1_000;

/// What is to be written.
#[derive(Debug)]
enum Piece {
    /// To standard output.
    Page(String),
    /// To standard error.
    Line(String),
}

/// What the thread and its user share.
#[derive(Debug, Default)]
struct Shared {
    /// Pieces that were not written yet.
    waiting: AtomicUsize,
    /// Whether standard output has no reader any more.
    unread: AtomicBool,
    /// Another error of a write to standard output.
    failed: Mutex<Option<io::Error>>,
}

/// Writes in the order in which it is asked to.
#[derive(Debug)]
pub(super) struct Writer {
    pieces: Option<Sender<Piece>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start() -> Result<Writer> {
        let (pieces, next) = channel();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let write = move || {
            for piece in next {
                write(&piece, &of_thread);
                of_thread.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(write);
        let thread =
            thread.map_err(|e| Error::new(ErrorKind::Limit, "tried to start a thread").because_of(e))?;
        Ok(Writer { pieces: Some(pieces), shared, thread: Some(thread) })
    }

    /// Whether there is room for another page.
    pub(super) fn has_room(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) < MOST_WAITING
    }

    /// Writes to standard output.
    pub(super) fn page(&self, page: String) {
        self.send(Piece::Page(page));
    }

    /// Writes to standard error. If too many lines wait, it is left out.
    pub(super) fn line(&self, line: String) {
        if self.shared.waiting.load(Ordering::Relaxed) < MOST_WAITING + MOST_LINES {
            self.send(Piece::Line(line));
        }
    }

    fn send(&self, piece: Piece) {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if let Some(pieces) = &self.pieces {
            // The thread ends only after this value.
            let _ = pieces.send(piece);
        }
    }

    /// Whether standard output has no reader any more.
    pub(super) fn is_unread(&self) -> bool {
        self.shared.unread.load(Ordering::Relaxed)
    }

    /// The first error of a write to standard output since the last call of this function. A missing reader is none.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until everything is written, however long that takes.
    pub(super) fn finish(&mut self) {
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

fn write(piece: &Piece, shared: &Shared) {
    match piece {
        Piece::Page(page) => {
            let mut out = io::stdout().lock();
            match out.write_all(page.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    shared.unread.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    shared.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
        Piece::Line(line) => {
            // If standard error is gone as well, the exit code is all that is left.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

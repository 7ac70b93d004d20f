//! The event log, and the thread `zone-log` that writes it. Nobody waits for it, and what it loses in a crash is lost.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;

use crate::books::Books;
use crate::clock;

/// Lines that may wait for the thread; more are left out.
const MOST_LINES: usize = 8192;
/// How long a line may wait to be written.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// A batch that is written before its time.
const BATCH_BYTES: usize = 64 << 10;

/// The end of the log to which events are given.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    lines: SyncSender<String>,
    books: Arc<Books>,
}

impl Events {
    /// Adds a line, which has no end yet. If the log is too far behind, it is left out: no event is worth a late turn.
    pub(crate) fn tell(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.books.log.lines_left_out.one();
        }
    }
}

/// The end that writes.
#[derive(Debug)]
pub(crate) struct EventLog {
    file: File,
    lines: Receiver<String>,
    books: Arc<Books>,
}

/// Opens the log at its end.
///
/// # Errors
/// If the file cannot be opened.
pub(crate) fn open(path: &Path, books: &Arc<Books>) -> anyhow::Result<(Events, EventLog)> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    let (sender, lines) = sync_channel(MOST_LINES);
    let events = Events { lines: sender, books: Arc::clone(books) };
    Ok((events, EventLog { file, lines, books: Arc::clone(books) }))
}

impl EventLog {
    /// The body of the thread: one `write` for what has come in half a second, and no `fsync`.
    #[inline(never)]
    pub(crate) fn append_in_batches(&mut self) {
        let mut batch = String::new();
        let mut lines = 0;
        let mut write_at = clock::now_ns() + clock::ns(WRITE_EVERY);
        loop {
            let patience = Duration::from_nanos(write_at.saturating_sub(clock::now_ns()));
            let next = self.lines.recv_timeout(patience);
            let is_over = matches!(next, Err(RecvTimeoutError::Disconnected));
            if let Ok(line) = &next {
                batch.push_str(line);
                batch.push('\n');
                lines += 1;
            }
            if batch.len() >= BATCH_BYTES || next.is_err() {
                let written = self.append(batch.as_bytes());
                self.count(lines, &written);
                batch.clear();
                lines = 0;
                write_at = clock::now_ns() + clock::ns(WRITE_EVERY);
            }
            if is_over {
                return;
            }
        }
    }

    /// The body of the thread with the fault planted (`--small-appends`).
    pub(crate) fn append_at_once(&mut self) {
        while let Ok(mut line) = self.lines.recv() {
            line.push('\n');
            let written = self.append_line_and_sync(&line);
            self.count(1, &written);
        }
    }

    /// Planted fault (`--small-appends`): the device writes a whole block, and the journal of the filesystem, for each line.
    #[inline(never)]
    fn append_line_and_sync(&mut self, line: &str) -> io::Result<()> {
        self.append(line.as_bytes())?;
        self.file.sync_data()?;
        self.books.log.fsyncs.one();
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let length = match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.books.log.appends.one();
            self.books.log.bytes.add(length as u64);
            bytes = bytes.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    fn count(&self, lines: u64, written: &io::Result<()>) {
        let log = &self.books.log;
        let counter = if written.is_ok() { &log.lines } else { &log.lines_failed };
        counter.add(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Writes lines and returns the file and the books: lines, appends, fsyncs, bytes.
    fn write(lines: usize, body: fn(&mut EventLog)) -> (String, [u64; 4]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.log");
        let books = Arc::new(Books::default());
        let (events, mut log) = open(&path, &books).unwrap();
        (0..lines).for_each(|number| events.tell(format!("line {number}")));
        drop(events);
        body(&mut log);
        let log = &books.log;
        let counted = [&log.lines, &log.appends, &log.fsyncs, &log.bytes].map(|counter| counter.get());
        (fs::read_to_string(path).unwrap(), counted)
    }

    #[test]
    fn lines_that_come_together_are_written_together() {
        let (text, counted) = write(3, EventLog::append_in_batches);
        assert_eq!(text, "line 0\nline 1\nline 2\n");
        assert_eq!(counted, [3, 1, 0, 21]);
    }

    #[test]
    fn the_planted_fault_writes_and_syncs_each_line() {
        let (text, counted) = write(3, EventLog::append_at_once);
        assert_eq!(text, "line 0\nline 1\nline 2\n");
        assert_eq!(counted, [3, 3, 3, 21]);
    }

    #[test]
    fn lines_without_room_are_left_out_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let books = Arc::new(Books::default());
        let (events, _log) = open(&directory.path().join("events.log"), &books).unwrap();
        (0..MOST_LINES + 2).for_each(|_| events.tell("line".to_owned()));
        assert_eq!(books.log.lines_left_out.get(), 2);
    }
}

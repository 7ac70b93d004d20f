//! Spectators: they connect by TCP and get a frame with everybody in each turn. The thread `zone-watch` serves them, so that
//! the loop never waits for one.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::Context;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::books::Books;
use crate::clock;
use crate::protocol::frame_header;
use crate::world::World;

/// Spectators at once; more are closed.
const MOST_SPECTATORS: usize = 256;
/// What may wait for a slow spectator in this process, in bytes; more frames are left out.
const QUEUE_BYTES: usize = 1 << 20;
/// Frames that may wait for the thread.
const MOST_FRAMES: usize = 16;

/// One turn, as spectators get it.
#[derive(Debug)]
struct Frame {
    number: u32,
    sent_ns: u64,
    body: Vec<u8>,
}

/// The loop's end: what is shown.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Gone when the loop has ended.
    frames: Option<SyncSender<Arc<Frame>>>,
    wake: Arc<OwnedFd>,
    watching: Arc<AtomicUsize>,
    number: u32,
}

/// The thread's end: who watches.
#[derive(Debug)]
pub(crate) struct Stand {
    listener: TcpListener,
    frames: Receiver<Arc<Frame>>,
    wake: Arc<OwnedFd>,
    watching: Arc<AtomicUsize>,
    spectators: Vec<Spectator>,
    /// Planted fault: see [`Spectator::write_header_then_body`].
    nagle: bool,
    books: Arc<Books>,
}

/// Both ends.
///
/// # Errors
/// If there is no descriptor to be had.
pub(crate) fn open(listener: TcpListener, nagle: bool, books: Arc<Books>) -> anyhow::Result<(Stage, Stand)> {
    listener.set_nonblocking(true).context("setting the spectators' socket up")?;
    let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).context("making an eventfd")?;
    let (wake, watching) = (Arc::new(wake), Arc::new(AtomicUsize::new(0)));
    let (sender, frames) = sync_channel(MOST_FRAMES);
    let stage =
        Stage { frames: Some(sender), wake: Arc::clone(&wake), watching: Arc::clone(&watching), number: 0 };
    Ok((stage, Stand { listener, frames, wake, watching, spectators: Vec::new(), nagle, books }))
}

impl Stage {
    /// Shows a turn, if anybody watches. A frame for which there is no room is left out: the next one says it all again.
    #[inline(never)]
    pub(crate) fn show(&mut self, world: &World) {
        if self.watching.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut body = Vec::new();
        world.everybody().for_each(|entry| entry.encode(&mut body));
        self.number = self.number.wrapping_add(1);
        let frame = Frame { number: self.number, sent_ns: clock::now_ns(), body };
        if self.frames.as_ref().is_some_and(|frames| frames.try_send(Arc::new(frame)).is_ok()) {
            self.wake();
        }
    }

    fn wake(&self) {
        // It can only fail if the thread has been woken more often than a counter can hold: it is awake then.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Before the thread is woken: it looks whether there will be more.
        self.frames = None;
        self.wake();
    }
}

impl Stand {
    /// The body of the thread: serves spectators until the loop has ended.
    #[inline(never)]
    pub(crate) fn serve(mut self) {
        loop {
            let comes = self.wait();
            for (spectator, events) in self.spectators.iter_mut().zip(&comes) {
                if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    spectator.hear(&self.books);
                }
                if events.contains(PollFlags::OUT) {
                    spectator.flush(&self.books);
                }
            }
            self.accept_all();
            if !self.show_frames() {
                return;
            }
            let before = self.spectators.len();
            self.spectators.retain(|spectator| !spectator.has_left);
            self.books.spectators.closed.add((before - self.spectators.len()) as u64);
            self.watching.store(self.spectators.len(), Ordering::Relaxed);
        }
    }

    /// Waits for a frame, a spectator, or something of a spectator. Says what has come, by spectator.
    fn wait(&self) -> Vec<PollFlags> {
        let own = [PollFd::new(&*self.wake, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        let theirs = self.spectators.iter().map(|spectator| {
            let writes = if spectator.queue.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            PollFd::new(&spectator.stream, PollFlags::IN | writes)
        });
        let mut watched: Vec<_> = own.into_iter().chain(theirs).collect();
        // Interrupted: nothing has come then, and all reads and writes find that.
        let _ = poll(&mut watched, None);
        // What it was woken for is found below; this only makes it wait again.
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        watched.iter().skip(2).map(PollFd::revents).collect()
    }

    #[inline(never)]
    fn accept_all(&mut self) {
        let books = &self.books.spectators;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) if self.spectators.len() < MOST_SPECTATORS => {
                    books.accepted.one();
                    // One that has left already is found out when it is read.
                    let _ = stream.set_nonblocking(true);
                    if !self.nagle {
                        let _ = stream.set_nodelay(true);
                    }
                    self.spectators.push(Spectator { stream, queue: Vec::new(), has_left: false });
                }
                Ok(_) => books.refused.one(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    // No descriptor is left, as a rule. The connection waits, and so do we.
                    books.accept_errors.one();
                    return std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// Sends what the loop has shown. Says whether there will be more.
    fn show_frames(&mut self) -> bool {
        loop {
            match self.frames.try_recv() {
                Ok(frame) => {
                    for spectator in &mut self.spectators {
                        spectator.show(&frame, self.nagle, &self.books);
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }
}

/// One connection.
#[derive(Debug)]
struct Spectator {
    stream: TcpStream,
    /// What the kernel did not take yet.
    queue: Vec<u8>,
    has_left: bool,
}

impl Spectator {
    fn show(&mut self, frame: &Frame, nagle: bool, books: &Books) {
        let header = frame_header(frame.body.len() as u32, frame.number, frame.sent_ns);
        if self.queue.len() + header.len() + frame.body.len() > QUEUE_BYTES {
            return books.spectators.frames_left_out.one();
        }
        books.spectators.frames.one();
        if nagle {
            self.write_header_then_body(&header, &frame.body, books);
        } else {
            self.write_at_once(&header, &frame.body, books);
        }
    }

    #[inline(never)]
    fn write_at_once(&mut self, header: &[u8], body: &[u8], books: &Books) {
        // With something in the queue, poll says when the kernel takes more.
        let kernel_has_room = self.queue.is_empty();
        self.queue.extend(header);
        self.queue.extend(body);
        if kernel_has_room {
            self.flush(books);
        }
        books.spectators.longest_queue_bytes.raise_to(self.queue.len() as u64);
    }

    /// Planted fault (`--nagle`): two small writes. The kernel holds the second one back until the first is acknowledged, and
    /// the other side takes its time with that.
    #[inline(never)]
    fn write_header_then_body(&mut self, header: &[u8], body: &[u8], books: &Books) {
        self.write_at_once(header, &[], books);
        self.write_at_once(&[], body, books);
        // Something to do after the calls, so that the compiler cannot leave this function out of their stacks.
        std::hint::black_box(self);
    }

    /// Writes what is in the queue, as far as the kernel takes it.
    #[inline(never)]
    fn flush(&mut self, books: &Books) {
        while !self.queue.is_empty() && !self.has_left {
            match self.stream.write(&self.queue) {
                Ok(length) => {
                    books.spectators.writes.one();
                    books.spectators.bytes_sent.add(length as u64);
                    self.queue.drain(..length);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return books.spectators.writes_would_block.one();
                }
                Err(error) => self.has_left = error.kind() != ErrorKind::Interrupted,
            }
        }
    }

    /// Reads what the spectator says, which is that it has seen a frame, and forgets it.
    fn hear(&mut self, books: &Books) {
        let mut bytes = [0; 4096];
        while !self.has_left {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.has_left = true,
                Ok(length) => books.spectators.bytes_received.add(length as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => self.has_left = error.kind() != ErrorKind::Interrupted,
            }
        }
    }
}

//! What the server has to say to one player, in order: the same for every transport.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicI8;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Interval;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{World, lock};
use crate::protocol::{ServerMessage, encode};
use crate::room::Seat;
use crate::sessions::SessionId;

/// Messages that may wait for a slow player before snapshots are left out: about one second of play.
const OUTBOX_MESSAGES: usize = 64;
/// Interval at which chat and notices are sent.
const NEWS_EVERY: Duration = Duration::from_millis(250);

/// The player's end of the room, and what they have seen of the chat. Once it is dropped, the player has left.
#[derive(Debug)]
pub(super) struct Feed {
    session: SessionId,
    outgoing: mpsc::Receiver<Utf8Bytes>,
    news: Interval,
    chat_seen: u64,
}

impl Feed {
    /// Lines the player up for a match. The connection writes to `stick` what the room shall read.
    pub(super) fn open(world: &World, session: SessionId, name: String, stick: Arc<AtomicI8>) -> Self {
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MESSAGES);
        world.lobby.enter(Seat { session, name, stick, outbox });
        Self { session, outgoing, news: tokio::time::interval(NEWS_EVERY), chat_seen: 0 }
    }

    /// Waits for the next messages, which go to the end of `queue`. Dropped while it waits, it has taken nothing.
    pub(super) async fn next(&mut self, world: &World, queue: &mut VecDeque<Utf8Bytes>) {
        loop {
            tokio::select! {
                Some(message) = self.outgoing.recv() => return queue.push_back(message),
                _ = self.news.tick() => {
                    let news = self.what_is_new(world);
                    if !news.is_empty() {
                        return queue.extend(news.iter().map(encode));
                    }
                }
            }
        }
    }

    /// Takes what the room has sent besides.
    pub(super) fn ready(&mut self, queue: &mut VecDeque<Utf8Bytes>) {
        queue.extend(std::iter::from_fn(|| self.outgoing.try_recv().ok()));
    }

    /// Chat and notices since the last time.
    fn what_is_new(&mut self, world: &World) -> Vec<ServerMessage> {
        let mut messages = Vec::new();
        let (lines, seen) = lock(&world.chat).since(self.chat_seen);
        self.chat_seen = seen;
        if !lines.is_empty() {
            messages.push(ServerMessage::Chat { lines });
        }
        let notices = lock(&world.sessions).take_notices(self.session);
        if !notices.is_empty() {
            messages.push(ServerMessage::Notices { notices });
        }
        messages
    }
}

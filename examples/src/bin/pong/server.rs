//! The state that everybody shares, and one task per connected player.

use std::io;
use std::sync::atomic::{AtomicI8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use crate::chat::ChatHistory;
use crate::leaderboard::Leaderboard;
use crate::leaks::Leak;
use crate::lobby::Lobby;
use crate::options::Options;
use crate::profiles::ProfileCache;
use crate::protocol::{self, CHAT_CHARS, ClientMessage, NAME_CHARS, ServerMessage, encode};
use crate::room::Seat;
use crate::sessions::{SessionId, SessionStore};

/// Messages that may wait for a slow player before snapshots are left out: about one second of play.
const OUTBOX_MESSAGES: usize = 64;
/// Interval at which chat and notices are sent.
const NEWS_EVERY: Duration = Duration::from_millis(250);
/// How often expired player cards are dropped.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// How long a connection may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// The whole state of the server. Locks are held for a few lines each and never across an await; where two are
/// needed, `sessions` comes first.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) sessions: Mutex<SessionStore>,
    pub(crate) chat: Mutex<ChatHistory>,
    pub(crate) profiles: Mutex<ProfileCache>,
    pub(crate) leaderboard: Mutex<Leaderboard>,
    pub(crate) lobby: Lobby,
}

impl World {
    /// The state at start, with the faults that were asked for.
    pub(crate) fn new(options: &Options, lobby: Lobby) -> Self {
        Self {
            sessions: Mutex::new(SessionStore::new(options.plants(Leak::Sessions))),
            chat: Mutex::new(ChatHistory::restore(options.pace.chat_keep, options.plants(Leak::Chat))),
            profiles: Mutex::new(ProfileCache::new(options.pace.profile_ttl)),
            leaderboard: Mutex::new(Leaderboard::open()),
            lobby,
        }
    }
}

/// Locks; a task that panicked while it held the lock does not take the server down with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts players until the listener breaks.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(host(stream, Arc::clone(&world)))),
            Err(error) if passes(&error) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => return Err(error),
        }
    }
}

/// Whether accepting may work again: the player has gone, or we are out of file descriptors for now.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    let no_descriptor_left = error.raw_os_error().is_some_and(|errno| errno == 23 || errno == 24); // ENFILE, EMFILE
    no_descriptor_left || matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Drops what has expired, for as long as the server runs.
pub(crate) async fn keep_house(world: Arc<World>) {
    let mut clock = tokio::time::interval(SWEEP_EVERY);
    loop {
        clock.tick().await;
        lock(&world.profiles).sweep(Instant::now());
    }
}

/// One player, from the first byte to the last.
async fn host(stream: TcpStream, world: Arc<World>) {
    // A visit that never got as far as a name is not worth a word, and neither is one that broke off: players
    // pull cables. Either way the session is closed.
    let Ok((socket, name)) = greet(stream).await else { return };
    let session = lock(&world.sessions).connect(&name);
    let _ = attend(socket, &world, session, name).await;
    lock(&world.sessions).disconnect(session);
}

/// Shakes hands and waits for the player's name.
async fn greet(stream: TcpStream) -> anyhow::Result<(WebSocketStream<TcpStream>, String)> {
    stream.set_nodelay(true)?;
    let hello = async {
        let mut socket = accept_async_with_config(stream, Some(protocol::small_frames())).await?;
        let first = socket.next().await.context("left before a word")??;
        match serde_json::from_str(first.to_text()?)? {
            ClientMessage::Hello { name } => Ok((socket, protocol::cut(&name, NAME_CHARS).to_owned())),
            other => anyhow::bail!("wanted a name, got {other:?}"),
        }
    };
    tokio::time::timeout(HELLO_WITHIN, hello).await?
}

/// Passes messages in both directions until the player leaves.
async fn attend(
    mut socket: WebSocketStream<TcpStream>,
    world: &World,
    session: SessionId,
    name: String,
) -> anyhow::Result<()> {
    let online = lock(&world.sessions).online();
    socket.send(Message::Text(encode(&ServerMessage::Welcome { session, online }))).await?;

    let stick = Arc::new(AtomicI8::new(0));
    let (outbox, mut outgoing) = mpsc::channel::<Utf8Bytes>(OUTBOX_MESSAGES);
    world.lobby.enter(Seat { session, name, stick: Arc::clone(&stick), outbox });

    let mut news = tokio::time::interval(NEWS_EVERY);
    let mut chat_seen = 0;
    loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => handle(&text, world, session, &stick),
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            },
            Some(message) = outgoing.recv() => socket.send(Message::Text(message)).await?,
            _ = news.tick() => {
                for message in what_is_new(world, session, &mut chat_seen) {
                    socket.send(Message::Text(encode(&message))).await?;
                }
            }
        }
    }
}

/// Does what the player says. What is not a message of ours is ignored.
fn handle(text: &str, world: &World, session: SessionId, stick: &AtomicI8) {
    match serde_json::from_str(text) {
        Ok(ClientMessage::Stick { dir }) => stick.store(dir, Ordering::Relaxed),
        Ok(ClientMessage::Say { text }) => {
            let sessions = lock(&world.sessions);
            if let Some(name) = sessions.name(session) {
                lock(&world.chat).push(name, protocol::cut(&text, CHAT_CHARS));
            }
        }
        Ok(ClientMessage::Hello { .. }) | Err(_) => {}
    }
}

/// Chat and notices since the last time.
fn what_is_new(world: &World, session: SessionId, chat_seen: &mut u64) -> Vec<ServerMessage> {
    let mut messages = Vec::new();
    let (lines, seen) = lock(&world.chat).since(*chat_seen);
    *chat_seen = seen;
    if !lines.is_empty() {
        messages.push(ServerMessage::Chat { lines });
    }
    let notices = lock(&world.sessions).take_notices(session);
    if !notices.is_empty() {
        messages.push(ServerMessage::Notices { notices });
    }
    messages
}

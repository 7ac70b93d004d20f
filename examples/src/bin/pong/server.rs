//! The state that everybody shares, and the door: one task per connection.

mod feed;
mod guests;
mod longpoll;
mod websocket;

use std::io;
use std::sync::atomic::{AtomicI8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::chat::ChatHistory;
use crate::leaderboard::Leaderboard;
use crate::leaks::Leak;
use crate::lobby::Lobby;
use crate::options::{Options, Transport};
use crate::profiles::ProfileCache;
use crate::protocol::{self, CHAT_CHARS, ClientMessage};
use crate::server::guests::Guests;
use crate::sessions::{SessionId, SessionStore};

/// How often expired player cards are dropped, and players who have gone.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// How long a connection may take to say hello, or to complete what it has begun to say.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// The whole state of the server. Locks are held for a few lines each and never across an await; where two are
/// needed, `sessions` comes first.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) sessions: Mutex<SessionStore>,
    pub(crate) chat: Mutex<ChatHistory>,
    pub(crate) profiles: Mutex<ProfileCache>,
    pub(crate) leaderboard: Mutex<Leaderboard>,
    /// Only with long polling: over WebSocket a visit is a connection.
    pub(crate) guests: Mutex<Guests>,
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
            guests: Mutex::default(),
            lobby,
        }
    }
}

/// Locks; a task that panicked while it held the lock does not take the server down with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts players until the listener breaks.
pub(crate) async fn serve(listener: TcpListener, transport: Transport, world: Arc<World>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let world = Arc::clone(&world);
                drop(match transport {
                    Transport::WebSocket => tokio::spawn(websocket::host(stream, world)),
                    Transport::LongPoll => tokio::spawn(longpoll::host(stream, world)),
                });
            }
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
        longpoll::sweep(&world);
    }
}

/// Does what the player says.
fn obey(message: ClientMessage, world: &World, session: SessionId, stick: &AtomicI8) {
    match message {
        ClientMessage::Stick { dir } => stick.store(dir, Ordering::Relaxed),
        ClientMessage::Say { text } => {
            let sessions = lock(&world.sessions);
            if let Some(name) = sessions.name(session) {
                lock(&world.chat).push(name, protocol::cut(&text, CHAT_CHARS));
            }
        }
        ClientMessage::Hello { .. } => {}
    }
}

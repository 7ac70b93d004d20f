//! Players over HTTP/1.1 long polling: a visit is a number, and any connection may carry its requests.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /join` | `Hello` | `Welcome`, with the session |
//! | `POST /input?session=S` | a list of other messages | nothing |
//! | `GET /poll?session=S&since=N` | | a batch, and the `since` of the next poll |
//! | `POST /leave?session=S` | | nothing |
//!
//! What is wrong is answered with 400 and changes nothing; a visit that has ended is not found.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::guests::{Guest, Refused};
use super::{HELLO_WITHIN, World, lock, obey};
use crate::http::{self, Malformed, Request};
use crate::protocol::{self, ClientMessage, NAME_CHARS, ServerMessage, encode};
use crate::sessions::SessionId;

/// How long a connection that we close is read from, so that the last answer arrives.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes read ahead of the request that is being answered.
const READ_AHEAD_BYTES: usize = 8 * 1024;

/// One connection, from the first byte to the last.
pub(super) async fn host(stream: TcpStream, world: Arc<World>) {
    // A connection that breaks off is not worth a word: the player comes back with another, or is missed.
    let _ = converse(stream, &world).await;
}

/// Answers requests until the client has no more.
async fn converse(stream: TcpStream, world: &World) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut client = Client { stream, received: Vec::new(), session: None };
    while let Some(request) = client.next_request(world).await? {
        let (reply, keep_alive) = match request {
            Ok(request) => match client.reply_to(&request, world).await {
                Some(reply) => (reply, request.keep_alive),
                None => return Ok(()),
            },
            Err(malformed) => (Reply::refuse(400, &malformed.to_string()), false),
        };
        client.stream.write_all(http::answer(reply.status, &reply.body, keep_alive).as_bytes()).await?;
        if !keep_alive {
            return client.close().await;
        }
    }
    Ok(())
}

/// What a request is answered with.
#[derive(Debug)]
struct Reply {
    status: u16,
    body: String,
}

impl Reply {
    fn with(body: String) -> Self {
        Self { status: 200, body }
    }

    /// Done, and nothing to tell.
    fn done() -> Self {
        Self { status: 204, body: String::new() }
    }

    fn refuse(status: u16, why: &str) -> Self {
        Self { status, body: serde_json::json!({ "error": why }).to_string() }
    }

    fn not_found() -> Self {
        Self::refuse(404, "there is no such visit")
    }
}

/// A connection, and whose it is.
struct Client {
    stream: TcpStream,
    /// Bytes that belong to the requests to come.
    received: Vec<u8>,
    /// The session of the last request.
    session: Option<SessionId>,
}

impl Client {
    /// The next request; none if the client has hung up. An idle connection is kept while its player is here: who
    /// holds the stick still has nothing to post.
    async fn next_request(&mut self, world: &World) -> io::Result<Option<Result<Request, Malformed>>> {
        loop {
            match tokio::time::timeout(HELLO_WITHIN, self.request()).await {
                Ok(request) => return request,
                Err(_) if self.received.is_empty() && self.guest(world).is_some() => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// Dropped while it waits, it keeps what it has read.
    async fn request(&mut self) -> io::Result<Option<Result<Request, Malformed>>> {
        loop {
            if let Some(request) = http::take_request(&mut self.received).transpose() {
                return Ok(Some(request));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads what there is; false at the end.
    async fn read(&mut self) -> io::Result<bool> {
        self.received.reserve(protocol::READ_BYTES);
        Ok(self.stream.read_buf(&mut self.received).await? > 0)
    }

    fn guest(&self, world: &World) -> Option<Arc<Guest>> {
        lock(&world.guests).find(self.session?)
    }

    /// Does what is asked. None if the client has hung up before there was an answer.
    async fn reply_to(&mut self, request: &Request, world: &World) -> Option<Reply> {
        match (request.method.as_str(), request.path()) {
            ("POST", "/join") => return Some(self.join(request, world)),
            ("GET", "/poll") | ("POST", "/input" | "/leave") => {}
            _ => return Some(Reply::refuse(404, "there is no such resource")),
        }
        let Some(session) = request.number("session") else {
            return Some(Reply::refuse(400, "wanted session=NUMBER"));
        };
        self.session = Some(session);
        let Some(guest) = self.guest(world) else { return Some(Reply::not_found()) };
        match request.path() {
            "/poll" => self.poll(&guest, request, world).await,
            "/input" => Some(input(&guest, request, world)),
            _ => Some(leave(session, world)),
        }
    }

    fn join(&mut self, request: &Request, world: &World) -> Reply {
        let Ok(ClientMessage::Hello { name }) = serde_json::from_slice(&request.body) else {
            return Reply::refuse(400, "wanted a name");
        };
        let name = protocol::cut(&name, NAME_CHARS);
        let (session, online) = {
            let mut sessions = lock(&world.sessions);
            (sessions.connect(name), sessions.online())
        };
        let guest = Guest::begin(world, session, name.to_owned());
        lock(&world.guests).add(guest);
        self.session = Some(session);
        Reply::with(encode(&ServerMessage::Welcome { session, online }).to_string())
    }

    async fn poll(&mut self, guest: &Guest, request: &Request, world: &World) -> Option<Reply> {
        let Some(since) = request.number("since") else {
            return Some(Reply::refuse(400, "wanted since=NUMBER"));
        };
        let batch = tokio::select! {
            batch = guest.poll(world, since) => batch,
            () = self.hung_up() => return None,
        };
        Some(match batch {
            Ok(batch) => Reply::with(batch),
            Err(Refused::WrongNumber) => {
                Reply::refuse(400, "since is neither what was answered last nor after it")
            }
            Err(Refused::HasLeft) => Reply::not_found(),
        })
    }

    /// Waits until the client has hung up.
    async fn hung_up(&mut self) {
        while self.received.len() < READ_AHEAD_BYTES {
            if !matches!(self.read().await, Ok(true)) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Ends a connection from which more may come. Closed with bytes unread it would be reset, and what we sent last
    /// might be lost with it.
    async fn close(mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let rest = async {
            while self.read().await? {
                self.received.clear();
            }
            Ok(())
        };
        tokio::time::timeout(LINGER, rest).await.unwrap_or(Ok(()))
    }
}

/// Does what the player says: all of it, or nothing if any of it is no message of ours.
fn input(guest: &Guest, request: &Request, world: &World) -> Reply {
    let Ok(messages) = serde_json::from_slice::<Vec<ClientMessage>>(&request.body) else {
        return Reply::refuse(400, "wanted a list of messages");
    };
    messages.into_iter().for_each(|message| obey(message, world, guest.session, &guest.stick));
    Reply::done()
}

/// Ends a visit and closes its session.
fn leave(session: SessionId, world: &World) -> Reply {
    lock(&world.guests).end(session);
    lock(&world.sessions).disconnect(session);
    Reply::done()
}

/// Ends the visits of those who have gone without a word.
pub(super) fn sweep(world: &World) {
    let gone = lock(&world.guests).gone(Instant::now());
    for session in gone {
        leave(session, world);
    }
}

//! Players over WebSocket: a visit is a connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicI8;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use super::feed::Feed;
use super::{HELLO_WITHIN, World, lock, obey};
use crate::protocol::{self, ClientMessage, NAME_CHARS, ServerMessage, encode};
use crate::sessions::SessionId;

/// One player, from the first byte to the last.
pub(super) async fn host(stream: TcpStream, world: Arc<World>) {
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
    let mut feed = Feed::open(world, session, name, Arc::clone(&stick));
    let mut queue = VecDeque::new();
    loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => handle(&text, world, session, &stick),
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            },
            () = feed.next(world, &mut queue) => {
                for message in queue.drain(..) {
                    socket.send(Message::Text(message)).await?;
                }
            }
        }
    }
}

/// Does what the player says. What is not a message of ours is ignored.
fn handle(text: &str, world: &World, session: SessionId, stick: &AtomicI8) {
    if let Ok(message) = serde_json::from_str(text) {
        obey(message, world, session, stick);
    }
}

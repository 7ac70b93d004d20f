//! A player over WebSocket: one connection, one frame for each message.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::books::Books;
use super::counted::Counted;
use super::link::{Heard, connect};
use crate::clock;
use crate::protocol::{self, ClientMessage, encode};

/// A bot's end of a WebSocket.
#[derive(Debug)]
pub(super) struct Frames {
    socket: WebSocketStream<Counted>,
    books: Arc<Books>,
}

impl Frames {
    /// Connects, shakes hands and says hello.
    pub(super) async fn join(
        address: SocketAddr,
        hello: &ClientMessage,
        books: &Arc<Books>,
    ) -> anyhow::Result<Self> {
        let stream = connect(address, books).await?;
        let url = format!("ws://{address}/");
        books.sent.add_exchange();
        let (socket, _) = client_async_with_config(url, stream, Some(protocol::small_frames())).await?;
        books.received.add_exchange();
        let mut frames = Self { socket, books: Arc::clone(books) };
        frames.say(hello).await?;
        Ok(frames)
    }

    pub(super) async fn say(&mut self, message: &ClientMessage) -> anyhow::Result<()> {
        self.books.sent.add_exchange();
        Ok(self.socket.send(Message::Text(encode(message))).await?)
    }

    pub(super) async fn hear(&mut self) -> anyhow::Result<Heard> {
        loop {
            let frame = self.socket.next().await.context("the server hung up")??;
            let at_ns = clock::now_ns();
            self.books.received.add_exchange();
            if let Message::Text(text) = frame {
                return Ok(Heard { messages: vec![serde_json::from_str(&text)?], at_ns });
            }
        }
    }

    pub(super) async fn leave(mut self) -> anyhow::Result<()> {
        self.books.sent.add_exchange();
        Ok(self.socket.close(None).await?)
    }
}

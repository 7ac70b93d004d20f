//! A bot's line to the server, over either transport, and its entries in the books.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::books::Books;
use super::counted::Counted;
use super::frames::Frames;
use super::polling::Polling;
use crate::options::Transport;
use crate::protocol::{ClientMessage, ServerMessage};

/// A visit's line to the server.
#[derive(Debug)]
pub(super) struct Link {
    carrier: Carrier,
    books: Arc<Books>,
    /// Number of the tick whose snapshot comes next in this match.
    next_tick: u64,
}

#[derive(Debug)]
enum Carrier {
    WebSocket(Box<Frames>),
    LongPoll(Box<Polling>),
}

/// What came at once.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) messages: Vec<ServerMessage>,
    /// When its last byte had come; see [`crate::clock`].
    pub(super) at_ns: u64,
}

impl Link {
    /// Connects and says hello. The books have the hello once it has gone out.
    pub(super) async fn join(
        transport: Transport,
        address: SocketAddr,
        name: &str,
        books: &Arc<Books>,
    ) -> anyhow::Result<Self> {
        let hello = ClientMessage::Hello { name: name.to_owned() };
        let carrier = match transport {
            Transport::WebSocket => Carrier::WebSocket(Box::new(Frames::join(address, &hello, books).await?)),
            Transport::LongPoll => Carrier::LongPoll(Box::new(Polling::join(address, &hello, books).await?)),
        };
        books.sent.add_message();
        Ok(Self { carrier, books: Arc::clone(books), next_tick: 1 })
    }

    /// Says something.
    pub(super) async fn say(&mut self, message: ClientMessage) -> anyhow::Result<()> {
        self.books.sent.add_message();
        match &mut self.carrier {
            Carrier::WebSocket(frames) => frames.say(&message).await,
            Carrier::LongPoll(polling) => {
                polling.say(message);
                Ok(())
            }
        }
    }

    /// Waits for the next messages; an error if the server has hung up. Nothing is lost if it is dropped while it
    /// waits.
    pub(super) async fn hear(&mut self) -> anyhow::Result<Vec<ServerMessage>> {
        let Heard { messages, at_ns } = match &mut self.carrier {
            Carrier::WebSocket(frames) => frames.hear().await?,
            Carrier::LongPoll(polling) => polling.hear().await?,
        };
        for message in &messages {
            self.books.hear(message, at_ns, &mut self.next_tick);
        }
        Ok(messages)
    }

    /// Says goodbye.
    pub(super) async fn leave(self) -> anyhow::Result<()> {
        match self.carrier {
            Carrier::WebSocket(frames) => frames.leave().await,
            Carrier::LongPoll(polling) => polling.leave().await,
        }
    }
}

/// A connection to the server that sends small messages at once and counts its bytes.
pub(super) async fn connect(address: SocketAddr, books: &Arc<Books>) -> anyhow::Result<Counted> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Counted::new(stream, Arc::clone(books)))
}

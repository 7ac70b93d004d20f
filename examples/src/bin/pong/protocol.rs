//! What goes over the wire: JSON objects with a `type`. Over WebSocket each is a text frame; what long polling packs
//! them into stands in `server/longpoll.rs`.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::chat::ChatLine;
use crate::court::{Ball, Side};
use crate::sessions::{Notice, SessionId};

/// Longest player name, in characters; the rest is cut off.
pub(crate) const NAME_CHARS: usize = 24;
/// Longest chat line, in characters; the rest is cut off.
pub(crate) const CHAT_CHARS: usize = 200;

/// Bytes that are read at once.
pub(crate) const READ_BYTES: usize = 4 * 1024;

/// What a player sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ClientMessage {
    /// The first message of every visit.
    Hello { name: String },
    /// Where the paddle shall go: negative is up, positive down, 0 stays.
    Stick { dir: i8 },
    /// A line for everybody.
    Say { text: String },
}

/// What the server pushes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerMessage {
    /// The answer to `Hello`.
    Welcome { session: SessionId, online: usize },
    /// A room is ready. `card` is a picture of the opponent, as SVG.
    Match { room: u64, side: Side, opponent: String, card: String },
    /// The state of the room, 60 times per second.
    State(Snapshot),
    /// What was said since the last such message.
    Chat { lines: Vec<ChatLine> },
    /// What happened to this player.
    Notices { notices: Vec<Notice> },
}

/// One tick of a room. It carries the names, so that who starts to watch in the middle sees a full scoreboard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Number of the tick, from 1 in every match.
    pub(crate) tick: u64,
    /// When it began, in nanoseconds: see [`crate::clock`].
    pub(crate) at_ns: u64,
    pub(crate) ball: Ball,
    pub(crate) paddles: [f32; 2],
    pub(crate) score: [u32; 2],
    pub(crate) players: [String; 2],
}

/// Serialises a message. With a snapshot per room and tick this is where the server's churn comes from.
#[inline(never)]
pub(crate) fn encode<M: Serialize>(message: &M) -> Utf8Bytes {
    // The messages above have string keys and no fallible serialiser; an empty object is ignored by every client.
    serde_json::to_string(message).map_or_else(|_| Utf8Bytes::from_static("{}"), Utf8Bytes::from)
}

/// Messages that answer a poll, as [`Batch`] reads them. `next` is the number of the one that comes after them.
#[inline(never)]
pub(crate) fn batch<'a>(next: u64, messages: impl ExactSizeIterator<Item = &'a Utf8Bytes> + Clone) -> String {
    let length = messages.clone().map(|message| message.len() + 1).sum::<usize>();
    let mut text = String::with_capacity(length + r#"{"next":,"messages":[]}"#.len() + 20);
    // Writing to a String cannot fail.
    let _ = write!(text, r#"{{"next":{next},"messages":["#);
    for (place, message) in messages.enumerate() {
        text.push_str(if place == 0 { "" } else { "," });
        text.push_str(message);
    }
    text.push_str("]}");
    text
}

/// The answer to a poll.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Batch {
    /// What to ask for in the next poll.
    pub(crate) next: u64,
    pub(crate) messages: Vec<ServerMessage>,
}

/// At most `chars` characters of what a player sent.
pub(crate) fn cut(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| text.split_at(end).0)
}

/// Limits that suit short messages; the crate's own (64 MiB messages, 128 KiB buffers) suit file transfer.
/// The longest message is a full batch of the longest chat lines, every character escaped: 45 KiB.
pub(crate) fn small_frames() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(256 * 1024)
        .max_message_size(Some(64 * 1024))
        .max_frame_size(Some(64 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_documented() {
        assert_eq!(
            encode(&ClientMessage::Hello { name: "ada".into() }).as_str(),
            r#"{"type":"hello","name":"ada"}"#
        );
        let state = ServerMessage::State(Snapshot {
            tick: 7,
            at_ns: 116_666_667,
            ball: Ball { x: 80.0, y: 45.0, vx: 1.0, vy: -1.0 },
            paddles: [45.0, 40.5],
            score: [1, 0],
            players: ["ada".into(), "bot".into()],
        });
        let text = encode(&state);
        assert_eq!(
            text.as_str(),
            r#"{"type":"state","tick":7,"at_ns":116666667,"ball":{"x":80.0,"y":45.0,"vx":1.0,"vy":-1.0},"paddles":[45.0,40.5],"score":[1,0],"players":["ada","bot"]}"#
        );
        assert_eq!(serde_json::from_str::<ServerMessage>(&text).unwrap(), state);
    }

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        let welcome = |session| ServerMessage::Welcome { session, online: 1 };
        for count in 0..3 {
            let texts: Vec<_> = (0..count).map(|session| encode(&welcome(session))).collect();
            let text = batch(u64::MAX, texts.iter());
            let read = Batch { next: u64::MAX, messages: (0..count).map(welcome).collect() };
            assert_eq!(serde_json::from_str::<Batch>(&text).unwrap(), read);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("ping", 24), "ping");
        assert_eq!(cut("ping", 2), "pi");
        assert_eq!(cut("ääää", 3), "äää");
        assert_eq!(cut("", 3), "");
    }
}

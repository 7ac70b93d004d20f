//! What goes over the wire: datagrams of players, and frames of spectators. All numbers are little-endian.

/// Longest datagram that is sent: below the smallest MTU that players have.
pub(crate) const DATAGRAM_BYTES: usize = 1200;
/// Longest datagram that is taken; a longer one is cut by the kernel, and then refused.
pub(crate) const RECEIVE_BYTES: usize = 256;
/// Longest name of a player, in bytes.
pub(crate) const NAME_BYTES: usize = 24;

const MAGIC: u16 = 0x5a4e;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;

/// Entities that fit into one datagram.
pub(crate) const ENTRIES_AT_ONCE: usize = (DATAGRAM_BYTES - HEADER_BYTES) / ENTRY_BYTES;

/// Bytes before the entities of a spectator's frame: their length, the frame's number, when it was sent.
pub(crate) const FRAME_HEADER_BYTES: usize = 16;
/// What a spectator sends for each frame: its number.
pub(crate) const SEEN_BYTES: usize = 4;

/// What a player sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    /// May I come in?
    Join { name: String },
    /// Which way to go, and whether to do something: 1 hits, 2 picks up what lies there.
    Input { session: u32, dx: i8, dy: i8, action: u8 },
    /// I am leaving.
    Bye { session: u32 },
}

/// What the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    Welcome,
    Update,
    Goodbye,
}

/// The beginning of a datagram of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerHeader {
    pub(crate) kind: ServerKind,
    /// One visit of a player.
    pub(crate) session: u32,
    /// Counts the datagrams of a session from 1, so that the player can tell what is missing. A goodbye to somebody who is
    /// not here has 0.
    pub(crate) sequence: u32,
    pub(crate) tick: u32,
    pub(crate) entries: u8,
}

/// An entity as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry {
    pub(crate) id: u32,
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) health: u16,
    pub(crate) kind: u16,
}

impl ClientMessage {
    /// Writes the message over what was in the buffer.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        into.clear();
        into.extend(MAGIC.to_le_bytes());
        match self {
            Self::Join { name } => {
                into.extend([1, 0]);
                into.extend(0u32.to_le_bytes());
                into.extend(name.as_bytes());
            }
            Self::Input { session, dx, dy, action } => {
                into.extend([2, 0]);
                into.extend(session.to_le_bytes());
                into.extend([dx.to_le_bytes(), dy.to_le_bytes(), [*action]].as_flattened());
            }
            Self::Bye { session } => {
                into.extend([3, 0]);
                into.extend(session.to_le_bytes());
            }
        }
    }

    /// Reads a message; `None` if it is not one of ours.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        if u16::from_le_bytes(take(bytes)?) != MAGIC {
            return None;
        }
        let [kind, _] = take(bytes)?;
        let session = u32::from_le_bytes(take(bytes)?);
        match kind {
            1 => Some(Self::Join { name: name(bytes)? }),
            2 => {
                let [dx, dy, action] = take(bytes)?;
                Some(Self::Input { session, dx: dx as i8, dy: dy as i8, action })
            }
            3 => Some(Self::Bye { session }),
            _ => None,
        }
    }
}

impl ServerHeader {
    /// Writes the header over what was in the buffer.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        into.clear();
        into.extend(MAGIC.to_le_bytes());
        let kind = match self.kind {
            ServerKind::Welcome => 1,
            ServerKind::Update => 2,
            ServerKind::Goodbye => 3,
        };
        into.extend([kind, self.entries]);
        into.extend(self.session.to_le_bytes());
        into.extend(self.sequence.to_le_bytes());
        into.extend(self.tick.to_le_bytes());
    }

    /// Reads the header; `None` if it is not one of ours, or the entities that it announces are not there.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        if u16::from_le_bytes(take(bytes)?) != MAGIC {
            return None;
        }
        let [kind, entries] = take(bytes)?;
        let kind = match kind {
            1 => ServerKind::Welcome,
            2 => ServerKind::Update,
            3 => ServerKind::Goodbye,
            _ => return None,
        };
        let [session, sequence, tick] = [take(bytes)?, take(bytes)?, take(bytes)?].map(u32::from_le_bytes);
        let is_whole = bytes.len() == usize::from(entries) * ENTRY_BYTES;
        is_whole.then_some(Self { kind, session, sequence, tick, entries })
    }
}

impl Entry {
    /// Adds the entity to a datagram or a frame.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        into.extend(self.id.to_le_bytes());
        into.extend(self.x.to_le_bytes());
        into.extend(self.y.to_le_bytes());
        into.extend(self.health.to_le_bytes());
        into.extend(self.kind.to_le_bytes());
    }
}

/// The beginning of a spectator's frame.
pub(crate) fn frame_header(body_bytes: u32, number: u32, sent_ns: u64) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&body_bytes.to_le_bytes());
    header[4..8].copy_from_slice(&number.to_le_bytes());
    header[8..].copy_from_slice(&sent_ns.to_le_bytes());
    header
}

/// Reads what [`frame_header`] wrote: length of the body, number, when it was sent. `None` if it is not all there yet.
pub(crate) fn read_frame_header(mut bytes: &[u8]) -> Option<(u32, u32, u64)> {
    let bytes = &mut bytes;
    let (body_bytes, number) = (u32::from_le_bytes(take(bytes)?), u32::from_le_bytes(take(bytes)?));
    Some((body_bytes, number, u64::from_le_bytes(take(bytes)?)))
}

/// Takes so many bytes off the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// A name that can stand in a log and in a key: short, and of letters, digits and dashes.
fn name(bytes: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    if bytes.is_empty() || bytes.len() > NAME_BYTES || !bytes.iter().all(is_plain) {
        return None;
    }
    Some(bytes.iter().copied().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_player_sends_arrives() {
        let mut bytes = Vec::new();
        for message in [
            ClientMessage::Join { name: "bot-0001".into() },
            ClientMessage::Input { session: 7, dx: -1, dy: 1, action: 2 },
            ClientMessage::Bye { session: u32::MAX },
        ] {
            message.encode(&mut bytes);
            assert_eq!(ClientMessage::decode(&bytes), Some(message));
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let mut bytes = Vec::new();
        ClientMessage::Input { session: 7, dx: 0, dy: 0, action: 0 }.encode(&mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(ClientMessage::decode(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(ClientMessage::decode(b"GET / HTTP/1.1"), None);
        for name in ["", "a b", "x\n", &"n".repeat(NAME_BYTES + 1), "\u{e4}"] {
            ClientMessage::Join { name: name.to_owned() }.encode(&mut bytes);
            assert_eq!(ClientMessage::decode(&bytes), None, "{name:?}");
        }
    }

    #[test]
    fn a_full_datagram_is_below_its_limit_and_is_read_again() {
        let entry = Entry { id: 3, x: 1.5, y: -2.5, health: 100, kind: 1 };
        let header = ServerHeader {
            kind: ServerKind::Update,
            session: 5,
            sequence: 9,
            tick: 11,
            entries: ENTRIES_AT_ONCE as u8,
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        (0..ENTRIES_AT_ONCE).for_each(|_| entry.encode(&mut bytes));
        assert!(bytes.len() <= DATAGRAM_BYTES && bytes.len() + ENTRY_BYTES > DATAGRAM_BYTES);
        assert_eq!(ServerHeader::decode(&bytes), Some(header));
        assert_eq!(
            bytes[HEADER_BYTES..][..ENTRY_BYTES],
            [3, 0, 0, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0x20, 0xc0, 100, 0, 1, 0]
        );
        assert_eq!(ServerHeader::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn a_frame_begins_with_its_length() {
        let header = frame_header(320, 2, 1 << 40);
        assert_eq!(read_frame_header(&header), Some((320, 2, 1 << 40)));
        assert_eq!(read_frame_header(&header[..15]), None);
    }
}

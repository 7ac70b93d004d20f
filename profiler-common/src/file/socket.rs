//! Sockets of observed processes, by what they have in common: a port or path that they serve, or an address that they lead to.

use super::Addresses;
use crate::wire;

/// What the sockets of a service have in common.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// They wait for connections on one port or path, or were accepted there.
    Serves = 1,
    /// They are connected to one address and port, or path.
    Calls = 2,
    /// Datagrams to one port or path of this machine, from and to anyone.
    Bound = 3,
    /// They have no peer, and no address that the program has chosen.
    Loose = 4,
    /// Unix sockets without a name at either end.
    Unnamed = 5,
    /// Sockets of another family.
    Other = 6,
}

impl Side {
    /// From the number in a record.
    #[must_use]
    pub fn of_number(number: u64) -> Side {
        match number {
            1 => Side::Serves,
            2 => Side::Calls,
            3 => Side::Bound,
            4 => Side::Loose,
            5 => Side::Unnamed,
            _ => Side::Other,
        }
    }
}

wire! {
    /// One socket. The key is the number of its inode, which the kernel gives to one socket only.
    pub struct Socket {
        /// A hash of what its service depends on.
        pub identity: u64,
        /// Number of its service, see [`number`](crate::io::number).
        pub service: u32,
        /// The address space that has used it last.
        pub space: u32,
        /// What it has in common with the others of its service: a [`Side`].
        pub side: u64,
        /// Its addresses.
        pub addresses: Addresses,
        /// When it was first seen, in nanoseconds.
        pub seen_ns: u64,
        /// [`ACCEPTED`] and others.
        pub flags: u64,
        /// When a descriptor of it was closed, in nanoseconds; 0: not since it was last used.
        pub closed_ns: u64,
        /// When it was last used, in nanoseconds.
        pub used_ns: u64,
        /// Receives that have moved bytes; of datagrams, all of them.
        pub received: u64,
        /// Bytes received.
        pub received_bytes: u64,
        /// Sends that have moved bytes; of datagrams, all of them.
        pub sent: u64,
        /// Bytes sent.
        pub sent_bytes: u64,
        /// When the last send ended, if nothing was received since, in nanoseconds; otherwise 0.
        pub last_sent_ns: u64,
        /// When the last receive ended, if nothing was sent since, in nanoseconds; otherwise 0.
        pub last_received_ns: u64,
        /// Sends since the last receive.
        pub sends_in_row: u64,
        /// The thread that waits for an answer to what it has sent; 0: none does.
        pub awaited_by: u64,
        /// Whether a part of what was sent since the last receive was held back until the peer would acknowledge the part before.
        pub was_held: u64,
        /// How often something was received after something was sent, and the time between, in nanoseconds.
        pub turns: u64,
        /// The time between, in nanoseconds.
        pub turns_ns: u64,
        /// The longest.
        pub longest_turn_ns: u64,
        /// How often something was received after at least two sends in a row,
        pub after_several: u64,
        /// of these, [`DELAYED_NS`] to [`DELAYED_END_NS`] after the last send, of which a part was held back,
        pub delayed: u64,
        /// and beside that: from half of its beginning to twice its end.
        pub beside_delayed: u64,
    }
}

/// How long the kernel delays the acknowledgement of what it has received (`TCP_DELACK_MIN`, include/net/tcp.h: 40 ms), in nanoseconds. A
/// socket that holds small sends back until the earlier ones are acknowledged waits for so long.
pub const DELAYED_NS: u64 = 38_000_000;
/// Its end: with what timers and schedulers add.
pub const DELAYED_END_NS: u64 = 50_000_000;

/// Flag: it was accepted while it was observed.
pub const ACCEPTED: u64 = 1;
/// Flag: it was connected while it was observed.
pub const CONNECTED: u64 = 2;
/// Flag: it waits for connections.
pub const LISTENS: u64 = 4;
/// Flag: what its service is changes only if it is connected.
pub const SETTLED: u64 = 8;
/// Flag: it was connected to another address after it had moved something.
pub const SEVERAL_PEERS: u64 = 16;
/// Flag: another process has used it after something was moved on it.
pub const SHARED: u64 = 32;

/// Peers of sockets that have none of their own, with sums for each.
pub const MOST_DATAGRAM_PEERS: u32 = 1 << 16;

wire! {
    /// To and from whom a socket without a peer moves datagrams.
    pub struct DatagramPeer {
        /// The address space.
        pub space: u32,
        /// Number of the service of the socket.
        pub service: u32,
        /// `AF_INET` or `AF_INET6`.
        pub family: u16,
        /// The peer's port.
        pub port: u16,
        /// 0.
        pub reserved: u32,
        /// Its address: of IPv4 in the first four bytes.
        pub address: [u8; 16],
    }
}

wire! {
    /// What was moved to and from it.
    #[derive(Default)]
    pub struct DatagramSums {
        /// Datagrams that the target received.
        pub received: u64,
        /// Their bytes.
        pub received_bytes: u64,
        /// Datagrams that it sent.
        pub sent: u64,
        /// Their bytes.
        pub sent_bytes: u64,
    }
}

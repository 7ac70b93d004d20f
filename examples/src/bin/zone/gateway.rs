//! The players' socket: one UDP socket for everybody, read and written by the loop alone, never waited for.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::Context;
use rustix::net::sockopt;

use crate::books::Books;
use crate::protocol::{ClientMessage, Entry, RECEIVE_BYTES, ServerHeader, ServerKind};

/// Receive buffer that is asked for, in bytes: a second of a few hundred players. The kernel grants at most
/// `net.core.rmem_max`.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Datagrams that are read in one turn: a flood must not hold the loop for ever.
const MOST_IN_A_TURN: u32 = 65_536;

/// The socket.
#[derive(Debug)]
pub(crate) struct Gateway {
    socket: UdpSocket,
    books: Arc<Books>,
    /// What is sent next.
    outgoing: Vec<u8>,
}

/// Whom a datagram is for.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) session: u32,
    /// Of the next datagram.
    pub(crate) sequence: u32,
}

impl Gateway {
    /// Opens the socket.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub(crate) fn open(
        address: SocketAddr,
        small_buffer: Option<u32>,
        books: Arc<Books>,
    ) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("listening on {address}"))?;
        socket.set_nonblocking(true).context("setting the socket up")?;
        match small_buffer {
            Some(bytes) => shrink_receive_buffer(&socket, bytes as usize)?,
            None => sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)
                .context("asking for a receive buffer")?,
        }
        let granted = sockopt::socket_recv_buffer_size(&socket).context("asking for the receive buffer")?;
        books.udp.receive_buffer_bytes.raise_to(granted as u64);
        Ok(Self { socket, books, outgoing: Vec::new() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next datagram that is a message; `None` if there is none now. `budget` is of the turn: see [`turn_budget`].
    pub(crate) fn receive(&self, budget: &mut u32) -> Option<(SocketAddr, ClientMessage)> {
        let udp = &self.books.udp;
        let mut bytes = [0; RECEIVE_BYTES];
        while *budget > 0 {
            *budget -= 1;
            match self.socket.recv_from(&mut bytes) {
                Ok((length, from)) => {
                    udp.received.one();
                    udp.received_bytes.add(length as u64);
                    match bytes.get(..length).and_then(ClientMessage::decode) {
                        Some(message) => return Some((from, message)),
                        None => udp.strays.one(),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    udp.empty_receives.one();
                    return None;
                }
                Err(_) => udp.receive_errors.one(),
            }
        }
        None
    }

    /// Sends one datagram with these entities, which the caller has made sure fit.
    #[inline(never)]
    pub(crate) fn send(&mut self, peer: &mut Peer, kind: ServerKind, tick: u64, entries: &[Entry]) {
        let header = ServerHeader {
            kind,
            session: peer.session,
            sequence: peer.sequence,
            tick: tick as u32,
            entries: entries.len() as u8,
        };
        header.encode(&mut self.outgoing);
        entries.iter().for_each(|entry| entry.encode(&mut self.outgoing));
        match self.socket.send_to(&self.outgoing, peer.address) {
            Ok(length) => {
                peer.sequence = peer.sequence.wrapping_add(1);
                self.books.udp.sent.one();
                self.books.udp.sent_bytes.add(length as u64);
            }
            // The next update says it all again.
            Err(_) => self.books.udp.send_errors.one(),
        }
    }

    /// Planted fault (`--chatty`): one datagram for each entity, where one would do for all.
    #[inline(never)]
    pub(crate) fn send_each_entity_alone(&mut self, peer: &mut Peer, tick: u64, entries: &[Entry]) {
        for entry in entries {
            self.send(peer, ServerKind::Update, tick, std::slice::from_ref(entry));
        }
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, as the kernel itself counts them; `None` if it
    /// does not say.
    pub(crate) fn kernel_drops(&self) -> Option<u64> {
        let inode = rustix::fs::fstat(self.socket.as_fd()).ok()?.st_ino;
        let family = if self.address().ok()?.is_ipv4() { "udp" } else { "udp6" };
        let table = std::fs::read_to_string(format!("/proc/self/net/{family}")).ok()?;
        drops_of(&table, inode)
    }
}

/// How many datagrams may be read in one turn.
pub(crate) fn turn_budget() -> u32 {
    MOST_IN_A_TURN
}

/// Planted fault (`--small-rcvbuf`): a buffer that is full after a few datagrams, and the loop reads only once in a turn.
#[inline(never)]
fn shrink_receive_buffer(socket: &UdpSocket, bytes: usize) -> anyhow::Result<()> {
    sockopt::set_socket_recv_buffer_size(socket, bytes).context("asking for a small receive buffer")
}

/// The last column of the line with this inode in the kernel's table of UDP sockets.
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inode = inode.to_string();
    let row = rows.into_iter().find(|row| row.get(9) == Some(&inode.as_str()))?;
    row.get(12)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_our_socket() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
             64: 0100007F:A7C8 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4101 2 0000000000000000 7\n  \
             99: 0100007F:A7C9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4102 2 0000000000000000 31\n";
        assert_eq!(drops_of(table, 4102), Some(31));
        assert_eq!(drops_of(table, 4103), None);
    }

    fn pair(small_buffer: Option<u32>) -> (Gateway, UdpSocket, Arc<Books>) {
        let books = Arc::new(Books::default());
        let gateway =
            Gateway::open("127.0.0.1:0".parse().unwrap(), small_buffer, Arc::clone(&books)).unwrap();
        let player = UdpSocket::bind("127.0.0.1:0").unwrap();
        player.connect(gateway.address().unwrap()).unwrap();
        (gateway, player, books)
    }

    #[test]
    fn what_is_not_ours_is_counted_and_passed_over() {
        let (gateway, player, books) = pair(None);
        let mut bytes = Vec::new();
        player.send(b"nonsense").unwrap();
        ClientMessage::Bye { session: 3 }.encode(&mut bytes);
        player.send(&bytes).unwrap();
        let mut budget = turn_budget();
        let (from, message) = gateway.receive(&mut budget).unwrap();
        assert_eq!((from, message), (player.local_addr().unwrap(), ClientMessage::Bye { session: 3 }));
        assert!(gateway.receive(&mut budget).is_none());
        let udp = &books.udp;
        assert_eq!([&udp.received, &udp.strays, &udp.empty_receives].map(|counter| counter.get()), [2, 1, 1]);
        assert!(udp.receive_buffer_bytes.get() >= 4608);
        let mut spent = 0;
        player.send(&bytes).unwrap();
        assert!(gateway.receive(&mut spent).is_none(), "a turn reads no more than it may");
    }

    #[test]
    fn a_small_buffer_drops_and_the_kernel_says_how_many() {
        let (gateway, player, books) = pair(Some(2304));
        let mut bytes = Vec::new();
        ClientMessage::Bye { session: 3 }.encode(&mut bytes);
        (0..100).for_each(|_| assert_eq!(player.send(&bytes).unwrap(), bytes.len()));
        let mut budget = turn_budget();
        while gateway.receive(&mut budget).is_some() {}
        let received = books.udp.received.get();
        assert!((1..100).contains(&received), "{received} received");
        assert_eq!(gateway.kernel_drops(), Some(100 - received));
    }
}

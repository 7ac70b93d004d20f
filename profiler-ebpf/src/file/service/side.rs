//! What a socket has in common with others: whether it serves, calls, or is bound.

use aya_ebpf::{macros::map, maps::Array};
use profiler_common::file::{
    AF_INET, AF_INET6, AF_UNIX, Addresses, S_IFSOCK, SOCK_DGRAM, SOCK_STREAM, TCP_LISTEN, socket::Side,
};

use super::{Looked, at, of, read, sock};
use crate::{atomic, file::known};

/// In `sock.sk_userlocks`: the program has chosen the port (include/net/sock.h).
const PORT_IS_CHOSEN: u8 = 8;

/// Bit by port: first those of TCP on which observed processes wait for connections, then those of UDP to which they are bound. User space
/// sets those that are there at the start. They stay set: connections that were accepted there without a call may live longer.
#[map]
static SERVED_PORTS: Array<u64> = Array::with_max_entries(2 * 1024, 0);

/// The bit of a port.
#[inline(always)]
fn served(kind: u16, port: u16) -> (Option<*mut u64>, u64) {
    let place = u32::from(port) / 64 + if kind == SOCK_DGRAM { 1024 } else { 0 };
    (SERVED_PORTS.get_ptr_mut(place & 2047), 1 << (port & 63))
}

/// Notes that the socket with this `struct path` listens from now on: io_uring may accept its connections, without a call.
#[inline(always)]
pub fn listens(path: u64) {
    if known::kind(path) != S_IFSOCK >> known::KIND_SHIFT {
        return;
    }
    let sock = sock(path);
    let family: u16 = read(sock + of::SOCK_FAMILY.load());
    let port: u16 = read(sock + of::SOCK_LOCAL_PORT.load());
    if (family == AF_INET || family == AF_INET6) && port != 0 {
        let (bits, bit) = served(SOCK_STREAM, port);
        if let Some(bits) = bits {
            // SAFETY: a map value.
            unsafe { atomic::set_bits(bits, bit) };
        }
    }
}

/// What a socket has in common with others.
#[inline(always)]
pub(super) unsafe fn side(looked: *const Looked) -> Side {
    // SAFETY: the caller vouches for the place; a map value.
    unsafe {
        let of = &raw const (*looked).new.addresses;
        if (*of).family == AF_UNIX {
            return unix_side(of, (*looked).socket_at);
        }
        if (*of).family != AF_INET && (*of).family != AF_INET6 {
            return Side::Other;
        }
        let (bits, bit) = served((*of).kind, (*of).local_port);
        let Some(bits) = bits else { return Side::Other };
        let is_datagram = (*of).kind == SOCK_DGRAM;
        if (*looked).accepted != 0 {
            return Side::Serves;
        }
        if (*of).remote_port == 0 {
            if (*of).state == TCP_LISTEN {
                atomic::set_bits(bits, bit);
                return Side::Serves;
            }
            if is_datagram && (*of).local_port != 0 && port_is_chosen(looked) {
                atomic::set_bits(bits, bit);
                return Side::Bound;
            }
            return Side::Loose;
        }
        if !is_datagram && (*looked).calls != 0 {
            // It was not accepted, whoever waits for connections on its port, or has waited before.
            return Side::Calls;
        }
        match (bits.read_volatile() & bit != 0, is_datagram) {
            (true, true) => Side::Bound,
            (true, false) => Side::Serves,
            _ => Side::Calls,
        }
    }
}

/// Whether the program has chosen the port, as far as the kernel tells.
#[inline(always)]
unsafe fn port_is_chosen(looked: *const Looked) -> bool {
    let place = of::SOCK_LOCKS.load();
    // SAFETY: the caller vouches for the place.
    let sock: u64 = unsafe { at(&raw const (*looked).socket, of::SOCKET_SOCK.load()) };
    // The place is in bits.
    place == 0 || read::<u8>(sock + place / 8) >> (place % 8) & PORT_IS_CHOSEN != 0
}

/// `socket`: the address of its `struct socket`.
#[inline(always)]
unsafe fn unix_side(of_addresses: *const Addresses, socket: u64) -> Side {
    let sock: u64 = read(socket + of::SOCKET_SOCK.load());
    let own: u64 = read(sock + of::UNIX_ADDRESS.load());
    let peer: u64 = read(sock + of::UNIX_PEER.load());
    let others: u64 = read(peer + of::UNIX_ADDRESS.load());
    // SAFETY: the caller vouches for the place.
    let is_datagram = unsafe { (*of_addresses).kind == SOCK_DGRAM };
    match (own != 0, others != 0) {
        (true, _) if is_datagram => Side::Bound,
        (true, _) => Side::Serves,
        (false, true) => Side::Calls,
        _ => Side::Unnamed,
    }
}

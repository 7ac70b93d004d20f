//! The addresses of a socket.

use profiler_common::file::Addresses;

use super::{Room, append, members as of, read};

const FILE_KIND: u16 = 0xf000; // S_IFMT
const SOCKET: u16 = 0xc000; // S_IFSOCK
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const LISTENS: u16 = 10; // TCP_LISTEN

/// Whether the file of this mode is a socket. The path of a bound Unix socket has this mode, too, but can only be opened with `O_PATH`; then
/// there is no socket behind it, and all addresses are zero.
#[inline(always)]
pub(super) fn is_one(mode: u16) -> bool {
    mode & FILE_KIND == SOCKET
}

/// Reads the addresses.
///
/// # Safety
/// `to` is in a map.
#[inline(always)]
pub(super) unsafe fn read_addresses(file: u64, to: *mut Addresses) {
    let socket: u64 = read(file + of::FILE_DATA.load());
    let sock: u64 = read(socket + of::SOCKET_SOCK.load());
    let family: u16 = read(sock + of::SOCK_FAMILY.load());
    // SAFETY: the caller vouches for the place.
    unsafe {
        to.write_bytes(0, 1);
        (*to).family = family;
        (*to).kind = read(socket + of::SOCKET_KIND.load());
        (*to).protocol = read(sock + of::SOCK_PROTOCOL.load());
        (*to).state = read::<u8>(sock + of::SOCK_STATE.load()).into();
        let namespace: u64 = read(sock + of::SOCK_NAMESPACE.load());
        (*to).namespace = read(namespace + of::NAMESPACE_NUMBER.load());
        if family == AF_INET || family == AF_INET6 {
            (*to).local_port = read(sock + of::SOCK_LOCAL_PORT.load());
            (*to).remote_port = u16::from_be(read(sock + of::SOCK_REMOTE_PORT.load()));
        }
        if family == AF_INET {
            let local: [u8; 4] = read(sock + of::SOCK_LOCAL.load());
            let remote: [u8; 4] = read(sock + of::SOCK_REMOTE.load());
            (&raw mut (*to).local).cast::<[u8; 4]>().write(local);
            (&raw mut (*to).remote).cast::<[u8; 4]>().write(remote);
        }
        if family == AF_INET6 {
            (*to).local = read(sock + of::SOCK_LOCAL_V6.load());
            (*to).remote = read(sock + of::SOCK_REMOTE_V6.load());
        }
    }
}

/// A hash of what the label of an internet socket shows: ports, addresses, and whether it listens.
///
/// # Safety
/// `addresses` is in a map.
#[inline(always)]
pub(super) unsafe fn hash(addresses: *const Addresses) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 divided by the golden ratio
    // SAFETY: the caller vouches for the addresses.
    unsafe {
        let listens = u64::from((*addresses).state == LISTENS);
        let ports =
            u64::from((*addresses).local_port) | u64::from((*addresses).remote_port) << 16 | listens << 32;
        let remote = (&raw const (*addresses).remote).cast::<u64>();
        let local = (&raw const (*addresses).local).cast::<u64>();
        let mut hash = (ports ^ remote.read_unaligned()).wrapping_mul(MULTIPLIER);
        hash = (hash ^ hash >> 32 ^ remote.add(1).read_unaligned()).wrapping_mul(MULTIPLIER);
        hash = (hash ^ hash >> 32 ^ local.read_unaligned()).wrapping_mul(MULTIPLIER);
        (hash ^ hash >> 32 ^ local.add(1).read_unaligned()).wrapping_mul(MULTIPLIER)
    }
}

/// Finds the address that a Unix socket, or else its peer, is bound to.
///
/// # Safety
/// `room` is a map value.
#[inline(always)]
pub(super) unsafe fn read_name(file: u64, room: *mut Room) {
    // Of `struct sockaddr_un`: the family comes before the path.
    const FAMILY_BYTES: u32 = size_of::<u16>() as u32;
    // SAFETY: the caller vouches for the room.
    unsafe {
        (*room).record.flags = 0;
        if (*room).record.addresses.family != AF_UNIX {
            return;
        }
        let socket: u64 = read(file + of::FILE_DATA.load());
        let sock: u64 = read(socket + of::SOCKET_SOCK.load());
        let mut address: u64 = read(sock + of::UNIX_ADDRESS.load());
        if address == 0 {
            let peer: u64 = read(sock + of::UNIX_PEER.load());
            address = read(peer + of::UNIX_ADDRESS.load());
        }
        let bytes: u32 = read(address + of::ADDRESS_BYTES.load());
        if address != 0 && bytes > FAMILY_BYTES {
            append(room, address + of::ADDRESS_NAME.load() + u64::from(FAMILY_BYTES), bytes - FAMILY_BYTES);
        }
    }
}

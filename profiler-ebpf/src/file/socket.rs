//! The addresses of a socket.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::file::{AF_INET, AF_INET6, AF_UNIX, Addresses, S_IFMT, S_IFSOCK, TCP_LISTEN};

use super::{Named, append, hash, members as of, read};

/// Whether the file of this mode is a socket. The path of a bound Unix socket has this mode, too, but can only be opened with `O_PATH`; then
/// there is no socket behind it, and all addresses are zero.
#[inline(always)]
pub(super) fn is_one(mode: u16) -> bool {
    u32::from(mode) & S_IFMT == S_IFSOCK
}

/// Reads the addresses of a `struct socket`. Returns a hash of what the label of the socket shows. `peer`: the address in user memory that the process asks it to
/// connect to, or 0.
///
/// # Safety
/// `to` is in a map, and all zeroes.
#[inline(always)]
pub(super) unsafe fn read_addresses(socket: u64, peer: u64, to: *mut Addresses) -> u64 {
    let sock: u64 = read(socket + of::SOCKET_SOCK.load());
    let family: u16 = read(sock + of::SOCK_FAMILY.load());
    // SAFETY: the caller vouches for the place.
    unsafe {
        (*to).family = family;
        (*to).kind = read(socket + of::SOCKET_KIND.load());
        (*to).state = read::<u8>(sock + of::SOCK_STATE.load()).into();
        let listens = u64::from((*to).state == TCP_LISTEN);
        if family == AF_UNIX {
            let own: u64 = read(sock + of::UNIX_ADDRESS.load());
            let other: u64 = read(sock + of::UNIX_PEER.load());
            let others: u64 = read(other + of::UNIX_ADDRESS.load());
            return hash(hash(own, others), listens);
        }
        read_internet(sock, family, to);
        if peer != 0 && (*to).remote_port == 0 {
            read_peer(peer, to);
        }
        let ports = u64::from((*to).local_port) | u64::from((*to).remote_port) << 16 | listens << 32;
        let remote = (&raw const (*to).remote).cast::<u64>();
        let local = (&raw const (*to).local).cast::<u64>();
        let remote = hash(hash(ports, remote.read_unaligned()), remote.add(1).read_unaligned());
        hash(hash(remote, local.read_unaligned()), local.add(1).read_unaligned())
    }
}

/// Reads the ports and addresses of a `struct sock`, if it is of one of the internet families.
///
/// # Safety
/// `to` is in a map.
#[inline(always)]
pub(crate) unsafe fn read_internet(sock: u64, family: u16, to: *mut Addresses) {
    // SAFETY: the caller vouches for the place.
    unsafe {
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

/// Reads the peer from what a process hands to `connect`: one that failed has left none in the socket.
///
/// # Safety
/// `to` is in a map.
#[inline(always)]
pub(super) unsafe fn read_peer(peer: u64, to: *mut Addresses) {
    /// What `struct sockaddr_in` and `sockaddr_in6` begin with, and where the latter has its address.
    const HEAD_BYTES: u32 = 8;
    let mut head = [0u8; HEAD_BYTES as usize];
    // SAFETY: the caller vouches for the place; the helper takes any address.
    unsafe {
        if bpf_probe_read_user(head.as_mut_ptr().cast(), HEAD_BYTES, peer as *const c_void) != 0 {
            return;
        }
        let [family, more, port, low, address @ ..] = head;
        let family = u16::from_ne_bytes([family, more]);
        if family == AF_INET && (*to).family == AF_INET {
            (*to).remote_port = u16::from_be_bytes([port, low]);
            (&raw mut (*to).remote).cast::<[u8; 4]>().write(address);
        }
        if family == AF_INET6 && (*to).family == AF_INET6 {
            (*to).remote_port = u16::from_be_bytes([port, low]);
            let from = peer + u64::from(HEAD_BYTES);
            let _ = bpf_probe_read_user((&raw mut (*to).remote).cast(), 16, from as *const c_void);
        }
    }
}

/// Finds the address that a Unix socket, or else its peer, is bound to.
///
/// # Safety
/// `named` is a map value.
#[inline(always)]
pub(super) unsafe fn read_name(socket: u64, named: *mut Named) {
    // Of `struct sockaddr_un`: the family comes before the path.
    const FAMILY_BYTES: u32 = size_of::<u16>() as u32;
    // SAFETY: the caller vouches for the file.
    unsafe {
        (*named).record.flags = 0;
        if (*named).record.addresses.family != AF_UNIX {
            return;
        }
        let sock: u64 = read(socket + of::SOCKET_SOCK.load());
        let mut address: u64 = read(sock + of::UNIX_ADDRESS.load());
        if address == 0 {
            let peer: u64 = read(sock + of::UNIX_PEER.load());
            address = read(peer + of::UNIX_ADDRESS.load());
        }
        let bytes: u32 = read(address + of::ADDRESS_BYTES.load());
        if address != 0 && bytes > FAMILY_BYTES {
            append(named, address + of::ADDRESS_NAME.load() + u64::from(FAMILY_BYTES), bytes - FAMILY_BYTES);
        }
    }
}

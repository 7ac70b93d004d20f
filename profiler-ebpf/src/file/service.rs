//! Numbers of services: sockets by the port or path that they serve, or by the address that they lead to. A server may have more
//! connections in a second than there are numbers, but few services.

mod record;
mod side;

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use profiler_common::{
    file::{
        AF_INET, AF_INET6, AF_UNIX, NO_FILE, S_IFSOCK, SERVICE, TCP_LISTEN,
        socket::{LISTENS, SETTLED, SEVERAL_PEERS, Side, Socket},
    },
    io::OF_OTHER_KIND,
};

pub use self::side::listens;
use self::{
    record::{has_another_peer, has_ended, is_settled},
    side::side,
};
use super::{FILE_ROOM, hash, introduce, members as of, read, socket, typed};
use crate::{
    atomic,
    call::argument,
    io::{ANEW, CALLED, OPENED, thread},
};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_NOEXIST: u64 = 1;
/// Bytes at the beginning of a `struct socket` and of a `struct sock` that have the members which are read here. The loader checks that.
const SOCKET_BYTES: usize = 32;
const SOCK_BYTES: usize = 128;
/// Words at the beginning of an `inode` that have its mode and its number. The loader checks that.
const INODE_WORDS: usize = 16;
/// Words of the name of a Unix socket, which has up to 108 bytes.
const NAME_WORDS: usize = 14;
/// The device in the key of a service: no filesystem has this number.
const OF_SERVICE: u64 = u64::MAX - 1;
/// `connect` of x86-64, and of i386.
const CONNECT: u64 = 42;
const CONNECT_I386: u32 = 362;

/// Sockets that observed processes have used. The loader sets the size.
#[map]
static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);
/// Sockets that there was no room for, each time one is used.
#[map]
static SOCKETS_BEYOND: Array<u64> = Array::with_max_entries(1, 0);
/// How many sockets were given an entry.
#[map]
static SOCKETS_SEEN: Array<u64> = Array::with_max_entries(1, 0);

/// The beginning of a structure of the kernel, and room behind it for the widest member.
#[repr(C)]
struct Bytes<const N: usize> {
    bytes: [u8; N],
    more: [u8; size_of::<u128>()],
}

/// What was read of a socket.
#[repr(C)]
struct Looked {
    socket: Bytes<SOCKET_BYTES>,
    sock: Bytes<SOCK_BYTES>,
    new: Socket,
    /// Address of its `struct socket`.
    socket_at: u64,
    /// Address in user memory of the peer that a call asks for; 0: it does not.
    peer: u64,
    /// Whether a call has accepted it.
    accepted: u64,
    /// Whether a call has just asked to connect it.
    anew: u64,
    /// Whether it has been connected, or a call has just asked for that.
    calls: u64,
}

#[map]
static LOOKED_SOCKET: PerCpuArray<Looked> = PerCpuArray::with_max_entries(1, 0);

/// A member of what was read.
#[inline(always)]
unsafe fn at<T: Copy, const N: usize>(bytes: *const Bytes<N>, offset: u64) -> T {
    const { assert!(size_of::<T>() <= size_of::<u128>() && N.is_power_of_two(), "a mask and room behind") };
    // SAFETY: the caller vouches for the bytes; the mask keeps the beginning within them.
    unsafe { bytes.cast::<u8>().add(offset as usize & (N - 1)).cast::<T>().read_unaligned() }
}

/// The number of the inode of the file with a `struct path`. The kernel numbers sockets and pipes from the same counters, which
/// wrap around after 2^32.
#[inline(always)]
pub fn identity(path: u64) -> u64 {
    if path == 0 {
        return 0;
    }
    if typed::can() {
        return typed::inode(path).1;
    }
    let inode: u64 = read(path - of::FILE_PATH.load() + of::FILE_INODE.load());
    read(inode + of::INODE_NUMBER.load())
}

/// The `struct sock` of the socket with this `struct path`.
#[inline(always)]
fn sock(path: u64) -> u64 {
    let socket: u64 = read(path - of::FILE_PATH.load() + of::FILE_DATA.load());
    read(socket + of::SOCKET_SOCK.load())
}

/// Whether the socket with this `struct path` is one of TCP that holds a part of what was sent back, until the part before is acknowledged.
#[inline(always)]
pub fn holds_back(path: u64) -> bool {
    /// `TCP_NAGLE_OFF`, which `TCP_NODELAY` sets, and `TCP_NAGLE_CORK` (include/net/tcp.h).
    const DOES_NOT: u8 = 1 | 2;
    const IPPROTO_TCP: u16 = 6;
    if path == 0 || of::TCP_NAGLE.load() == 0 {
        return false;
    }
    let sock = sock(path);
    let family: u16 = read(sock + of::SOCK_FAMILY.load());
    let protocol: u16 = read(sock + of::SOCK_PROTOCOL.load());
    let is_tcp = (family == AF_INET || family == AF_INET6) && protocol == IPPROTO_TCP;
    is_tcp
        && read::<u8>(sock + of::TCP_NAGLE.load()) & DOES_NOT == 0
        && read::<u32>(sock + of::TCP_WRITTEN_TO.load()) != read::<u32>(sock + of::TCP_SENT_TO.load())
}

/// The socket with this number of its inode.
#[inline(always)]
pub fn socket(inode: u64) -> Option<*mut Socket> {
    SOCKETS.get_ptr_mut(inode)
}

/// Mode and number of the inode of the file with this `struct path`.
#[inline(always)]
fn mode_and_number(path: u64) -> (u16, u64) {
    if typed::can() {
        return typed::inode(path);
    }
    let inode_at: u64 = read(path - of::FILE_PATH.load() + of::FILE_INODE.load());
    let words: [u64; INODE_WORDS] = read(inode_at);
    let word = |offset: u64| words[(offset as usize / 8) & (INODE_WORDS - 1)];
    let mode = word(of::INODE_MODE.load()) >> (of::INODE_MODE.load() % 8 * 8);
    (mode as u16, word(of::INODE_NUMBER.load()))
}

/// As [`find`], for a socket of which nothing new is to be found out; `None`: it has to look.
#[inline(always)]
pub fn find_known(path: u64) -> Option<(u32, u64)> {
    const OTHER: (u32, u64) = (OF_OTHER_KIND, 0);
    if path == 0 {
        return Some(OTHER);
    }
    let (mode, inode) = mode_and_number(path);
    if !socket::is_one(mode) {
        return Some(OTHER);
    }
    let known = socket(inode)?;
    // SAFETY: a map value.
    unsafe {
        let is_settled = (&raw const (*known).flags).read_volatile() & SETTLED != 0;
        if is_settled { Some(((*known).service, inode)) } else { None }
    }
}

/// The number of the service of the socket with this `struct path`, and the number of its inode; [`OF_OTHER_KIND`] if it is none.
/// `kinds`: [`ANEW`], if the current call has just asked to connect it, [`OPENED`], if it has accepted it, [`CALLED`], and others, which do
/// not matter. Call it from one place of a program only.
#[inline(always)]
pub fn find(path: u64, kinds: u32, now_ns: u64) -> (u32, u64) {
    const OTHER: (u32, u64) = (OF_OTHER_KIND, 0);
    let anew = kinds & ANEW != 0;
    if path == 0 {
        return OTHER;
    }
    let file = path - of::FILE_PATH.load();
    let inode_at: u64 = read(file + of::FILE_INODE.load());
    let mode: u16 = read(inode_at + of::INODE_MODE.load());
    if !socket::is_one(mode) {
        return OTHER;
    }
    let inode: u64 = read(inode_at + of::INODE_NUMBER.load());
    if !anew && let Some(known) = socket(inode) {
        // SAFETY: a map value.
        let (flags, service) = unsafe { ((&raw const (*known).flags).read_volatile(), (*known).service) };
        if flags & SETTLED != 0 {
            return (service, inode);
        }
    }
    let Some(looked) = LOOKED_SOCKET.get_ptr_mut(0) else { return OTHER };
    // SAFETY: a map value of this CPU, which no other program uses before this one ends; the helper takes any address.
    unsafe {
        let from: u64 = read(file + of::FILE_DATA.load());
        let _ = bpf_probe_read_kernel(
            (&raw mut (*looked).socket).cast(),
            SOCKET_BYTES as u32,
            from as *const c_void,
        );
        let sock: u64 = at(&raw const (*looked).socket, of::SOCKET_SOCK.load());
        let _ =
            bpf_probe_read_kernel((&raw mut (*looked).sock).cast(), SOCK_BYTES as u32, sock as *const c_void);
        (*looked).accepted = u64::from(kinds & OPENED);
        (*looked).anew = anew.into();
        (*looked).calls = u64::from(kinds & (ANEW | CALLED));
        describe(looked, sock);
        (*looked).peer = if anew && (*looked).new.addresses.remote_port == 0 { wanted_peer() } else { 0 };
        if let Some(known) = socket(inode)
            && (&raw const (*known).identity).read_volatile() == (*looked).new.identity
            && (*looked).peer == 0
        {
            return ((*known).service, inode);
        }
        (*looked).new.seen_ns = now_ns;
        (*looked).socket_at = from;
    }
    (number(inode), inode)
}

/// Fills in the addresses, and the hash of what the service depends on.
#[inline(always)]
unsafe fn describe(looked: *mut Looked, sock: u64) {
    // SAFETY: the caller vouches for the place.
    unsafe {
        let words = &raw const (*looked).sock;
        let to = &raw mut (*looked).new.addresses;
        let family: u16 = at(words, of::SOCK_FAMILY.load());
        to.write_bytes(0, 1);
        (*to).family = family;
        (*to).kind = at(&raw const (*looked).socket, of::SOCKET_KIND.load());
        (*to).state = at::<u8, SOCK_BYTES>(words, of::SOCK_STATE.load()).into();
        let kinds = u64::from(family) << 32 | u64::from((*to).kind) << 16;
        let listens = u64::from((*to).state == TCP_LISTEN);
        let mut sum = kinds | listens;
        if family == AF_UNIX {
            let own: u64 = read(sock + of::UNIX_ADDRESS.load());
            let other: u64 = read(sock + of::UNIX_PEER.load());
            let others: u64 = read(other + of::UNIX_ADDRESS.load());
            sum = hash(hash(sum, own), others);
        }
        if family == AF_INET || family == AF_INET6 {
            (*to).local_port = at(words, of::SOCK_LOCAL_PORT.load());
            if (*to).local_port == 0 && (*looked).accepted != 0 && of::SOCK_SOURCE_PORT.load() != 0 {
                // The peer has reset it before it was accepted, and it has given its port back.
                (*to).local_port = u16::from_be(read(sock + of::SOCK_SOURCE_PORT.load()));
            }
            (*to).remote_port = u16::from_be(at(words, of::SOCK_REMOTE_PORT.load()));
            if family == AF_INET {
                let local: [u8; 4] = at(words, of::SOCK_LOCAL.load());
                let remote: [u8; 4] = at(words, of::SOCK_REMOTE.load());
                (&raw mut (*to).local).cast::<[u8; 4]>().write(local);
                (&raw mut (*to).remote).cast::<[u8; 4]>().write(remote);
            } else {
                (*to).local = at(words, of::SOCK_LOCAL_V6.load());
                (*to).remote = at(words, of::SOCK_REMOTE_V6.load());
            }
            let ports = u64::from((*to).local_port) | u64::from((*to).remote_port) << 16;
            let remote = (&raw const (*to).remote).cast::<u64>();
            sum = hash(hash(sum, ports), remote.read_unaligned());
            sum = hash(sum, remote.add(1).read_unaligned());
        }
        (*looked).new.identity = sum;
    }
}

/// The number of the service of a socket that is new, or has other addresses than before. It takes no pointers, so that the verifier
/// follows it once.
#[inline(never)]
fn number(inode: u64) -> u32 {
    let Some(looked) = LOOKED_SOCKET.get_ptr_mut(0) else { return NO_FILE };
    // SAFETY: a map value of this CPU, as in `find`.
    unsafe {
        let new = &raw mut (*looked).new;
        let addresses = &raw mut (*new).addresses;
        let peer = (*looked).peer;
        if peer != 0 {
            socket::read_peer(peer, addresses);
        } else if (*looked).anew == 0
            && let Some(known) = socket(inode)
            && has_ended(addresses)
        {
            // It has ended, and no longer shows what it was.
            (*known).identity = (*new).identity;
            return (*known).service;
        }
        (*new).side = side(looked) as u64;
        let listens = if (*addresses).state == TCP_LISTEN { LISTENS } else { 0 };
        (*new).flags = listens | if is_settled(new) { SETTLED } else { 0 };
        let service = introduce_service();
        (*new).service = service;
        (*new).space = thread::known().map_or(0, |thread| (*thread).space);
        if let Some(known) = socket(inode) {
            if has_another_peer(known, addresses) {
                (*new).flags |= SEVERAL_PEERS;
            }
            (*known).identity = (*new).identity;
            (*known).service = service;
            (*known).side = (*new).side;
            (*known).addresses = *addresses;
            (*known).flags = (*known).flags & !SETTLED | (*new).flags;
            return service;
        }
        let value = &*new;
        if SOCKETS.insert(inode, value, BPF_NOEXIST).is_ok() {
            add_one(SOCKETS_SEEN.get_ptr_mut(0));
        } else if socket(inode).is_none() {
            add_one(SOCKETS_BEYOND.get_ptr_mut(0));
        }
        service
    }
}

#[inline(always)]
fn add_one(to: Option<*mut u64>) {
    if let Some(to) = to {
        // SAFETY: a map value.
        unsafe { atomic::add(to, 1) }
    }
}

/// The address in user memory to which the current call asks to connect; 0: it is another call.
#[inline(always)]
fn wanted_peer() -> u64 {
    let Some(thread) = thread::known() else { return 0 };
    // SAFETY: the thread's own record.
    unsafe {
        let call = (*thread).call;
        let connects = call == CONNECT || call as u32 == CONNECT_I386 && call != CONNECT_I386.into();
        if connects { argument(call, 2) } else { 0 }
    }
}

/// Gives the service of the socket that was looked at a number, and sends what it is.
#[inline(always)]
unsafe fn introduce_service() -> u32 {
    let (Some(looked), Some(room)) = (LOOKED_SOCKET.get_ptr_mut(0), FILE_ROOM.get_ptr_mut(0)) else {
        return NO_FILE;
    };
    // SAFETY: map values of this CPU, as in `find`.
    unsafe {
        let (of, side) = (&raw const (*looked).new.addresses, (*looked).new.side);
        let named = &raw mut (*room).named;
        let record = &raw mut (*named).record;
        let to = &raw mut (*record).addresses;
        to.write_bytes(0, 1);
        (*to).kind = (*of).kind;
        (*to).family = (*of).family;
        (*record).name_bytes = 0;
        let words = (&raw mut (*named).name).cast::<u64>();
        for word in 0..NAME_WORDS {
            words.add(word).write(0);
        }
        if (*of).family == AF_UNIX {
            socket::read_name((*looked).socket_at, named);
        } else if side == Side::Calls as u64 {
            (*to).remote_port = (*of).remote_port;
            (*to).remote = (*of).remote;
        } else if side == Side::Serves as u64 || side == Side::Bound as u64 {
            // A socket of IPv6 may serve IPv4, too.
            (*to).family = AF_INET;
            (*to).local_port = (*of).local_port;
        } else if (*of).family == AF_INET6 {
            (*to).family = AF_INET;
        }
        (*record).inode = side;
        (*record).mode = S_IFSOCK;
        (*record).flags = SERVICE;
        let key = &raw mut (*named).key;
        (*key).device = OF_SERVICE;
        (*key).inode = side << 32 | u64::from((*to).family) << 16 | u64::from((*to).kind);
        (*key).entry = u64::from((*to).local_port) << 16 | u64::from((*to).remote_port);
        let remote = (&raw const (*to).remote).cast::<u64>();
        let mut place = hash(remote.read_unaligned(), remote.add(1).read_unaligned());
        for word in 0..NAME_WORDS {
            place = hash(place, words.add(word).read());
        }
        (*key).place = place;
        introduce(named)
    }
}

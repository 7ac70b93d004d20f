//! Reading the state of a socket. None of it is locked: values that the kernel changes at the same time may be those of before and after.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use profiler_common::{
    file::{AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, TCP_LISTEN},
    socket::{CLOSE, SocketRecord, TCP, UDP, UNKNOWN},
};

use super::{
    keep_queue,
    members::{self as of, MISSING},
};
use crate::file::{read, read_internet};

/// Bits of `tcp_sock.nonagle`.
const NO_DELAY_BITS: u64 = 0xf;
/// `tcp_sock.srtt_us` counts eighths.
const SRTT_SHIFT: u64 = 3;

/// A 32-bit member.
#[inline(always)]
fn word(sock: u64, offset: u64) -> u64 {
    if offset == MISSING { UNKNOWN } else { read::<u32>(sock + offset).into() }
}

/// A 64-bit member.
#[inline(always)]
fn long(sock: u64, offset: u64) -> u64 {
    if offset == MISSING { UNKNOWN } else { read(sock + offset) }
}

/// How far a sequence number is ahead of another; 0: it is behind.
#[inline(always)]
fn distance(sock: u64, ahead: u64, behind: u64) -> u64 {
    if ahead == MISSING || behind == MISSING {
        return UNKNOWN;
    }
    let bytes = read::<u32>(sock + ahead).wrapping_sub(read::<u32>(sock + behind));
    if bytes as i32 > 0 { bytes.into() } else { 0 }
}

/// Reads what identifies a socket, once it is known.
///
/// # Safety
/// `record` is a map value.
#[inline(always)]
pub(super) unsafe fn read_identity(sock: u64, record: *mut SocketRecord) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*record).address = sock;
        let network: u64 = read(sock + of::OF_NET.load());
        (*record).network = read::<u32>(network + of::OF_NET_INODE.load()).into();
        let family: u16 = read(sock + of::OF_FAMILY.load());
        let kind: u16 = read(sock + of::OF_TYPE.load());
        (*record).addresses.family = family;
        (*record).addresses.kind = kind;
        // Others have the same numbers: a raw socket, and protocols of netlink.
        (*record).protocol = match (read::<u16>(sock + of::OF_PROTOCOL.load()).into(), kind) {
            _ if family != AF_INET && family != AF_INET6 => 0,
            (TCP, SOCK_STREAM) => TCP,
            (UDP, SOCK_DGRAM) => UDP,
            _ => 0,
        };
        (*record).inode = inode(read(sock + of::OF_SOCKET.load()));
    }
}

/// The inode number of a `struct socket`; 0: there is none.
#[inline(always)]
pub(super) fn inode(socket: u64) -> u64 {
    if socket == 0 { 0 } else { read(socket + of::OF_SOCKET_INODE.load()) }
}

/// Reads the addresses. Of one that is closed they are not all there any more.
///
/// # Safety
/// `record` is a map value.
#[inline(always)]
pub(super) unsafe fn read_addresses(sock: u64, record: *mut SocketRecord) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let addresses = &raw mut (*record).addresses;
        read_internet(sock, (*addresses).family, addresses);
        read_source_port(sock, record);
    }
}

/// Reads the local port where it stays when the socket has given it back, if it is not known.
///
/// # Safety
/// `record` is a map value.
#[inline(always)]
pub(super) unsafe fn read_source_port(sock: u64, record: *mut SocketRecord) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let addresses = &raw mut (*record).addresses;
        let family = (*addresses).family;
        let source = of::OF_SOURCE_PORT.load();
        if (*addresses).local_port == 0 && (family == AF_INET || family == AF_INET6) && source != MISSING {
            (*addresses).local_port = u16::from_be(read(sock + source));
        }
    }
}

/// Reads the state. The function has no symbol: kernels before 6.8 verify those that have one even if nothing calls them.
#[inline(never)]
pub(super) fn read_state(sock: u64, record: *mut SocketRecord) {
    // SAFETY: a map value.
    unsafe {
        let protocol = (*record).protocol;
        let events = &raw const (*record).events;
        let listened = (*events).closed_ns != 0 && (*events).closed_from == TCP_LISTEN;
        let listens = listened || (*record).addresses.state == TCP_LISTEN;
        let is_tcp = protocol == TCP;
        let is_unix = (*record).addresses.family == AF_UNIX;
        let state = &raw mut (*record).state;
        (*state).at_ns = bpf_ktime_get_ns();
        let memory = word(sock, of::OF_RECEIVE_MEMORY.load());
        // What a Unix socket has received is accounted to the sender.
        (*state).receive_memory = if is_unix { UNKNOWN } else { memory };
        (*state).receive_limit = word(sock, of::OF_RECEIVE_LIMIT.load());
        (*state).send_limit = word(sock, of::OF_SEND_LIMIT.load());
        (*state).drops = drops(sock);
        (*state).error = word(sock, of::OF_ERROR.load());
        if listens {
            // A Unix socket has those that wait in its queue, and drops none: a client waits, or is told.
            let waiting = if is_unix { of::OF_QUEUE_LENGTH.load() } else { of::OF_BACKLOG.load() };
            (*state).receive_queue = word(sock, waiting);
            if is_unix {
                (*state).drops = UNKNOWN;
                // Nothing says when one more waits.
                keep_queue(record, (*state).receive_queue, (*state).at_ns);
            }
            (*state).send_queue = word(sock, of::OF_BACKLOG_LIMIT.load());
        } else if is_tcp {
            (*state).receive_queue = distance(sock, of::OF_RECEIVED_TO.load(), of::OF_READ_TO.load());
            (*state).send_queue = distance(sock, of::OF_WRITTEN_TO.load(), of::OF_ACKED_TO.load());
        } else {
            (*state).receive_queue = if is_unix {
                word(sock, of::OF_UNIX_QUEUED.load())
            } else if protocol == UDP && of::OF_DEFICIT.load() != MISSING {
                // The two are not of the same moment.
                memory.saturating_sub(read::<u32>(sock + of::OF_DEFICIT.load()).into())
            } else {
                memory
            };
            // The count begins at 1.
            let sent = word(sock, of::OF_SEND_MEMORY.load());
            (*state).send_queue = if sent == UNKNOWN || sent == 0 { sent } else { sent - 1 };
        }
        read_tcp(sock, record, is_tcp && !listens);
    }
}

/// Reads what only TCP has.
#[inline(always)]
unsafe fn read_tcp(sock: u64, record: *mut SocketRecord, is_tcp: bool) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let state = &raw mut (*record).state;
        if !is_tcp || (*record).addresses.state == CLOSE && (*record).events.closed_ns == 0 {
            (*state).srtt_us = UNKNOWN;
            (*state).rtt_min_us = UNKNOWN;
            (*state).congestion_window = UNKNOWN;
            (*state).peer_window = UNKNOWN;
            (*state).retransmits = UNKNOWN;
            (*state).bytes_acked = UNKNOWN;
            (*state).bytes_received = UNKNOWN;
            (*state).bytes_sent = UNKNOWN;
            (*state).segments_in = UNKNOWN;
            (*state).segments_out = UNKNOWN;
            (*state).lost = UNKNOWN;
            (*state).no_delay = UNKNOWN;
            return;
        }
        let srtt = word(sock, of::OF_SRTT.load());
        (*state).srtt_us = if srtt == UNKNOWN { UNKNOWN } else { srtt >> SRTT_SHIFT };
        (*state).rtt_min_us = word(sock, of::OF_RTT_MIN.load());
        (*state).congestion_window = word(sock, of::OF_CONGESTION_WINDOW.load());
        (*state).peer_window = word(sock, of::OF_PEER_WINDOW.load());
        (*state).retransmits = word(sock, of::OF_RETRANSMITS.load());
        (*state).bytes_acked = long(sock, of::OF_BYTES_ACKED.load());
        (*state).bytes_received = long(sock, of::OF_BYTES_RECEIVED.load());
        (*state).bytes_sent = long(sock, of::OF_BYTES_SENT.load());
        (*state).segments_in = word(sock, of::OF_SEGMENTS_IN.load());
        (*state).segments_out = word(sock, of::OF_SEGMENTS_OUT.load());
        (*state).lost = word(sock, of::OF_LOST.load());
        let bits = of::OF_NO_DELAY.load();
        (*state).no_delay =
            if bits == MISSING { UNKNOWN } else { u64::from(read::<u8>(sock + bits)) & NO_DELAY_BITS };
    }
}

/// Packets that were dropped for a socket. Newer kernels count those of UDP in two places beside the socket.
#[inline(always)]
fn drops(sock: u64) -> u64 {
    let apart = of::OF_DROP_COUNTERS.load();
    if apart != MISSING {
        let counters: u64 = read(sock + apart);
        if counters != 0 {
            let [first, second] =
                [of::OF_DROPS_0.load(), of::OF_DROPS_1.load()].map(|at| read(counters + at));
            return u64::from(u32::wrapping_add(first, second));
        }
    }
    word(sock, of::OF_DROPS.load())
}

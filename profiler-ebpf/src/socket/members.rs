//! Where the members of kernel structures are, in bytes: from the types of the running kernel.

use aya_ebpf::Global;
use profiler_common::socket::UNKNOWN;

use crate::{
    file::{read, typed},
    task::member,
};

/// The kernel has no such member.
pub(super) const MISSING: u64 = u64::MAX;
const _: () = assert!(MISSING == UNKNOWN);

/// Number of the kernel's type `struct tcp_sock`; 0: programs cannot say what is at an address, see [`typed`].
#[unsafe(no_mangle)]
static TYPE_TCP: Global<u32> = Global::new(0);
/// The same for `struct udp_sock`.
#[unsafe(no_mangle)]
static TYPE_UDP: Global<u32> = Global::new(0);

/// A member that only sockets of one kind have.
#[inline(always)]
fn of_kind<T: Copy>(sock: *const u8, kind: u32, offset: u64) -> T {
    if kind != 0 && offset != MISSING {
        // SAFETY: the verifier knows the type, and makes loads safe.
        unsafe { member(typed::cast(sock as u64, kind), offset) }
    } else {
        read((sock as u64).wrapping_add(offset))
    }
}

/// A member of `struct tcp_sock`.
#[inline(always)]
pub(super) fn of_tcp<T: Copy>(sock: *const u8, offset: u64) -> T {
    of_kind(sock, TYPE_TCP.load(), offset)
}

/// A member of `struct udp_sock`.
#[inline(always)]
pub(super) fn of_udp<T: Copy>(sock: *const u8, offset: u64) -> T {
    of_kind(sock, TYPE_UDP.load(), offset)
}

macro_rules! members {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] pub(super) static $name: Global<u64> = Global::new(MISSING);)*
    };
}

members! {
    /// `socket.sk`
    OF_SOCKET_SOCK,
    /// From a `struct socket` to `i_ino` of the inode beside it (`struct socket_alloc`).
    OF_SOCKET_INODE,
    /// `net.ns.inum`
    OF_NET_INODE,
    /// `sock_common.skc_family`
    OF_FAMILY,
    /// `sock_common.skc_state`
    OF_STATE,
    /// `sock_common.skc_cookie`
    OF_COOKIE,
    /// `sock_common.skc_net.net`
    OF_NET,
    /// `sock_common.skc_num`
    OF_PORT,
    /// `sock.sk_socket`
    OF_SOCKET,
    /// `sock.sk_type`
    OF_TYPE,
    /// `sock.sk_protocol`
    OF_PROTOCOL,
    /// `sock.sk_err`
    OF_ERROR,
    /// `sock.sk_receive_queue.next`
    OF_QUEUE_FIRST,
    /// `sock.sk_receive_queue.prev`
    OF_QUEUE_LAST,
    /// `sock.sk_receive_queue.qlen`
    OF_QUEUE_LENGTH,
    /// `sock.sk_backlog.rmem_alloc`
    OF_RECEIVE_MEMORY,
    /// `sock.sk_wmem_alloc`
    OF_SEND_MEMORY,
    /// `sock.sk_rcvbuf`
    OF_RECEIVE_LIMIT,
    /// `sock.sk_sndbuf`
    OF_SEND_LIMIT,
    /// `sock.sk_drops`
    OF_DROPS,
    /// `sock.sk_drop_counters` (Linux 6.18)
    OF_DROP_COUNTERS,
    /// `numa_drop_counters.drops0`
    OF_DROPS_0,
    /// `numa_drop_counters.drops1`
    OF_DROPS_1,
    /// `sock.sk_ack_backlog`
    OF_BACKLOG,
    /// `sock.sk_max_ack_backlog`
    OF_BACKLOG_LIMIT,
    /// `inet_sock.inet_sport`
    OF_SOURCE_PORT,
    /// `udp_sock.reader_queue.next`
    OF_READER_FIRST,
    /// `udp_sock.forward_deficit`
    OF_DEFICIT,
    /// `unix_sock.inq_len` (Linux 6.17)
    OF_UNIX_QUEUED,
    /// `tcp_sock.rcv_nxt`
    OF_RECEIVED_TO,
    /// `tcp_sock.copied_seq`
    OF_READ_TO,
    /// `tcp_sock.write_seq`
    OF_WRITTEN_TO,
    /// `tcp_sock.snd_una`
    OF_ACKED_TO,
    /// `tcp_sock.srtt_us`
    OF_SRTT,
    /// `tcp_sock.rtt_min.s[0].v`
    OF_RTT_MIN,
    /// `tcp_sock.snd_cwnd`
    OF_CONGESTION_WINDOW,
    /// `tcp_sock.snd_wnd`
    OF_PEER_WINDOW,
    /// `tcp_sock.total_retrans`
    OF_RETRANSMITS,
    /// `tcp_sock.bytes_acked`
    OF_BYTES_ACKED,
    /// `tcp_sock.bytes_received`
    OF_BYTES_RECEIVED,
    /// `tcp_sock.bytes_sent`
    OF_BYTES_SENT,
    /// `tcp_sock.segs_in`
    OF_SEGMENTS_IN,
    /// `tcp_sock.segs_out`
    OF_SEGMENTS_OUT,
    /// `tcp_sock.lost_out`
    OF_LOST,
    /// `sk_buff.cb`, and there `tcp_skb_cb.seq`
    OF_SEGMENT_BEGIN,
    /// The same for `tcp_skb_cb.end_seq`
    OF_SEGMENT_END,
    /// The byte with `tcp_sock.nonagle`, which has its lowest four bits.
    OF_NO_DELAY,
}

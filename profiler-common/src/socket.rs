//! Sockets of observed processes: what state they are in, and what happened to them.
//!
//! A socket is known by its cookie: a number that the kernel gives it at the first question for it, and to no other socket until the next
//! boot (`SO_COOKIE`; `ss -e` prints it after `sk:`).

use crate::{counters, file::Addresses, histogram::BUCKETS, wire};

/// In place of a value: the kernel does not have it, or it does not apply to a socket of this kind.
pub const UNKNOWN: u64 = u64::MAX;

/// Slots by which the sockets of targets are found at once, a power of two. The slot of a socket is its cookie, modulo their number.
pub const SOCKET_SLOTS: usize = 1 << 14;

/// Buckets for the time since the last read, when a datagram was dropped: bucket `n` is for `2^n` microseconds and more, bucket 0 also for
/// less.
pub const GAP_BUCKETS: usize = 32;

/// Flag: several targets have descriptors for it.
pub const SHARED: u64 = 1;
/// Flag: it was accepted by a target, as its port says; no process has been seen to use it yet.
pub const BY_PORT: u64 = 2;
/// Flag: its state was read when it was closed, and does not change any more.
pub const CLOSED: u64 = 4;
/// Flag: it is known since it began to connect or to listen, or was accepted: all that it counts happened meanwhile.
pub const FROM_START: u64 = 8;

wire! {
    /// State of a socket at one moment. Each value may be [`UNKNOWN`].
    pub struct SocketState {
        /// When it was read, on the monotonic clock in nanoseconds.
        pub at_ns: u64,
        /// Bytes that wait to be read: of TCP without the headers; of others with the overhead of the kernel's buffers. Of a socket that
        /// listens: connections that wait to be accepted.
        pub receive_queue: u64,
        /// Memory that is accounted to the receive buffer, in bytes: what is compared with its limit.
        pub receive_memory: u64,
        /// `SO_RCVBUF`, as the kernel has it, in bytes.
        pub receive_limit: u64,
        /// Of TCP: bytes that were written and not yet acknowledged. Of others: memory of what was sent and has not left yet, in bytes. Of a
        /// socket that listens: how many connections may wait.
        pub send_queue: u64,
        /// `SO_SNDBUF`, as the kernel has it, in bytes.
        pub send_limit: u64,
        /// Packets that were dropped for it; of a socket that listens: connections that were not taken.
        pub drops: u64,
        /// The error that the next call gets.
        pub error: u64,
        /// TCP: smoothed round-trip time, in microseconds; 0: not measured.
        pub srtt_us: u64,
        /// TCP: the least round-trip time of the last minutes, in microseconds; `u32::MAX`: not measured.
        pub rtt_min_us: u64,
        /// TCP: congestion window, in segments.
        pub congestion_window: u64,
        /// TCP: the window that the peer offers, in bytes.
        pub peer_window: u64,
        /// TCP: segments that were sent again.
        pub retransmits: u64,
        /// TCP: bytes that the peer has acknowledged.
        pub bytes_acked: u64,
        /// TCP: bytes that arrived in order.
        pub bytes_received: u64,
        /// TCP: bytes that were sent, those that were sent again included.
        pub bytes_sent: u64,
        /// TCP: segments that arrived.
        pub segments_in: u64,
        /// TCP: segments that were sent, those that were sent again included.
        pub segments_out: u64,
        /// TCP: segments that are deemed lost now.
        pub lost: u64,
        /// TCP: bit 0: `TCP_NODELAY`; bit 1: `TCP_CORK`; bit 2: the last piece is pushed out.
        pub no_delay: u64,
    }
}

wire! {
    /// What happened to a socket since it is observed. What changes with each packet comes first, because of [`SocketRecord`].
    pub struct SocketEvents {
        /// Since when the marked data waits, on the monotonic clock in nanoseconds, like the next ones; 0: nothing is marked.
        pub marked_ns: u64,
        /// What is marked: of UDP the address of a buffer, of TCP the number of the last byte.
        pub mark: u64,
        /// Times when the kernel said that there is something to read.
        pub announced: u64,
        /// The most bytes that were seen in its receive queue, counted as in [`SocketState::receive_queue`] of TCP and
        /// [`SocketState::receive_memory`] of others; of a socket that listens: connections that waited.
        pub queue_max: u64,
        /// Times when something was read.
        pub reads: u64,
        /// When it was last read; 0: not yet.
        pub last_read_ns: u64,
        /// When `queue_max` was seen.
        pub queue_max_ns: u64,
        /// Number of the histogram of ages; 0: none.
        pub histogram: u64,
        /// Ages that were measured.
        pub ages: u64,
        /// The sum of `ages`, in nanoseconds.
        pub age_total_ns: u64,
        /// The highest age, in nanoseconds.
        pub age_max_ns: u64,
        /// When it was measured.
        pub age_max_at_ns: u64,
        /// Those of `ages` that are in no histogram.
        pub without_histogram: u64,
        /// UDP: when the last datagram was dropped.
        pub last_drop_ns: u64,
        /// When it began to connect; 0: not seen.
        pub connecting_ns: u64,
        /// When its connection was established.
        pub established_ns: u64,
        /// When it was closed.
        pub closed_ns: u64,
        /// The state that it was in before.
        pub closed_from: u64,
        /// How often it began to connect.
        pub attempts: u64,
        /// Attempts that the peer refused.
        pub refused: u64,
        /// Attempts that nobody answered in time.
        pub timed_out: u64,
        /// Attempts that failed for another reason, or were given up.
        pub failed: u64,
        /// TCP: times that something was sent again: a buffer with one or more segments.
        pub retransmits: u64,
        /// TCP: resets that arrived.
        pub resets_received: u64,
        /// TCP: resets that were sent.
        pub resets_sent: u64,
        /// UDP: datagrams that were dropped because the receive buffer was full.
        pub overruns: u64,
        /// UDP: datagrams that were dropped because the kernel had no memory for them.
        pub no_memory: u64,
        /// UDP: dropped datagrams by the time since the socket was last read.
        pub drop_gaps: [u32; GAP_BUCKETS],
    }
}

wire! {
    /// A socket. Packets often arrive on another processor than that of the reader, and each of them waits for the other to hand over what both
    /// write: that is in one line of the cache, with what both read, and what only readers write is in the next.
    pub struct SocketRecord {
        /// [`SHARED`] and others.
        pub flags: u64,
        /// [`TCP`] or [`UDP`]; 0: it is of another kind.
        pub protocol: u64,
        /// What happened.
        pub events: SocketEvents,
        /// The inode of its file; 0: none is known.
        pub inode: u64,
        /// Address of its `struct sock` in the kernel, which another one may get once it is closed.
        pub address: u64,
        /// Inode of its network namespace.
        pub network: u64,
        /// The last look that found it among the descriptors of a target; 0: none.
        pub look: u64,
        /// The address space of the target that has it.
        pub space: u32,
        /// A descriptor of that target for it, at the last look.
        pub descriptor: u32,
        /// Its addresses and its state.
        pub addresses: Addresses,
        /// State at the last look, or when it was closed.
        pub state: SocketState,
    }
}

/// Bytes of a line of the processor's cache.
const LINE: usize = 64;
const EVENTS: usize = core::mem::offset_of!(SocketRecord, events);
const _: () = assert!(EVENTS + core::mem::offset_of!(SocketEvents, last_read_ns) + 8 == LINE);
const _: () = assert!(EVENTS + core::mem::offset_of!(SocketEvents, last_drop_ns) + 8 == 2 * LINE);

wire! {
    /// Ages of data when it was read.
    pub struct SocketAges {
        /// Cookie of the socket; 0: the histogram is free.
        pub owner: u64,
        /// Number of ages, in nanoseconds, by bucket, as [`histogram`](crate::histogram) divides them.
        pub counts: [u64; BUCKETS],
    }
}

wire! {
    /// Key of a number of dropped packets.
    pub struct DropKey {
        /// Cookie of the socket.
        pub cookie: u64,
        /// `enum skb_drop_reason` of the kernel.
        pub reason: u64,
    }
}

wire! {
    /// Key of a socket that listens.
    pub struct PortKey {
        /// Address of its network namespace in the kernel.
        pub network: u64,
        /// Its port.
        pub port: u64,
    }
}

/// `IPPROTO_TCP` (include/uapi/linux/in.h).
pub const TCP: u64 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u64 = 17;
/// States of TCP sockets (include/net/tcp_states.h); sockets of other protocols have them, too.
pub const ESTABLISHED: u64 = 1;
/// It connects.
pub const SYN_SENT: u64 = 2;
/// A connection that is not established yet.
pub const SYN_RECV: u64 = 3;
/// It is closed, or not connected yet.
pub const CLOSE: u64 = 7;

/// Whether the peer of a TCP socket in this state has ended what it sends. The end counts as a byte that is never read.
#[must_use]
#[inline(always)]
pub const fn has_peer_ended(state: u64) -> bool {
    const TIME_WAIT: u64 = 6;
    const CLOSE_WAIT: u64 = 8;
    const LAST_ACK: u64 = 9;
    const CLOSING: u64 = 11;
    matches!(state, TIME_WAIT | CLOSE_WAIT | LAST_ACK | CLOSING)
}

counters! {
    probes {
        /// A descriptor of a target, at each look.
        Look = "sockets_look",
        /// A socket changes its state.
        State = "inet_sock_set_state",
        /// The kernel announces data; before Linux 6.3: a segment of TCP arrives.
        Ready = "arrival",
        /// A call has received.
        Received = "sock_recv_length",
        /// TCP data was read.
        Read = "tcp_rcv_space_adjust",
        /// A packet is dropped.
        Dropped = "kfree_skb",
        /// A datagram finds no room.
        Overrun = "udp_fail_queue_rcv_skb",
        /// A segment is sent again.
        Retransmit = "tcp_retransmit_skb",
        /// A reset arrives.
        ResetIn = "tcp_receive_reset",
        /// A reset is sent.
        ResetOut = "tcp_send_reset",
    }

    /// Descriptors that were looked at and refer to sockets.
    LookHits = "hits" in Look as Hits,
    /// The state was read.
    Looked = "read" in Look as Recorded,
    /// There was no room for the socket.
    LookLost = "lost_socket" in Look as Lost,
    /// Its process is not observed any more.
    LookOther = "of_others" in Look as Filtered,

    /// Changes of state of sockets of targets.
    StateHits = "hits" in State as Hits,
    /// The change was recorded.
    StateRecorded = "recorded" in State as Recorded,
    /// There was no room for the socket.
    StateLost = "lost_socket" in State as Lost,
    /// A socket listens, and there is no room for its port: connections that it accepts are not known before the next look.
    ListenerLost = "listener_without_room" in State as Quality,

    /// Announcements.
    ReadyHits = "hits" in Ready as Hits,
    /// The announcement was counted.
    ReadyRecorded = "recorded" in Ready as Recorded,
    /// It is of another socket.
    ReadyOther = "of_others" in Ready as Filtered,

    /// Receiving calls.
    ReceivedHits = "hits" in Received as Hits,
    /// The call was counted.
    ReceivedRecorded = "recorded" in Received as Recorded,
    /// It is of another socket, a process that is not observed has received, it has received nothing, or it only peeked.
    ReceivedOther = "of_others" in Received as Filtered,
    /// An age is in no histogram, because none was left.
    WithoutHistogram = "age_not_in_histogram" in Received as Quality,

    /// Reads of TCP.
    ReadHits = "hits" in Read as Hits,
    /// The read was counted.
    ReadRecorded = "recorded" in Read as Recorded,
    /// It is of another socket, or a process that is not observed reads.
    ReadOther = "of_others" in Read as Filtered,

    /// Dropped packets.
    DroppedHits = "hits" in Dropped as Hits,
    /// The packet was counted by its reason.
    DroppedRecorded = "recorded" in Dropped as Recorded,
    /// It is of another socket.
    DroppedOther = "of_others" in Dropped as Filtered,
    /// There was no room for the reason.
    DroppedLost = "lost_reason" in Dropped as Lost,

    /// Datagrams without room.
    OverrunHits = "hits" in Overrun as Hits,
    /// The datagram was counted.
    OverrunRecorded = "recorded" in Overrun as Recorded,
    /// It is of another socket.
    OverrunOther = "of_others" in Overrun as Filtered,

    /// Segments that are sent again.
    RetransmitHits = "hits" in Retransmit as Hits,
    /// The segment was counted.
    RetransmitRecorded = "recorded" in Retransmit as Recorded,
    /// It is of another socket.
    RetransmitOther = "of_others" in Retransmit as Filtered,

    /// Resets that arrive.
    ResetInHits = "hits" in ResetIn as Hits,
    /// The reset was counted.
    ResetInRecorded = "recorded" in ResetIn as Recorded,
    /// It is of another socket.
    ResetInOther = "of_others" in ResetIn as Filtered,

    /// Resets that are sent.
    ResetOutHits = "hits" in ResetOut as Hits,
    /// The reset was counted.
    ResetOutRecorded = "recorded" in ResetOut as Recorded,
    /// It is of another socket.
    ResetOutOther = "of_others" in ResetOut as Filtered,
}

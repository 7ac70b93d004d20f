//! What is known of a socket. Wire types end here, except for addresses.

use profiler_common::{
    file::{Addresses, TCP_LISTEN},
    socket::{
        BY_PORT, CLOSED, FROM_START, GAP_BUCKETS, SHARED, SocketEvents, SocketRecord, SocketState, UNKNOWN,
    },
};

/// A socket at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// A number that no other socket has until the next boot.
    pub(crate) cookie: u64,
    /// The inode of its file, by which system calls and `/proc/PID/fd` name it.
    pub(crate) inode: Option<u64>,
    /// Inode of its network namespace.
    pub(crate) network: u64,
    /// The address space of the target that has it, or had it last.
    pub(crate) space: u16,
    /// A descriptor for it, at the last look that found one.
    pub(crate) descriptor: Option<u32>,
    /// Several targets have descriptors for it.
    pub(crate) is_shared: bool,
    /// A target is presumed to have it only because it listens at its port: no process was seen to use it.
    pub(crate) is_by_port: bool,
    /// It is known since it began to connect or to listen, or was accepted.
    pub(crate) is_from_start: bool,
    /// It was closed while it was observed.
    pub(crate) is_closed: bool,
    /// `IPPROTO_TCP` or `IPPROTO_UDP`; 0: it is of another kind.
    pub(crate) protocol: u16,
    pub(crate) addresses: Addresses,
    pub(crate) state: State,
    pub(crate) events: Events,
}

macro_rules! state {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// State of a socket at one moment. `None`: the kernel does not have the value ([`Lack`](super::members::Lack) says so), or it does not
        /// apply to a socket of this kind.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub(crate) struct State {
            /// When it was read, on the monotonic clock in nanoseconds; 0: never.
            pub(crate) at_ns: u64,
            $($(#[$doc])* pub(crate) $field: Option<u64>,)*
        }

        impl State {
            /// That of a socket that has just begun: everything that is counted is 0. Other values mean nothing.
            pub(crate) fn beginning() -> State {
                State { at_ns: 0, $($field: Some(0),)* }
            }

            fn of(state: &SocketState) -> State {
                let value = |value: u64| (state.at_ns != 0 && value != UNKNOWN).then_some(value);
                State { at_ns: state.at_ns, $($field: value(state.$field),)* }
            }
        }
    };
}

state! {
    /// See [`SocketState::receive_queue`], and so on.
    receive_queue,
    receive_memory,
    receive_limit,
    send_queue,
    send_limit,
    drops,
    error,
    srtt_us,
    rtt_min_us,
    congestion_window,
    peer_window,
    retransmits,
    bytes_acked,
    bytes_received,
    bytes_sent,
    segments_in,
    segments_out,
    lost,
    no_delay,
}

/// What happened to a socket since it is observed. Times are those of the monotonic clock in nanoseconds; `None`: it did not happen, or was
/// not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Events {
    pub(crate) connecting_ns: Option<u64>,
    pub(crate) established_ns: Option<u64>,
    pub(crate) closed_ns: Option<u64>,
    /// The TCP state that it was closed in.
    pub(crate) closed_from: Option<u64>,
    /// How often it began to connect, and attempts that were refused, found no answer in time, or failed otherwise.
    pub(crate) attempts: u64,
    pub(crate) refused: u64,
    pub(crate) timed_out: u64,
    pub(crate) failed: u64,
    /// Times that something was sent again: a buffer with one or more segments.
    pub(crate) retransmits: u64,
    pub(crate) resets_received: u64,
    pub(crate) resets_sent: u64,
    /// Datagrams that were dropped because the receive buffer was full, and because the kernel had no memory.
    pub(crate) overruns: u64,
    pub(crate) no_memory: u64,
    pub(crate) last_drop_ns: Option<u64>,
    /// Dropped datagrams by the time since the last read: `2^n` microseconds and more. Those before the first read are in none.
    pub(crate) drop_gaps: [u32; GAP_BUCKETS],
    /// Times when the kernel announced data.
    pub(crate) announced: u64,
    /// Times when something was read; of UDP the number of datagrams.
    pub(crate) reads: u64,
    pub(crate) last_read_ns: Option<u64>,
    /// The most that was seen in the receive queue, and when.
    pub(crate) queue_max: u64,
    pub(crate) queue_max_ns: Option<u64>,
    /// Since when the marked data waits.
    pub(crate) waiting_since_ns: Option<u64>,
    /// Ages that were measured, those of them that are in no histogram, their sum and the highest one with its time.
    pub(crate) ages: u64,
    pub(crate) ages_without_histogram: u64,
    pub(crate) age_total_ns: u64,
    pub(crate) age_max_ns: u64,
    pub(crate) age_max_at_ns: Option<u64>,
}

impl Events {
    fn of(events: &SocketEvents) -> Events {
        let time = |ns: u64| (ns != 0).then_some(ns);
        Events {
            connecting_ns: time(events.connecting_ns),
            established_ns: time(events.established_ns),
            closed_ns: time(events.closed_ns),
            closed_from: time(events.closed_ns).map(|_| events.closed_from),
            attempts: events.attempts,
            refused: events.refused,
            timed_out: events.timed_out,
            failed: events.failed,
            retransmits: events.retransmits,
            resets_received: events.resets_received,
            resets_sent: events.resets_sent,
            overruns: events.overruns,
            no_memory: events.no_memory,
            last_drop_ns: time(events.last_drop_ns),
            drop_gaps: events.drop_gaps,
            announced: events.announced,
            reads: events.reads,
            last_read_ns: time(events.last_read_ns),
            queue_max: events.queue_max,
            queue_max_ns: time(events.queue_max_ns),
            waiting_since_ns: time(events.marked_ns),
            ages: events.ages,
            ages_without_histogram: events.without_histogram,
            age_total_ns: events.age_total_ns,
            age_max_ns: events.age_max_ns,
            age_max_at_ns: time(events.age_max_at_ns),
        }
    }

    /// How long it took to connect, in nanoseconds. `None`: it did not, or it began before the observation.
    pub(crate) fn connect_ns(&self) -> Option<u64> {
        self.established_ns?.checked_sub(self.connecting_ns?)
    }

    /// How long the connection lasted, in nanoseconds. `None`: it lasts, or its beginning or its end was not seen.
    #[cfg(feature = "lab")]
    pub(crate) fn lifetime_ns(&self) -> Option<u64> {
        self.closed_ns?.checked_sub(self.established_ns?)
    }
}

impl Socket {
    /// Whether it listens, or did so until it was closed.
    pub(crate) fn is_listener(&self) -> bool {
        self.addresses.state == TCP_LISTEN || self.is_closed && self.events.closed_from == Some(TCP_LISTEN)
    }

    /// From what the kernel side has.
    pub(crate) fn of(cookie: u64, record: &SocketRecord) -> Socket {
        Socket {
            cookie,
            inode: (record.inode != 0).then_some(record.inode),
            network: record.network,
            space: record.space as u16,
            descriptor: (record.look != 0).then_some(record.descriptor),
            is_shared: record.flags & SHARED != 0,
            is_by_port: record.flags & BY_PORT != 0,
            is_from_start: record.flags & FROM_START != 0,
            is_closed: record.flags & CLOSED != 0,
            protocol: record.protocol as u16,
            addresses: record.addresses,
            state: State::of(&record.state),
            events: Events::of(&record.events),
        }
    }
}

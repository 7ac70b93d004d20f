//! What follows from the record of a socket.

use profiler_common::file::{
    AF_INET, AF_INET6, Addresses, SOCK_DGRAM, SOCK_STREAM,
    socket::{Side, Socket},
};
use profiler_common::socket::CLOSE;

/// Whether the service of a socket stays the same until it is connected to another peer.
#[inline(always)]
pub(super) unsafe fn is_settled(of: *const Socket) -> bool {
    // SAFETY: the caller vouches for the place.
    let (side, kind) = unsafe { ((*of).side, (*of).addresses.kind) };
    let is_named = side == Side::Serves as u64 || side == Side::Calls as u64 || side == Side::Bound as u64;
    // A Unix socket of datagrams may be given a name at any time.
    is_named || side == Side::Unnamed as u64 && kind != SOCK_DGRAM
}

/// Whether a socket has been connected, and is no longer.
#[inline(always)]
pub(super) unsafe fn has_ended(of: *const Addresses) -> bool {
    // SAFETY: the caller vouches for the place.
    unsafe {
        (*of).kind == SOCK_STREAM
            && (*of).state == CLOSE
            && ((*of).family == AF_INET || (*of).family == AF_INET6)
            && ((*of).local_port == 0) != ((*of).remote_port == 0)
    }
}

/// Whether a socket has moved something with another peer than the one that it has now.
#[inline(always)]
pub(super) unsafe fn has_another_peer(known: *const Socket, now: *const Addresses) -> bool {
    // SAFETY: the caller vouches for both.
    unsafe {
        let before = &raw const (*known).addresses;
        let words = |of: *const Addresses| {
            let remote = (&raw const (*of).remote).cast::<u64>();
            (remote.read_unaligned(), remote.add(1).read_unaligned())
        };
        (*before).remote_port != 0
            && ((*known).sent | (*known).received) != 0
            && ((*before).remote_port != (*now).remote_port || words(before) != words(now))
    }
}

//! Changes of state, drops, retransmits and resets.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, macros::map, maps::HashMap};
use profiler_common::{
    file::TCP_LISTEN,
    socket::{
        BY_PORT, CLOSE, CLOSED, Counter, DropKey, ESTABLISHED, FROM_START, GAP_BUCKETS, SYN_RECV, SYN_SENT,
        SocketRecord,
    },
};

use super::{
    BPF_F_NO_PREALLOC, BPF_NOEXIST, LISTENERS, SOCKET_STATES, adopt, count_both, current_space, find,
    keep_queue, known, look, members as of, state,
};
use crate::{atomic, file::read, task::member};

const ENOMEM: i32 = 12;
const ETIMEDOUT: u32 = 110;
const ECONNREFUSED: u32 = 111;
const NS_PER_US: u64 = 1000;

/// Dropped packets by socket and reason. The loader sets the size.
#[map]
static SOCKET_DROPS: HashMap<DropKey, u64> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);

/// An argument of a typed tracepoint.
///
/// # Safety
/// `ctx` is the context of the program, and has such an argument, which is no pointer.
#[inline(always)]
unsafe fn argument(ctx: *mut c_void, index: usize) -> u64 {
    // SAFETY: the caller vouches for the context.
    unsafe { ctx.cast::<u64>().add(index).read_volatile() }
}

/// A socket among the arguments.
///
/// # Safety
/// As for [`argument`]; it is a pointer.
#[inline(always)]
unsafe fn pointer(ctx: *mut c_void, index: usize) -> *const u8 {
    // SAFETY: the caller vouches for the context.
    unsafe { ctx.cast::<*const u8>().add(index).read_volatile() }
}

/// `inet_sock_set_state(sk, oldstate, newstate)`.
///
/// # Safety
/// `ctx` is the context of a program at this tracepoint, as for the next ones.
#[inline(always)]
pub unsafe fn state_changed(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = pointer(ctx, 0);
        let (old, new) = (argument(ctx, 1) & 0xff, argument(ctx, 2) & 0xff);
        let found = match known(sock) {
            Some(record) => Ok(record),
            None => begin(sock, old, new),
        };
        let record = match found {
            Ok(record) => record,
            Err(Passed::OfOther) => return,
            Err(Passed::NoRoom) => return count_both(Counter::StateHits, Counter::StateLost),
        };
        count_both(Counter::StateHits, Counter::StateRecorded);
        (*record).addresses.state = new;
        change(sock, record, old, new);
    }
}

/// Why a change of state is not recorded.
enum Passed {
    /// The socket is of no target, or the change is of no interest.
    OfOther,
    /// There is no room for the socket.
    NoRoom,
}

/// A socket that was not known before. Only processes connect and listen; a connection is accepted in an interrupt, for any process.
#[inline(always)]
unsafe fn begin(sock: *const u8, old: u64, new: u64) -> Result<*mut SocketRecord, Passed> {
    // SAFETY: the caller vouches for the socket.
    unsafe {
        let space = match new {
            SYN_SENT | TCP_LISTEN => current_space().map(|space| (space, FROM_START)),
            ESTABLISHED if old == SYN_RECV => {
                listener(sock as u64).map(|of| ((*of).space, FROM_START | BY_PORT))
            }
            _ => None,
        };
        let (space, flags) = space.ok_or(Passed::OfOther)?;
        adopt(sock, space, flags).map(|(_, record)| record).ok_or(Passed::NoRoom)
    }
}

/// The socket that listens where a connection was accepted, if it is one of a target.
#[inline(always)]
fn listener(accepted: u64) -> Option<*mut SocketRecord> {
    let cookie = LISTENERS.get_ptr(look::port(accepted))?;
    // SAFETY: a map value.
    SOCKET_STATES.get_ptr_mut(unsafe { *cookie })
}

#[inline(always)]
unsafe fn change(sock: *const u8, record: *mut SocketRecord, old: u64, new: u64) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let address = sock as u64;
        let now = bpf_ktime_get_ns();
        let events = &raw mut (*record).events;
        if (*record).inode == 0 {
            // One that was accepted has its file only when it is.
            (*record).inode = state::inode(read(address + of::OF_SOCKET.load()));
        }
        match new {
            SYN_SENT => {
                (*record).flags &= !CLOSED;
                (*events).attempts += 1;
                (*events).connecting_ns = now;
                (*events).established_ns = 0;
                (*events).closed_ns = 0;
                state::read_addresses(address, record);
            }
            ESTABLISHED => {
                (*events).established_ns = now;
                state::read_addresses(address, record);
                if old == SYN_RECV {
                    count_waiting(address, now);
                }
            }
            TCP_LISTEN => {
                state::read_addresses(address, record);
                look::listen(record, address, member(sock, of::OF_COOKIE.load()));
            }
            CLOSE => {
                (*events).closed_ns = now;
                (*events).closed_from = old;
                (*record).flags |= CLOSED;
                state::read_source_port(address, record);
                if old == SYN_SENT {
                    let failure = match member::<u32>(sock, of::OF_ERROR.load()) {
                        ECONNREFUSED => &raw mut (*events).refused,
                        ETIMEDOUT => &raw mut (*events).timed_out,
                        _ => &raw mut (*events).failed,
                    };
                    *failure += 1;
                }
                if old == TCP_LISTEN {
                    look::stop_listening(record, address, member(sock, of::OF_COOKIE.load()));
                }
                state::read_state(address, record);
            }
            _ => {}
        }
    }
}

/// Connections that wait to be accepted, after one more: only accepting lowers their number.
#[inline(always)]
unsafe fn count_waiting(accepted: u64, now: u64) {
    let Some(listener) = listener(accepted) else { return };
    // SAFETY: map values.
    unsafe {
        let waiting: u32 = read((*listener).address + of::OF_BACKLOG.load());
        keep_queue(listener, waiting.into(), now);
    }
}

/// `udp_fail_queue_rcv_skb(rc, sk, ...)`: a datagram finds no room.
///
/// # Safety
/// As for [`state_changed`].
#[inline(always)]
pub unsafe fn overrun(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = pointer(ctx, 1);
        let Some(found) = find(sock, Counter::OverrunHits, Counter::OverrunOther) else { return };
        found.ledger.count(Counter::OverrunRecorded);
        let events = &raw mut (*found.record).events;
        let now = bpf_ktime_get_ns();
        let is_full = argument(ctx, 0) as i32 == -ENOMEM;
        atomic::add(if is_full { &raw mut (*events).overruns } else { &raw mut (*events).no_memory }, 1);
        (*events).last_drop_ns = now;
        let last = (&raw const (*events).last_read_ns).read_volatile();
        if is_full && last != 0 {
            // Before there was something to read, the reader was not late.
            let marked = (&raw const (*events).marked_ns).read_volatile();
            let since = if marked > last { marked } else { last };
            let bucket = (63 - ((now.saturating_sub(since) / NS_PER_US) | 1).leading_zeros()) as usize;
            let gaps = (&raw mut (*events).drop_gaps).cast::<u32>();
            atomic::add_word(gaps.add(bucket & (GAP_BUCKETS - 1)), 1);
        }
        let memory: u32 = member(sock, of::OF_RECEIVE_MEMORY.load());
        keep_queue(found.record, memory.into(), now);
    }
}

/// `kfree_skb(skb, location, reason, rx_sk)` (Linux 6.11): a packet is dropped.
///
/// # Safety
/// As for [`state_changed`].
#[inline(always)]
pub unsafe fn dropped(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = pointer(ctx, 3);
        if sock.is_null() {
            return;
        }
        let Some(found) = find(sock, Counter::DroppedHits, Counter::DroppedOther) else { return };
        let key = DropKey { cookie: found.cookie, reason: argument(ctx, 2) & u64::from(u32::MAX) };
        if SOCKET_DROPS.get_ptr_mut(key).is_none() {
            let _ = SOCKET_DROPS.insert(key, 0, BPF_NOEXIST);
        }
        let Some(count) = SOCKET_DROPS.get_ptr_mut(key) else {
            return found.ledger.count(Counter::DroppedLost);
        };
        atomic::add(count, 1);
        found.ledger.count(Counter::DroppedRecorded);
    }
}

/// `tcp_retransmit_skb(sk, ...)`: a segment, or several in one buffer, are sent again.
///
/// # Safety
/// As for [`state_changed`].
#[inline(always)]
pub unsafe fn retransmitted(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = pointer(ctx, 0);
        let Some(found) = find(sock, Counter::RetransmitHits, Counter::RetransmitOther) else { return };
        atomic::add(&raw mut (*found.record).events.retransmits, 1);
        found.ledger.count(Counter::RetransmitRecorded);
    }
}

/// `tcp_receive_reset(sk)`: a reset arrives.
///
/// # Safety
/// As for [`state_changed`].
#[inline(always)]
pub unsafe fn reset_received(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = pointer(ctx, 0);
        let Some(found) = find(sock, Counter::ResetInHits, Counter::ResetInOther) else { return };
        atomic::add(&raw mut (*found.record).events.resets_received, 1);
        found.ledger.count(Counter::ResetInRecorded);
    }
}

/// `tcp_send_reset(sk, ...)`: a reset is sent, perhaps for no socket.
///
/// # Safety
/// As for [`state_changed`].
#[inline(always)]
pub unsafe fn reset_sent(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = pointer(ctx, 0);
        if sock.is_null() {
            return;
        }
        let Some(found) = find(sock, Counter::ResetOutHits, Counter::ResetOutOther) else { return };
        atomic::add(&raw mut (*found.record).events.resets_sent, 1);
        found.ledger.count(Counter::ResetOutRecorded);
    }
}

//! How long data waits in the kernel until the process reads it.
//!
//! One piece of data of each socket is marked at a time, when the kernel announces it, and its age is taken when it has been read.
//!
//! - UDP: a datagram that is alone in the queue that the kernel fills: the oldest of those that the process has not begun to take yet. The
//!   reader takes over the whole queue at once into one of its own, so the marked datagram is first in one of the two, or it was read. No
//!   number of reads is relied on: a read that is under way on another CPU does not count for a datagram that it did not take.
//! - Unix: a piece that is alone in the queue, as of UDP; there is one queue only.
//! - TCP: the last byte that was there at the announcement. What arrives while a call works on the socket is announced when that call ends.
//!   Kernels without announcements (before Linux 6.3) say when a segment arrives: then it is its last byte.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, macros::map, maps::Array};
use profiler_common::{
    file::{AF_UNIX, SOCK_STREAM},
    histogram::bucket,
    socket::{BY_PORT, Counter, SocketAges, SocketRecord, TCP, UDP, UNKNOWN, has_peer_ended},
};

use super::{Found, current_space, find, keep_queue, members as of};
use crate::{atomic, call::TAKES_NOTHING, file::read, task::member};

/// Histograms of ages, a power of two. One that belongs to no socket is free.
const HISTOGRAMS: u64 = 1 << 10;

/// Histograms of ages. A socket takes a free one of the four that its cookie leads to; user space gives them back.
#[map]
static SOCKET_AGES: Array<SocketAges> = Array::with_max_entries(HISTOGRAMS as u32, 0);

/// `sk_data_ready(sk)` (Linux 6.3): the kernel announces that there is something to read. Newer kernels do so for UDP only if there was
/// nothing before.
///
/// # Safety
/// `ctx` is the context of a program at this tracepoint, as for the next ones.
#[inline(always)]
pub unsafe fn ready(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = ctx.cast::<*const u8>().read_volatile();
        let Some(Found { record, ledger, .. }) = find(sock, Counter::ReadyHits, Counter::ReadyOther) else {
            return;
        };
        ledger.count(Counter::ReadyRecorded);
        let now = bpf_ktime_get_ns();
        let events = &raw mut (*record).events;
        atomic::add(&raw mut (*events).announced, 1);
        match (*record).protocol {
            TCP => {
                // The end of what the peer sends is counted like a byte, but never read.
                let end = u32::from(has_peer_ended(member::<u8>(sock, of::OF_STATE.load()).into()));
                let to = of::of_tcp::<u32>(sock, of::OF_RECEIVED_TO.load()).wrapping_sub(end);
                mark_tcp(record, sock, to, now);
            }
            UDP => {
                let memory: u32 = member(sock, of::OF_RECEIVE_MEMORY.load());
                keep_queue(record, memory.into(), now);
                mark_only(record, sock, now);
            }
            _ if (*record).addresses.family == AF_UNIX => mark_only(record, sock, now),
            _ => {}
        }
    }
}

/// Marks a piece of data that is alone in the queue.
#[inline(always)]
unsafe fn mark_only(record: *mut SocketRecord, sock: *const u8, now: u64) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let first: u64 = member(sock, of::OF_QUEUE_FIRST.load());
        let last: u64 = member(sock, of::OF_QUEUE_LAST.load());
        // An empty queue points to itself.
        let queue = sock as u64 + of::OF_QUEUE_FIRST.load();
        if first == last && first != queue {
            mark(record, first, now);
        }
    }
}

/// `tcp_probe(sk, skb)`: a segment arrives at an established connection. In place of [`ready`], where the kernel does not announce data.
///
/// # Safety
/// As for [`ready`].
#[inline(always)]
pub unsafe fn tcp_arrived(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let (sock, segment) =
            (ctx.cast::<*const u8>().read_volatile(), ctx.cast::<u64>().add(1).read_volatile());
        let Some(Found { record, ledger, .. }) = find(sock, Counter::ReadyHits, Counter::ReadyOther) else {
            return;
        };
        let begin: u32 = read(segment + of::OF_SEGMENT_BEGIN.load());
        let end: u32 = read(segment + of::OF_SEGMENT_END.load());
        let received: u32 = of::of_tcp(sock, of::OF_RECEIVED_TO.load());
        // Without data, with data that was there before, or with a gap before it.
        if end == begin || end.wrapping_sub(received) as i32 <= 0 || begin.wrapping_sub(received) as i32 > 0 {
            return ledger.count(Counter::ReadyOther);
        }
        ledger.count(Counter::ReadyRecorded);
        atomic::add(&raw mut (*record).events.announced, 1);
        mark_tcp(record, sock, end, bpf_ktime_get_ns());
    }
}

/// Marks the last byte of TCP that can be read, which comes before the number `to`.
#[inline(always)]
unsafe fn mark_tcp(record: *mut SocketRecord, sock: *const u8, to: u32, now: u64) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let waiting = to.wrapping_sub(of::of_tcp(sock, of::OF_READ_TO.load())) as i32;
        if waiting > 0 {
            keep_queue(record, waiting as u64, now);
            mark(record, to.into(), now);
        }
    }
}

/// Marks data, unless something is marked already.
#[inline(always)]
unsafe fn mark(record: *mut SocketRecord, what: u64, now: u64) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        if (&raw const (*record).events.marked_ns).read_volatile() != 0 {
            return;
        }
        (*record).events.mark = what;
        atomic::barrier();
        (&raw mut (*record).events.marked_ns).write_volatile(now);
    }
}

/// `sock_recv_length(sk, ret, flags)` (Linux 6.3): a call has received, or failed to.
///
/// # Safety
/// As for [`ready`].
#[inline(always)]
pub unsafe fn received(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = ctx.cast::<*const u8>().read_volatile();
        // What is read of TCP says another tracepoint: most calls end here, and are no hits.
        if u64::from(member::<u16>(sock, of::OF_PROTOCOL.load())) == TCP
            && member::<u16>(sock, of::OF_TYPE.load()) == SOCK_STREAM
        {
            return;
        }
        let Some(found) = find(sock, Counter::ReceivedHits, Counter::ReceivedOther) else { return };
        let words = ctx.cast::<u64>();
        let (result, flags) = (words.add(1).read_volatile() as i32, words.add(2).read_volatile());
        if result < 0 || flags & TAKES_NOTHING != 0 {
            return found.ledger.count(Counter::ReceivedOther);
        }
        let marked = (&raw const (*found.record).events.marked_ns).read_volatile();
        let is_read = marked != 0 && is_gone(found.record, sock);
        if current_space().is_none() {
            return read_by_other(found, is_read, marked, Counter::ReceivedOther);
        }
        found.ledger.count(Counter::ReceivedRecorded);
        let now = note_read(found.record);
        if is_read {
            take_age(found, marked, now);
        }
    }
}

/// Whether the marked data of a socket of UDP or Unix is in its queues no longer.
#[inline(always)]
unsafe fn is_gone(record: *const SocketRecord, sock: *const u8) -> bool {
    // SAFETY: the caller vouches for both.
    unsafe {
        let is_udp = (*record).protocol == UDP;
        let mark = (*record).events.mark;
        if !is_udp && (*record).addresses.family != AF_UNIX {
            return false;
        }
        member::<u64>(sock, of::OF_QUEUE_FIRST.load()) != mark
            && (!is_udp || of::of_udp::<u64>(sock, of::OF_READER_FIRST.load()) != mark)
    }
}

/// A process that is not observed shares the socket: what it reads was not read by a target.
#[inline(always)]
unsafe fn read_by_other(found: Found, is_read: bool, marked: u64, outcome: Counter) {
    // SAFETY: a map value.
    unsafe {
        if is_read {
            atomic::replace(&raw mut (*found.record).events.marked_ns, marked, 0);
        }
    }
    found.ledger.count(outcome);
}

/// `tcp_rcv_space_adjust(sk)`: a process reads from a TCP socket.
///
/// # Safety
/// As for [`ready`].
#[inline(always)]
pub unsafe fn tcp_read(ctx: *mut c_void) {
    // SAFETY: the caller vouches for the context.
    unsafe {
        let sock = ctx.cast::<*const u8>().read_volatile();
        let Some(found) = find(sock, Counter::ReadHits, Counter::ReadOther) else { return };
        let marked = (&raw const (*found.record).events.marked_ns).read_volatile();
        let read_to: u32 = of::of_tcp(sock, of::OF_READ_TO.load());
        let is_read = marked != 0 && read_to.wrapping_sub((*found.record).events.mark as u32) as i32 >= 0;
        if current_space().is_none() {
            return read_by_other(found, is_read, marked, Counter::ReadOther);
        }
        found.ledger.count(Counter::ReadRecorded);
        let now = note_read(found.record);
        if is_read {
            take_age(found, marked, now);
        }
    }
}

/// Notes that the current process reads from a socket: so it has it.
#[inline(always)]
unsafe fn note_read(record: *mut SocketRecord) -> u64 {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let now = bpf_ktime_get_ns();
        atomic::add(&raw mut (*record).events.reads, 1);
        (&raw mut (*record).events.last_read_ns).write_volatile(now);
        if (*record).flags & BY_PORT != 0
            && let Some(space) = current_space()
        {
            (*record).space = space;
            (*record).flags &= !BY_PORT;
        }
        now
    }
}

/// The marked data was read.
#[inline(always)]
unsafe fn take_age(found: Found, marked: u64, now: u64) {
    // SAFETY: a map value.
    unsafe {
        let events = &raw mut (*found.record).events;
        // Of two threads that read at the same time, one takes it.
        if !atomic::replace(&raw mut (*events).marked_ns, marked, 0) {
            return;
        }
        let age = now.saturating_sub(marked);
        atomic::add(&raw mut (*events).ages, 1);
        atomic::add(&raw mut (*events).age_total_ns, age);
        if age > (*events).age_max_ns {
            (*events).age_max_ns = age;
            (*events).age_max_at_ns = now;
        }
        if (*events).histogram == 0 {
            (*events).histogram = histogram_for(found.cookie);
        }
        // Numbers begin with 1.
        let number = (*events).histogram.wrapping_sub(1);
        let Some(ages) = SOCKET_AGES.get_ptr_mut(if number < HISTOGRAMS { number as u32 } else { u32::MAX })
        else {
            atomic::add(&raw mut (*events).without_histogram, 1);
            return found.ledger.count(Counter::WithoutHistogram);
        };
        atomic::add((&raw mut (*ages).counts).cast::<u64>().add(bucket(age)), 1);
    }
}

/// Takes a free histogram; [`UNKNOWN`]: there is none for this socket.
#[inline(always)]
fn histogram_for(cookie: u64) -> u64 {
    let first = cookie & (HISTOGRAMS - 1);
    for number in [first, first ^ 1, first ^ 2, first ^ 3] {
        if let Some(ages) = SOCKET_AGES.get_ptr_mut(number as u32)
            // SAFETY: a map value.
            && unsafe { atomic::replace(&raw mut (*ages).owner, 0, cookie) }
        {
            return number + 1;
        }
    }
    UNKNOWN
}

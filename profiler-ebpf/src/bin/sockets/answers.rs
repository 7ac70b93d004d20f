//! How long answers take, on sockets of streams: those that the target waits for, and those that it gives.

use profiler_common::{
    file::socket::{DELAYED_END_NS, DELAYED_NS, Side, Socket},
    io::IoThread,
    sockets::{
        ANSWER, ANSWERS, ANSWERS_NS, AWAITED_SENDS, MOST_ANSWERS, OVERLAPPED, PENDING, TURN_ANSWERS,
        TURN_ANSWERS_NS, TURN_AROUND, TURNS,
    },
};
use profiler_ebpf::{
    atomic,
    call::argument,
    file::{self, service},
    io::thread::own,
};

/// The first argument of a receive is its descriptor.
const DESCRIPTOR: u64 = 1;

/// Whether an answer to what was sent on a socket is waited for, by the thread that has sent it.
#[inline(always)]
unsafe fn is_awaited(socket: *const Socket) -> bool {
    // SAFETY: the caller vouches for the socket.
    let sends = unsafe { (&raw const (*socket).sends_in_row).read_volatile() };
    sends > 0 && sends < AWAITED_SENDS
}

/// Bytes were sent.
///
/// # Safety
/// `thread` is the record of the current thread, `socket` a map value.
#[inline(always)]
pub(crate) unsafe fn sent(thread: *mut IoThread, socket: *mut Socket) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let now_ns = (*thread).end_ns;
        let side = (*socket).side;
        let received_ns = (&raw const (*socket).last_received_ns).read_volatile();
        if received_ns != 0 && side == Side::Serves as u64 {
            (*thread).also = ANSWER.into();
            (*thread).also_ns = now_ns.saturating_sub(received_ns);
        }
        let was_awaited = is_awaited(socket);
        (*socket).last_received_ns = 0;
        (*socket).last_sent_ns = now_ns;
        atomic::add(&raw mut (*socket).sends_in_row, 1);
        if side != Side::Calls as u64 {
            return;
        }
        match (was_awaited, is_awaited(socket)) {
            (false, true) => {
                let pending = own(thread, PENDING);
                *pending += 1;
                if *pending > 1 {
                    *own(thread, OVERLAPPED) = 1;
                }
            }
            (true, false) => no_longer_pending(thread),
            _ => {}
        }
    }
}

/// Bytes were received.
///
/// # Safety
/// `thread` is the record of the current thread, `socket` a map value.
#[inline(always)]
pub(crate) unsafe fn received(thread: *mut IoThread, socket: *mut Socket) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let now_ns = (*thread).end_ns;
        let sent_ns = (&raw const (*socket).last_sent_ns).read_volatile();
        // Of several threads that receive at the same time, one has the answer.
        if sent_ns != 0 && atomic::replace(&raw mut (*socket).last_sent_ns, sent_ns, 0) {
            let took_ns = now_ns.saturating_sub(sent_ns);
            if (&raw const (*socket).sends_in_row).read_volatile() > 1 {
                after_several(thread, socket, took_ns);
            }
            if (*socket).side == Side::Calls as u64 {
                answered(thread, socket, took_ns);
                if is_awaited(socket) {
                    no_longer_pending(thread);
                }
            }
        }
        (*socket).sends_in_row = 0;
        (*socket).last_received_ns = now_ns;
    }
}

/// A socket was closed: the answer that is missing will not come.
///
/// # Safety
/// `thread` is the record of the current thread, `socket` a map value.
#[inline(always)]
pub(crate) unsafe fn closed(thread: *mut IoThread, socket: *mut Socket) {
    // SAFETY: the caller vouches for both.
    unsafe {
        if (*socket).last_sent_ns != 0 && (*socket).side == Side::Calls as u64 {
            if is_awaited(socket) {
                no_longer_pending(thread);
            }
            (*socket).last_sent_ns = 0;
            (*socket).sends_in_row = 0;
        }
    }
}

/// The thread waits for one answer fewer. Another thread may have sent what it waits for.
#[inline(always)]
unsafe fn no_longer_pending(thread: *mut IoThread) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let pending = own(thread, PENDING);
        if *pending > 0 {
            *pending -= 1;
        }
    }
}

/// An answer has arrived.
#[inline(always)]
unsafe fn answered(thread: *mut IoThread, socket: *mut Socket, took_ns: u64) {
    // SAFETY: the caller vouches for both.
    unsafe {
        (*thread).also = TURN_AROUND.into();
        (*thread).also_ns = took_ns;
        atomic::add(&raw mut (*socket).turns, 1);
        atomic::add(&raw mut (*socket).turns_ns, took_ns);
        if took_ns > (*socket).longest_turn_ns {
            (*socket).longest_turn_ns = took_ns;
        }
        *own(thread, ANSWERS) += 1;
        *own(thread, ANSWERS_NS) += took_ns;
    }
}

/// Something was received after several sends in a row: if the peer delays the acknowledgement of the first, and the kernel holds the
/// others back until it has come, this takes as long.
#[inline(always)]
unsafe fn after_several(thread: *mut IoThread, socket: *mut Socket, took_ns: u64) {
    // SAFETY: the caller vouches for both.
    unsafe {
        atomic::add(&raw mut (*socket).after_several, 1);
        // The record of an operation of io_uring belongs to no thread: what the socket is set to is not known.
        if (*thread).used == 0 || !(DELAYED_NS / 2..2 * DELAYED_END_NS).contains(&took_ns) {
            return;
        }
        let path = file::of_descriptor(argument((*thread).call, DESCRIPTOR) as u32);
        if (DELAYED_NS..DELAYED_END_NS).contains(&took_ns) && service::holds_back(path) {
            atomic::add(&raw mut (*socket).delayed, 1);
        } else {
            atomic::add(&raw mut (*socket).beside_delayed, 1);
        }
    }
}

/// A wait has ended: if it was not a wait for an answer, a turn of the thread has ended.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn turned(thread: *mut IoThread) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        if *own(thread, PENDING) != 0 {
            return;
        }
        let answers = *own(thread, ANSWERS);
        if answers != 0 && *own(thread, OVERLAPPED) == 0 {
            *own(thread, TURNS) += 1;
            *own(thread, TURN_ANSWERS) += answers;
            *own(thread, TURN_ANSWERS_NS) += *own(thread, ANSWERS_NS);
            if answers > *own(thread, MOST_ANSWERS) {
                *own(thread, MOST_ANSWERS) = answers;
            }
        }
        *own(thread, OVERLAPPED) = 0;
        *own(thread, ANSWERS) = 0;
        *own(thread, ANSWERS_NS) = 0;
    }
}

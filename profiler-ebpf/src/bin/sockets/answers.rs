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
    io::thread::{in_slot, own},
};

/// The first argument of a send is its descriptor.
const DESCRIPTOR: u64 = 1;
/// One fewer, for a number that several threads change.
const NO_MORE: u64 = 1u64.wrapping_neg();

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
        (*socket).last_received_ns = 0;
        (*socket).last_sent_ns = now_ns;
        atomic::add(&raw mut (*socket).sends_in_row, 1);
        let sends = (&raw const (*socket).sends_in_row).read_volatile();
        // The record of an operation of io_uring belongs to no thread: its socket is not known.
        if sends == 2 && (*thread).used != 0 {
            let path = file::of_descriptor(argument((*thread).call, DESCRIPTOR) as u32);
            (*socket).was_held = service::holds_back(path).into();
        }
        if side != Side::Calls as u64 {
            return;
        }
        if sends >= AWAITED_SENDS {
            no_longer_awaited(socket);
        } else if (&raw const (*socket).awaited_by).read_volatile() == 0 && received_ns < (*thread).start_ns {
            // Otherwise another thread may have received the answer before the send has returned.
            awaits(thread, socket);
        }
    }
}

/// The thread that has sent something waits for the answer from now on. Whoever receives it finds the record of the thread by its id: without
/// that, or if the operation is one of io_uring, which belongs to no thread, nobody waits.
#[inline(always)]
unsafe fn awaits(thread: *mut IoThread, socket: *mut Socket) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let tid = (*thread).tid;
        if (*thread).used == 0 || in_slot(tid).is_none() {
            return;
        }
        let pending = own(thread, PENDING);
        // Before the socket says so: another thread may receive the answer at once.
        atomic::add(pending, 1);
        if !atomic::replace(&raw mut (*socket).awaited_by, 0, tid.into()) {
            atomic::add(pending, NO_MORE);
        } else if pending.read_volatile() > 1 {
            *own(thread, OVERLAPPED) = 1;
        }
    }
}

/// Nobody waits for an answer any more. Returns who did; 0: nobody.
#[inline(never)]
unsafe fn no_longer_awaited(socket: *mut Socket) -> u64 {
    // SAFETY: the caller vouches for the socket, which is a map value; records are, too.
    unsafe {
        let tid = (&raw const (*socket).awaited_by).read_volatile();
        if tid == 0 || !atomic::replace(&raw mut (*socket).awaited_by, tid, 0) {
            return 0;
        }
        if let Some(thread) = in_slot(tid as u32) {
            let pending = own(thread, PENDING);
            // The thread may have become another program since.
            if pending.read_volatile() != 0 {
                atomic::add(pending, NO_MORE);
            }
        }
        tid
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
                after_several(socket, took_ns);
            }
            if (*socket).side == Side::Calls as u64 {
                let waited = no_longer_awaited(socket);
                answered(thread, socket, took_ns, waited == u64::from((*thread).tid));
            }
        }
        (*socket).sends_in_row = 0;
        (*socket).was_held = 0;
        (*socket).last_received_ns = now_ns;
    }
}

/// A socket was closed: the answer that is missing will not come.
///
/// # Safety
/// `socket` is a map value.
#[inline(always)]
pub(crate) unsafe fn closed(socket: *mut Socket) {
    // SAFETY: the caller vouches for it.
    unsafe {
        if (*socket).last_sent_ns != 0 && (*socket).side == Side::Calls as u64 {
            no_longer_awaited(socket);
            (*socket).last_sent_ns = 0;
            (*socket).sends_in_row = 0;
        }
    }
}

/// An answer has arrived. `is_own`: the same thread has sent what it answers, and has waited for it.
#[inline(always)]
unsafe fn answered(thread: *mut IoThread, socket: *mut Socket, took_ns: u64, is_own: bool) {
    // SAFETY: the caller vouches for both.
    unsafe {
        (*thread).also = TURN_AROUND.into();
        (*thread).also_ns = took_ns;
        atomic::add(&raw mut (*socket).turns, 1);
        atomic::add(&raw mut (*socket).turns_ns, took_ns);
        if took_ns > (*socket).longest_turn_ns {
            (*socket).longest_turn_ns = took_ns;
        }
        if is_own {
            *own(thread, ANSWERS) += 1;
            *own(thread, ANSWERS_NS) += took_ns;
        }
    }
}

/// Something was received after several sends in a row: if the peer delays the acknowledgement of the first, and the kernel holds the
/// others back until it has come, this takes as long.
#[inline(always)]
unsafe fn after_several(socket: *mut Socket, took_ns: u64) {
    // SAFETY: the caller vouches for the socket.
    unsafe {
        atomic::add(&raw mut (*socket).after_several, 1);
        if !(DELAYED_NS / 2..2 * DELAYED_END_NS).contains(&took_ns) {
            return;
        }
        if (DELAYED_NS..DELAYED_END_NS).contains(&took_ns) && (*socket).was_held != 0 {
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

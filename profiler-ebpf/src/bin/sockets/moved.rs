//! What an operation has moved, and the sums of each socket.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use profiler_common::{
    call::COMPAT,
    file::{
        SOCK_DGRAM,
        socket::{ACCEPTED, CONNECTED, SHARED, Side, Socket},
    },
    io::{CallUse, IoThread, OF_OTHER_KIND, UNKNOWN_FILES},
    opaque::opaque,
    sockets::{ACCEPT, CLOSE, CONNECT, Counter, RECEIVE, SEND},
};
use profiler_ebpf::{FIRST_ERROR, atomic, call::argument, file::service, io::cells::Of, ledger::count};

use crate::{answers, peers};

/// Messages of one call whose bytes are counted. One that sends has at most 1,024 (`UIO_MAXIOV`, include/uapi/linux/uio.h), one that receives any
/// number.
const MOST_MESSAGES: u64 = 1 << 16;
/// Bytes of `struct mmsghdr`, and of `struct msghdr`, with which it begins and behind which it has the bytes of its message.
const MESSAGE_BYTES: u64 = 64;
const HEAD_BYTES: u64 = 56;
const MESSAGE_BYTES_I386: u64 = 32;
const HEAD_BYTES_I386: u64 = 28;
// Results of a connect that goes on (include/uapi/asm-generic/errno.h): without waiting, or after a signal.
const EINPROGRESS: u64 = -115i64 as u64;
const EINTR: u64 = -4i64 as u64;

/// An operation has ended.
///
/// # Safety
/// `record` is its record, which nobody else writes meanwhile.
#[inline(always)]
pub(crate) unsafe fn ended(record: *mut IoThread) {
    let mut of = Of { record };
    // SAFETY: the callbacks get a pointer to the record, and the loops end before this function does.
    unsafe {
        let messages = messages(record);
        if messages != 0 {
            bpf_loop(messages, add_message as *mut c_void, (&raw mut of).cast(), 0);
        }
        // Few have two. A loop in any case: the verifier follows all of it for each place that it is called from.
        let second = (&raw const (*record).files).cast::<u32>().add(1).read_volatile();
        bpf_loop(1 + u32::from(second != OF_OTHER_KIND), add as *mut c_void, (&raw mut of).cast(), 0);
    }
}

/// How many messages the call has moved, if its result is their number.
#[inline(always)]
unsafe fn messages(thread: *mut IoThread) -> u32 {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let result = (*thread).result;
        if !CallUse::of_bits((*thread).ended_as).is_in_messages() || result >= FIRST_ERROR {
            return 0;
        }
        (*thread).messages = result;
        if result > MOST_MESSAGES {
            count(Counter::MessagesBeyond);
        }
        result.min(MOST_MESSAGES) as u32
    }
}

/// Adds the bytes of one of several messages.
#[inline(never)]
unsafe extern "C" fn add_message(turn: u32, of: *mut c_void) -> i64 {
    // SAFETY: the record of `ended`, which waits for this loop; the helper takes any address.
    unsafe {
        let thread = (*of.cast::<Of>()).record;
        let call = (*thread).call;
        let (each, head) = match call & COMPAT {
            0 => (MESSAGE_BYTES, HEAD_BYTES),
            _ => (MESSAGE_BYTES_I386, HEAD_BYTES_I386),
        };
        let at = argument(call, 2) + u64::from(turn) * each + head;
        let mut bytes = 0u32;
        let _ = bpf_probe_read_user((&raw mut bytes).cast(), size_of::<u32>() as u32, at as *const c_void);
        (*thread).bytes += u64::from(bytes);
        let inode = (&raw const (*thread).entries).cast::<u64>().read_volatile();
        let file = (&raw const (*thread).files).cast::<u32>().read_volatile();
        if call & COMPAT == 0
            && file < UNKNOWN_FILES
            && inode != 0
            && let Some(socket) = service::socket(inode)
        {
            let sends = CallUse::of_bits((*thread).ended_as).operation() == SEND;
            peers::add(thread, socket, peers::of_message(at - head), bytes.into(), sends);
        }
    }
    0
}

/// Adds the operation to the sums of the first of its sockets, and then of the second.
#[inline(never)]
unsafe extern "C" fn add(turn: u32, of: *mut c_void) -> i64 {
    let turn = opaque(turn.into()) as usize & 1;
    // SAFETY: as in `add_message`; the mask keeps the index within the record.
    unsafe {
        let thread = (*of.cast::<Of>()).record;
        let file = (&raw const (*thread).files).cast::<u32>().add(turn).read_volatile();
        let inode = (&raw const (*thread).entries).cast::<u64>().add(turn).read_volatile();
        if file >= UNKNOWN_FILES || inode == 0 {
            return 0;
        }
        let Some(socket) = service::socket(inode) else { return 0 };
        let used = CallUse::of_bits((*thread).ended_as);
        let operation = if turn == 0 { used.operation() } else { used.second() };
        if (*socket).space != (*thread).space && ((*socket).sent | (*socket).received) != 0 {
            atomic::set_bits(&raw mut (*socket).flags, SHARED);
        }
        (*socket).space = (*thread).space;
        (*socket).used_ns = (*thread).end_ns;
        let has_failed = (*thread).result >= FIRST_ERROR;
        match operation {
            SEND | RECEIVE if !has_failed => moved(thread, socket, operation == SEND),
            ACCEPT if !has_failed => atomic::set_bits(&raw mut (*socket).flags, ACCEPTED),
            CONNECT if !has_failed || matches!((*thread).result, EINPROGRESS | EINTR) => {
                atomic::set_bits(&raw mut (*socket).flags, CONNECTED);
            }
            CLOSE if !has_failed => {
                (*socket).closed_ns = (*thread).end_ns;
                answers::closed(socket);
                return 0;
            }
            _ => {}
        }
        (*socket).closed_ns = 0;
    }
    0
}

/// Bytes or messages have been sent or received.
#[inline(always)]
unsafe fn moved(thread: *mut IoThread, socket: *mut Socket, sends: bool) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let is_datagram = (*socket).addresses.kind == SOCK_DGRAM;
        if is_datagram && (*thread).messages == 0 {
            (*thread).messages = 1; // without any bytes
        }
        let (messages, bytes) = ((*thread).messages, (*thread).bytes);
        if messages == 0 {
            return;
        }
        let (sum, sum_bytes) = if sends {
            (&raw mut (*socket).sent, &raw mut (*socket).sent_bytes)
        } else {
            (&raw mut (*socket).received, &raw mut (*socket).received_bytes)
        };
        atomic::add(sum, messages);
        atomic::add(sum_bytes, bytes);
        if is_datagram && !CallUse::of_bits((*thread).ended_as).is_in_messages() {
            peers::add(thread, socket, peers::of_call(thread), bytes, sends);
        }
        let side = (*socket).side;
        if is_datagram || side != Side::Calls as u64 && side != Side::Serves as u64 {
            return;
        }
        if sends { answers::sent(thread, socket) } else { answers::received(thread, socket) }
    }
}

//! The look at all sockets that descriptors of a process refer to.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_sock_from_file;
use profiler_common::{
    file::TCP_LISTEN,
    socket::{BY_PORT, CLOSED, Counter, PortKey, SHARED, SocketRecord, TCP},
};

use super::{BPF_ANY, LISTENERS, adopt, count_both, members as of, state};
use crate::{
    file::read,
    ledger::Ledger,
    space,
    task::{Task, member, tgid_of},
};

/// The number of the present look. User space raises it before each look.
#[unsafe(link_section = ".bss.looks")]
#[unsafe(no_mangle)]
static mut LOOK: u64 = 0;

/// A descriptor: the body of an iterator over the descriptors of a process (`iter/task_file`).
///
/// # Safety
/// `ctx` is the context of such a program.
#[inline(always)]
pub unsafe fn descriptor(ctx: *mut c_void) {
    // `struct bpf_iter__task_file`: meta, task, descriptor, file.
    // SAFETY: the caller vouches for the context; the kernel knows the types.
    unsafe {
        let members = ctx.cast::<*const u8>();
        let (task, file) = (members.add(1).read_volatile(), members.add(3).read_volatile());
        if task.is_null() || file.is_null() {
            return;
        }
        let descriptor = ctx.cast::<u32>().add(4).read_volatile();
        let socket = bpf_sock_from_file(file.cast_mut().cast()).cast::<u8>();
        if socket.is_null() {
            return;
        }
        let sock: *const u8 = member(socket, of::OF_SOCKET_SOCK.load());
        if sock.is_null() {
            return;
        }
        let Some(space) = space::of_process(tgid_of(Task::given(task))) else {
            return count_both(Counter::LookHits, Counter::LookOther);
        };
        let Some((cookie, record)) = adopt(sock, space, 0) else {
            return count_both(Counter::LookHits, Counter::LookLost);
        };
        count_both(Counter::LookHits, Counter::Looked);
        note(sock as u64, socket as u64, cookie, record, (space, descriptor));
    }
}

/// Fills in what the look has found.
#[inline(always)]
unsafe fn note(sock: u64, socket: u64, cookie: u64, record: *mut SocketRecord, found: (u32, u32)) {
    let (space, descriptor) = found;
    // SAFETY: map values.
    unsafe {
        let look = (&raw const LOOK).read_volatile();
        if (*record).look != look {
            (*record).look = look;
            (*record).space = space;
            (*record).descriptor = descriptor;
            (*record).flags &= !(SHARED | BY_PORT);
        } else if (*record).space != space {
            (*record).flags |= SHARED;
        }
        (*record).inode = state::inode(socket);
        (*record).addresses.state = read::<u8>(sock + of::OF_STATE.load()).into();
        if (*record).flags & CLOSED != 0 {
            return;
        }
        state::read_addresses(sock, record);
        state::read_state(sock, record);
        if (*record).protocol == TCP && (*record).addresses.state == TCP_LISTEN {
            listen(record, sock, cookie);
        }
    }
}

/// Notes a socket that listens.
///
/// # Safety
/// `record` is a map value.
#[inline(always)]
pub(super) unsafe fn listen(record: *const SocketRecord, sock: u64, cookie: u64) {
    // SAFETY: the caller vouches for the record.
    if LISTENERS.insert(unsafe { own_port(record, sock) }, cookie, BPF_ANY).is_err()
        && let Some(ledger) = Ledger::<Counter>::open()
    {
        ledger.count(Counter::ListenerLost);
    }
}

/// Forgets it. Another socket may have begun to listen at the same port.
///
/// # Safety
/// `record` is a map value.
#[inline(always)]
pub(super) unsafe fn stop_listening(record: *const SocketRecord, sock: u64, cookie: u64) {
    // SAFETY: the caller vouches for the record; a map value.
    unsafe {
        let port = own_port(record, sock);
        if LISTENERS.get_ptr(port).is_some_and(|listener| *listener == cookie) {
            let _ = LISTENERS.remove(port);
        }
    }
}

/// The key of the port of a socket that listens, or did: it does not have the port itself any more when it is closed.
#[inline(always)]
unsafe fn own_port(record: *const SocketRecord, sock: u64) -> PortKey {
    // SAFETY: the caller vouches for the record.
    let port = unsafe { (*record).addresses.local_port };
    PortKey { network: read(sock + of::OF_NET.load()), port: port.into() }
}

/// The key of the port of a connection.
#[inline(always)]
pub(super) fn port(sock: u64) -> PortKey {
    PortKey { network: read(sock + of::OF_NET.load()), port: read::<u16>(sock + of::OF_PORT.load()).into() }
}

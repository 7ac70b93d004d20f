//! Sockets of observed processes: their state, and what happens to them.
//!
//! The programs of an object call the bodies in [`events`], [`age`] and [`look`]. Most of these events are those of other processes, and
//! happen in interrupts, where the current process is any: a socket is known by its cookie, which it has from the first look on. A socket
//! that nobody asks for its cookie has none, and is passed over after one load.

pub mod age;
pub mod events;
pub mod look;
mod members;
mod state;

use aya_ebpf::{
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_socket_cookie},
    macros::map,
    maps::{Array, HashMap},
};
use profiler_common::{
    ledger,
    socket::{Counter, PortKey, SOCKET_SLOTS, SocketRecord},
};

use self::members as of;
use crate::{atomic, ledger::Ledger, space, task::member};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// The sockets of targets by cookie. User space removes those that are closed. The loader sets the size.
#[map]
static SOCKET_STATES: HashMap<u64, SocketRecord> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);

/// A record of a socket of which nothing is known, to begin with: it is larger than the stack of a program.
#[map]
static BLANK_SOCKET: Array<SocketRecord> = Array::with_max_entries(1, 0);

/// Sockets of targets that listen: their cookies. The loader sets the size.
#[map]
static LISTENERS: HashMap<PortKey, u64> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);

/// How many sockets are in the table, by their cookies modulo the number of slots. A count is never too low for long: it is raised right
/// after a socket has entered, and lowered by user space after it was removed. The section becomes a map of its own, which programs address
/// without a lookup.
#[unsafe(link_section = ".bss.sockets")]
#[unsafe(no_mangle)]
static mut SOCKETS_BY_COOKIE: [u32; SOCKET_SLOTS] = [0; SOCKET_SLOTS];

#[inline(always)]
fn slot(cookie: u64) -> *mut u32 {
    // SAFETY: a map value; the mask keeps the index within it.
    unsafe { (&raw mut SOCKETS_BY_COOKIE).cast::<u32>().add(cookie as usize & (SOCKET_SLOTS - 1)) }
}

/// A socket of a target.
#[derive(Clone, Copy)]
struct Found {
    cookie: u64,
    record: *mut SocketRecord,
    ledger: Ledger<Counter>,
}

/// The record of a socket, if it is one of a target. Counts nothing.
///
/// # Safety
/// The kernel gave `sock` with its type.
#[inline(always)]
unsafe fn known(sock: *const u8) -> Option<*mut SocketRecord> {
    // SAFETY: the caller vouches for the socket; a map value.
    let cookie = unsafe { member::<u64>(sock, of::OF_COOKIE.load()) };
    // SAFETY: a map value.
    if cookie == 0 || unsafe { slot(cookie).read_volatile() } == 0 {
        return None;
    }
    SOCKET_STATES.get_ptr_mut(cookie)
}

/// The record of a socket, if it is one of a target. Counts the hit, unless it is clear at once that it is not.
///
/// # Safety
/// The kernel gave `sock` with its type.
#[inline(always)]
unsafe fn find(sock: *const u8, hits: Counter, of_others: Counter) -> Option<Found> {
    // SAFETY: the caller vouches for the socket; a map value.
    let cookie = unsafe { member::<u64>(sock, of::OF_COOKIE.load()) };
    // SAFETY: a map value.
    if cookie == 0 || unsafe { slot(cookie).read_volatile() } == 0 {
        return None;
    }
    let ledger = Ledger::open()?;
    ledger.count(hits);
    let Some(record) = SOCKET_STATES.get_ptr_mut(cookie) else {
        ledger.count(of_others);
        return None;
    };
    Some(Found { cookie, record, ledger })
}

/// The record of a socket of a target, which is made if there is none yet. `None`: there is no room.
///
/// # Safety
/// The kernel gave `sock` with its type.
#[inline(always)]
unsafe fn adopt(sock: *const u8, space: u32, flags: u64) -> Option<(u64, *mut SocketRecord)> {
    // SAFETY: the caller vouches for the socket; map values.
    unsafe {
        let cookie = bpf_get_socket_cookie(sock.cast_mut().cast());
        if let Some(known) = SOCKET_STATES.get_ptr_mut(cookie) {
            return Some((cookie, known));
        }
        let blank: &SocketRecord = &*BLANK_SOCKET.get_ptr(0)?;
        if SOCKET_STATES.insert(cookie, blank, BPF_NOEXIST).is_ok() {
            atomic::add_word(slot(cookie), 1);
        }
        let record = SOCKET_STATES.get_ptr_mut(cookie)?;
        (*record).space = space;
        (*record).flags = flags;
        state::read_identity(sock as u64, record);
        Some((cookie, record))
    }
}

/// The address space of the current process, if it is a target.
#[inline(always)]
fn current_space() -> Option<u32> {
    // SAFETY: a helper without arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if space::may_be_observed(tgid) { space::of_process(tgid) } else { None }
}

/// Keeps the highest queue of a socket.
///
/// # Safety
/// `record` is a map value.
#[inline(always)]
unsafe fn keep_queue(record: *mut SocketRecord, bytes: u64, now: u64) {
    // SAFETY: the caller vouches for the record. Two CPUs may do this at the same time: then the lower of two values may stay, which are
    // those of the same moment.
    unsafe {
        if bytes > (*record).events.queue_max {
            (*record).events.queue_max = bytes;
            (*record).events.queue_max_ns = now;
        }
    }
}

/// Counts one outcome without a socket.
#[inline(always)]
fn count_both(hits: Counter, outcome: Counter)
where
    Counter: ledger::Ledger,
{
    if let Some(ledger) = Ledger::<Counter>::open() {
        ledger.count(hits);
        ledger.count(outcome);
    }
}

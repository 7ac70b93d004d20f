//! To and from which addresses a socket without a peer has moved datagrams. The address is read from the program's memory, where the call
//! has it: it is what the kernel was given, or has written there.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_user,
    macros::map,
    maps::{Array, HashMap},
};
use profiler_common::{
    file::{
        AF_INET, AF_INET6, SOCK_DGRAM,
        socket::{DatagramPeer, DatagramSums, MOST_DATAGRAM_PEERS, Side, Socket},
    },
    io::IoThread,
};
use profiler_ebpf::{atomic, call::argument};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_NOEXIST: u64 = 1;
/// Numbers of calls of x86-64.
const SENDTO: u64 = 44;
const RECVFROM: u64 = 45;
const SENDMSG: u64 = 46;
const RECVMSG: u64 = 47;

#[map]
static DATAGRAM_PEERS: HashMap<DatagramPeer, DatagramSums> =
    HashMap::with_max_entries(MOST_DATAGRAM_PEERS, BPF_F_NO_PREALLOC);
/// Datagrams that are in no sums: first those whose address is not known, then those for whose address there was no room.
#[map]
static DATAGRAMS_WITHOUT_PEER: Array<u64> = Array::with_max_entries(2, 0);

/// The beginning of a `struct sockaddr_in6`, in which one of IPv4 has room.
#[repr(C)]
#[derive(Clone, Copy)]
struct Name {
    family: u16,
    port: [u8; 2],
    v4: [u8; 4],
    v6: [u8; 16],
}

/// Where the current call has the address of the other side; 0: it has none.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn of_call(thread: *const IoThread) -> u64 {
    // SAFETY: the caller vouches for the record.
    unsafe {
        // The record of an operation of io_uring belongs to no call.
        if (*thread).used == 0 {
            return 0;
        }
        let call = (*thread).call;
        match call {
            SENDTO | RECVFROM => argument(call, 5),
            SENDMSG | RECVMSG => of_message(argument(call, 2)),
            _ => 0,
        }
    }
}

/// Where a `struct msghdr` has the address: it begins with that.
#[inline(always)]
pub(crate) fn of_message(message: u64) -> u64 {
    let mut at = 0u64;
    // SAFETY: the helper takes any address.
    let _ = unsafe {
        bpf_probe_read_user((&raw mut at).cast(), size_of::<u64>() as u32, message as *const c_void)
    };
    at
}

/// Adds a datagram to the sums of its peer, if its socket has none of its own. `at`: where the address is in the program's memory.
///
/// # Safety
/// `thread` is the record of the current thread, `socket` a map value.
#[inline(always)]
pub(crate) unsafe fn add(thread: *mut IoThread, socket: *mut Socket, at: u64, bytes: u64, sends: bool) {
    // SAFETY: the caller vouches for both; map values.
    unsafe {
        let of = &raw const (*socket).addresses;
        let is_loose = (*socket).side == Side::Bound as u64 || (*socket).side == Side::Loose as u64;
        let is_inet = (*of).family == AF_INET || (*of).family == AF_INET6;
        if (*of).kind != SOCK_DGRAM || !is_inet || !is_loose || (*of).remote_port != 0 {
            return;
        }
        let mut key = DatagramPeer {
            space: (*thread).space,
            service: (*socket).service,
            family: 0,
            port: 0,
            reserved: 0,
            address: [0; 16],
        };
        if !read(at, &mut key) {
            return count(0);
        }
        let sums = match DATAGRAM_PEERS.get_ptr_mut(key) {
            Some(sums) => sums,
            None => {
                let _ = DATAGRAM_PEERS.insert(key, DatagramSums::default(), BPF_NOEXIST);
                match DATAGRAM_PEERS.get_ptr_mut(key) {
                    Some(sums) => sums,
                    None => return count(1),
                }
            }
        };
        let (messages, sum) = if sends {
            (&raw mut (*sums).sent, &raw mut (*sums).sent_bytes)
        } else {
            (&raw mut (*sums).received, &raw mut (*sums).received_bytes)
        };
        atomic::add(messages, 1);
        atomic::add(sum, bytes);
    }
}

/// Reads an address. Returns whether it is one.
#[inline(always)]
fn read(at: u64, to: &mut DatagramPeer) -> bool {
    let mut name = Name { family: 0, port: [0; 2], v4: [0; 4], v6: [0; 16] };
    if at == 0 {
        return false;
    }
    // SAFETY: the helper takes any address. What is behind one of IPv4 may be missing: then only that is read.
    unsafe {
        let mut read = |bytes: usize| {
            bpf_probe_read_user((&raw mut name).cast(), bytes as u32, at as *const c_void) == 0
        };
        if !read(size_of::<Name>()) && !read(8) {
            return false;
        }
    }
    to.family = name.family;
    to.port = u16::from_be_bytes(name.port);
    match name.family {
        AF_INET => {
            let [a, b, c, d] = name.v4;
            to.address = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        }
        AF_INET6 => to.address = name.v6,
        _ => return false,
    }
    true
}

#[inline(always)]
fn count(place: u32) {
    if let Some(to) = DATAGRAMS_WITHOUT_PEER.get_ptr_mut(place) {
        // SAFETY: a map value.
        unsafe { atomic::add(to, 1) };
    }
}

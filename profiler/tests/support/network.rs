//! Network namespaces, and what the kernel itself says of sockets.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::thread;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `body` on a thread in a network namespace of its own, in which only the loopback interface is up. The namespace ends with it.
pub(crate) fn alone<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: the thread shares no network state with others that it would rely on.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("to leave the network");
            bring_up("lo").expect("the loopback interface");
            body()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Brings an interface up.
pub(crate) fn bring_up(name: &str) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: it is made of integers, for which 0 is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, letter) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = letter as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is one for this call, and lives as long.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An option of a socket, as 32-bit words.
#[track_caller]
pub(crate) fn option(socket: BorrowedFd<'_>, level: i32, name: i32) -> Vec<u32> {
    let mut words = [0u32; 96];
    let mut bytes = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most as many bytes as it is told there are.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, words.as_mut_ptr().cast(), &raw mut bytes)
    };
    assert_eq!(done, 0, "option {name}: {}", io::Error::last_os_error());
    words.iter().take(bytes as usize / 4).copied().collect()
}

/// Sets an option that is a number.
#[track_caller]
pub(crate) fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) {
    // SAFETY: the kernel reads as many bytes as a number has.
    let done = unsafe {
        let (value, bytes) = (&raw const value, size_of::<i32>() as libc::socklen_t);
        libc::setsockopt(socket.as_raw_fd(), level, name, value.cast(), bytes)
    };
    assert_eq!(done, 0, "option {name}: {}", io::Error::last_os_error());
}

/// The cookie of a socket.
#[track_caller]
pub(crate) fn cookie(socket: BorrowedFd<'_>) -> u64 {
    long(&option(socket, libc::SOL_SOCKET, libc::SO_COOKIE), 0)
}

/// Two words as one number.
pub(crate) fn long(words: &[u32], at: usize) -> u64 {
    u64::from(words[at]) | u64::from(words[at + 1]) << 32
}

/// `TCP_INFO` (include/uapi/linux/tcp.h), in words.
#[track_caller]
pub(crate) fn tcp_info(socket: BorrowedFd<'_>) -> Vec<u32> {
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO)
}

/// `tcpi_total_retrans` of a `TCP_INFO`, and so on.
pub(crate) mod info {
    pub(crate) const LOST: usize = 8;
    pub(crate) const RTT: usize = 17;
    pub(crate) const CONGESTION_WINDOW: usize = 20;
    pub(crate) const TOTAL_RETRANSMITS: usize = 25;
    pub(crate) const BYTES_ACKED: usize = 30;
    pub(crate) const BYTES_RECEIVED: usize = 32;
    pub(crate) const SEGMENTS_OUT: usize = 34;
    pub(crate) const SEGMENTS_IN: usize = 35;
    pub(crate) const RTT_MIN: usize = 37;
    pub(crate) const BYTES_SENT: usize = 50;
    pub(crate) const PEER_WINDOW: usize = 57;
}

/// Places in `SO_MEMINFO` (include/uapi/linux/sock_diag.h).
pub(crate) mod memory {
    pub(crate) const RECEIVE: usize = 0;
    pub(crate) const RECEIVE_LIMIT: usize = 1;
    pub(crate) const SEND: usize = 2;
    pub(crate) const SEND_LIMIT: usize = 3;
    pub(crate) const DROPS: usize = 8;
}

/// `SO_MEMINFO` of a socket.
#[track_caller]
pub(crate) fn memory_of(socket: BorrowedFd<'_>) -> Vec<u32> {
    option(socket, libc::SOL_SOCKET, libc::SO_MEMINFO)
}

/// Bytes in the receive queue (`FIONREAD`) or the send queue (`TIOCOUTQ`) of a socket.
#[track_caller]
pub(crate) fn queued(socket: BorrowedFd<'_>, which: libc::Ioctl) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes a number there.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), which, &raw mut bytes) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    bytes as u64
}

/// The kernel's counters of the network that this thread is in, such as `TcpExt.ListenOverflows`.
pub(crate) fn counters() -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for file in ["snmp", "netstat"] {
        let text =
            fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("the kernel's counters");
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks(2) {
            let [names, values] = pair else { continue };
            let (group, names) = names.split_once(": ").expect("a group");
            let values = values.split_once(": ").expect("a group").1;
            for (name, value) in names.split(' ').zip(values.split(' ')) {
                if let Ok(value) = value.parse() {
                    all.insert(format!("{group}.{name}"), value);
                }
            }
        }
    }
    all
}

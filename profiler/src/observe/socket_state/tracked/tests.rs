use profiler_common::{
    file::Addresses,
    socket::{CLOSED, ESTABLISHED, SocketEvents, SocketState, UDP},
};

use super::*;

fn record(protocol: u64, state: u64, look: u64, flags: u64) -> SocketRecord {
    // SAFETY: wire types are made of integers, for which 0 is a value.
    let blank: (SocketState, SocketEvents, Addresses) = unsafe { std::mem::zeroed() };
    SocketRecord {
        inode: 1,
        address: 0,
        network: 2,
        flags,
        look,
        space: 0,
        descriptor: 3,
        protocol,
        addresses: Addresses { state, ..blank.2 },
        state: blank.0,
        events: blank.1,
    }
}

#[test]
fn tcp_is_over_when_the_kernel_says_so_and_others_when_nobody_has_them() {
    assert!(!is_over(&record(TCP, ESTABLISHED, 9, 0), 9, 1));
    assert!(!is_over(&record(TCP, ESTABLISHED, 8, 0), 9, 1), "its process has closed it, its peer has not");
    assert!(is_over(&record(TCP, ESTABLISHED, 8, 0), 8 + LOOKS_WITHOUT_END + 1, 1), "a lost end");
    assert!(is_over(&record(TCP, CLOSE, 8, CLOSED), 9, 1));
    assert!(!is_over(&record(TCP, CLOSE, 9, CLOSED), 9, 1), "its process still has it");
    assert!(is_over(&record(TCP, TCP_LISTEN, 8, 0), 9, 1));
    assert!(!is_over(&record(TCP, TCP_LISTEN, 0, 0), 9, 9), "it began to listen after the look");
    assert!(is_over(&record(UDP, CLOSE, 8, 0), 9, 1));
    assert!(!is_over(&record(UDP, CLOSE, 9, 0), 9, 1));
}

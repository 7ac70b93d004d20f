//! Operations on sockets, and the calls that are counted as such.

use profiler_common::{
    file::calls::FileUse,
    io::{CallUse, RING_MESSAGE},
    sockets as wire,
};
use sysno::x86_64::Sysno;

use crate::{io_tools::wait, kernel::calls::native, observe::files::calls::use_of as files_of};

/// An operation on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub(super) enum Operation {
    Send = wire::SEND,
    Receive = wire::RECEIVE,
    Accept = wire::ACCEPT,
    Connect = wire::CONNECT,
    Close = wire::CLOSE,
    Shutdown = wire::SHUTDOWN,
    Peek = wire::PEEK,
    /// Not a call: from the last send to the first receive, on a socket that calls others.
    TurnAround = wire::TURN_AROUND,
    /// Not a call: from the last receive to the first send, on a socket that serves others.
    Answer = wire::ANSWER,
}

use Operation::{Accept, Answer, Close, Connect, Peek, Receive, Send, Shutdown, TurnAround};

impl Operation {
    /// All of them.
    pub(super) const ALL: [Operation; 9] =
        [Send, Receive, Accept, Connect, Close, Shutdown, Peek, TurnAround, Answer];

    /// The operation of a number of the kernel side.
    pub(super) fn of_number(number: u32) -> Option<Operation> {
        Operation::ALL.get((number as usize).checked_sub(1)?).copied()
    }

    /// The number on the kernel side.
    pub(super) fn number(self) -> u32 {
        self as u32
    }

    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Send => "send",
            Receive => "receive",
            Accept => "accept",
            Connect => "connect",
            Close => "close",
            Shutdown => "shutdown",
            Peek => "peek",
            TurnAround => "wait for answer",
            Answer => "answer",
        }
    }

    /// Whether it is a time between calls, and no call.
    pub(super) fn is_between(self) -> bool {
        matches!(self, TurnAround | Answer)
    }

    /// Whether it lasts as long as others have nothing to say.
    pub(super) fn is_patient(self) -> bool {
        matches!(self, Receive | Accept | Peek)
    }
}

/// How a call is counted.
pub(super) fn use_of(call: u64) -> CallUse {
    let Some(native) = native(call).and_then(|number| Sysno::new(number as usize)) else {
        return CallUse::NONE;
    };
    if let Some(used) = wait(native) {
        return used;
    }
    if native == Sysno::listen {
        return CallUse::NONE.followed();
    }
    let Some(operation) = operation_of(native) else { return CallUse::NONE };
    let mut files = files_of(call);
    if operation == Accept {
        files = files.opening();
    }
    let used = CallUse::new(files, operation.number());
    let used = match native {
        Sysno::sendmmsg | Sysno::recvmmsg => used.in_messages(),
        // Sent to the first file, read from the second.
        Sysno::sendfile => used.in_bytes().with_second(Receive.number()),
        Sysno::splice => used.in_bytes().with_second(Send.number()).reading_first(),
        _ if matches!(operation, Send | Receive) => used.in_bytes(),
        _ => used,
    };
    let used = match native {
        Sysno::recvfrom | Sysno::recvmmsg => used.flagged(4, Peek.number()),
        Sysno::recvmsg => used.flagged(3, Peek.number()),
        Sysno::connect => used.known_after(),
        _ => used,
    };
    if operation.is_patient() { used.patient() } else { used }
}

/// How an operation of io_uring is counted, by its number (include/uapi/linux/io_uring.h). Of a connection that is accepted or made, what
/// the ring has at the end is its listener, or a socket without a peer.
pub(super) fn ring_use_of(operation: u32) -> CallUse {
    let of = match operation {
        1 | 4 | 10 | 22 | 27 | 49 | 58 | 60 => Receive,
        2 | 5 | 9 | 23 | 26 | 47 | 48 | 61 => Send,
        13 => Accept,
        16 => Connect,
        34 => Shutdown,
        _ => return CallUse::NONE,
    };
    let used = CallUse::new(FileUse::NONE.with_descriptor(1), of.number());
    let used = match (of, operation) {
        (Receive, 10 | 27) => used.in_bytes().flagged(RING_MESSAGE, Peek.number()),
        (Send | Receive, _) => used.in_bytes(),
        (Connect, _) => used.known_after(),
        _ => used,
    };
    if of.is_patient() { used.patient() } else { used }
}

fn operation_of(call: Sysno) -> Option<Operation> {
    Some(match call {
        Sysno::read
        | Sysno::readv
        | Sysno::preadv2
        | Sysno::recvfrom
        | Sysno::recvmsg
        | Sysno::recvmmsg
        | Sysno::splice => Receive,
        Sysno::write
        | Sysno::writev
        | Sysno::pwritev2
        | Sysno::sendto
        | Sysno::sendmsg
        | Sysno::sendmmsg
        | Sysno::sendfile => Send,
        Sysno::accept | Sysno::accept4 => Accept,
        Sysno::connect => Connect,
        Sysno::close => Close,
        Sysno::shutdown => Shutdown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::uring;

    #[test]
    fn operations_have_their_numbers() {
        for operation in Operation::ALL {
            assert_eq!(Operation::of_number(operation.number()), Some(operation));
        }
        assert_eq!((Operation::of_number(0), Operation::of_number(99)), (None, None));
    }

    #[test]
    fn operations_of_io_uring_are_known_by_the_numbers_of_the_kernel() {
        for (name, operation) in [
            ("READ", Receive),
            ("WRITEV", Send),
            ("SENDMSG", Send),
            ("RECV", Receive),
            ("RECV_ZC", Receive),
            ("READV_FIXED", Receive),
            ("WRITEV_FIXED", Send),
            ("ACCEPT", Accept),
            ("CONNECT", Connect),
            ("SHUTDOWN", Shutdown),
        ] {
            let number = (0..64).find(|number| uring::operation(*number) == name).unwrap();
            assert_eq!(ring_use_of(number).operation(), operation.number(), "{name}");
        }
        assert_eq!(ring_use_of(0), CallUse::NONE);
        let may_peek = |number: u32| ring_use_of(number).flags_in() == RING_MESSAGE;
        let names: Vec<_> = (0..64).filter(|number| may_peek(*number)).map(uring::operation).collect();
        assert_eq!(names, ["RECVMSG", "RECV"]);
    }

    #[test]
    fn calls_are_operations_on_the_sockets_that_they_use() {
        let of = |call: Sysno| use_of(call.id() as u64);
        let operation = |call| Operation::of_number(of(call).operation());
        assert_eq!(operation(Sysno::write), Some(Send));
        assert_eq!(operation(Sysno::recvmmsg), Some(Receive));
        assert_eq!(operation(Sysno::openat), None);
        assert!(of(Sysno::epoll_wait).waits() && of(Sysno::epoll_wait).is_wait(1));
        // FUTEX_WAIT_BITSET and FUTEX_WAKE of a lock of one process.
        assert!(of(Sysno::futex).is_wait(0x80 | 9) && !of(Sysno::futex).is_wait(0x80 | 1));
        assert!(of(Sysno::listen).is_followed());
        assert!(of(Sysno::recvmmsg).is_in_messages() && !of(Sysno::recvmmsg).is_in_bytes());
        assert!(of(Sysno::read).is_patient() && !of(Sysno::write).is_patient());
        assert!(of(Sysno::accept4).files().opens() && of(Sysno::accept4).files().descriptor() == 1);
        assert!(of(Sysno::connect).is_known_after());
        assert_eq!(
            (of(Sysno::recvfrom).flags_in(), of(Sysno::recvmsg).flags_in(), of(Sysno::read).flags_in()),
            (4, 3, 0)
        );
        assert_eq!(of(Sysno::recvfrom).as_flagged().operation(), Peek.number());
        // What is sent from a file into a socket, and from a socket into a pipe.
        assert_eq!(
            (of(Sysno::sendfile).operation(), of(Sysno::splice).operation()),
            (Send.number(), Receive.number())
        );
    }
}

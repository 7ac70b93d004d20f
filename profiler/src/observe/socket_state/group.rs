//! What closed sockets have in common, of which only sums are kept.

use std::collections::BTreeSet;

use profiler_common::{file::Addresses, socket::CLOSE};

use super::socket::Socket;

/// What closed sockets have in common that are not kept one by one: the address space and, of its [`Addresses`], family, kind, and the port
/// that they serve or the address and port that they lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    pub(crate) space: u16,
    family: u16,
    kind: u16,
    local_port: u16,
    remote_port: u16,
    remote: [u8; 16],
}

impl Group {
    /// That of a socket. `served`: ports at which targets wait for connections.
    pub(super) fn of(socket: &Socket, served: &BTreeSet<u16>) -> Group {
        let of = &socket.addresses;
        let serves = of.remote_port == 0 || served.contains(&of.local_port);
        Group {
            space: socket.space,
            family: of.family,
            kind: of.kind,
            local_port: if serves { of.local_port } else { 0 },
            remote_port: if serves { 0 } else { of.remote_port },
            remote: if serves { [0; 16] } else { of.remote },
        }
    }

    /// That of all for which there is no other one.
    pub(super) fn rest(space: u16) -> Group {
        Group { space, family: 0, kind: 0, local_port: 0, remote_port: 0, remote: [0; 16] }
    }

    /// Whether it is of sockets that have nothing in common.
    pub(crate) fn is_rest(&self) -> bool {
        *self == Group::rest(self.space)
    }

    /// What they have in common, as addresses of one socket.
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            family: self.family,
            kind: self.kind,
            local_port: self.local_port,
            remote_port: self.remote_port,
            state: CLOSE,
            local: [0; 16],
            remote: self.remote,
        }
    }
}

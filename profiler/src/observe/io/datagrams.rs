//! Datagrams of sockets without a peer, by the address on the other side. Wire types end here.

use profiler_common::file::{
    Addresses, SOCK_DGRAM,
    socket::{DatagramPeer, DatagramSums},
};

use super::probes::Probes;
use crate::error::Result;

/// What was moved between a service of the target and one address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) space: u16,
    /// Number of the service.
    pub(crate) service: u32,
    /// The other side; this one is empty.
    pub(crate) addresses: Addresses,
    pub(crate) received: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
}

/// All that were seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Datagrams {
    pub(crate) exchanges: Vec<Exchange>,
    /// Datagrams whose call had no address.
    pub(crate) without_address: u64,
    /// Datagrams for whose address there was no room.
    pub(crate) beyond: u64,
}

impl Datagrams {
    /// Reads them.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(crate) fn read(probes: &Probes) -> Result<Datagrams> {
        let mut exchanges = Vec::new();
        probes.each("DATAGRAM_PEERS", |peer: DatagramPeer, sums: DatagramSums| {
            exchanges.push(Exchange::of(&peer, &sums));
        })?;
        let without = |place| probes.value("DATAGRAMS_WITHOUT_PEER", place);
        Ok(Datagrams { exchanges, without_address: without(0)?, beyond: without(1)? })
    }
}

impl Exchange {
    fn of(peer: &DatagramPeer, sums: &DatagramSums) -> Exchange {
        Exchange {
            space: peer.space as u16,
            service: peer.service,
            addresses: Addresses {
                family: peer.family,
                kind: SOCK_DGRAM,
                local_port: 0,
                remote_port: peer.port,
                state: 0,
                local: [0; 16],
                remote: peer.address,
            },
            received: sums.received,
            received_bytes: sums.received_bytes,
            sent: sums.sent,
            sent_bytes: sums.sent_bytes,
        }
    }
}

//! Requests to devices: those that targets have caused, and what other processes do to the same devices.

use std::{collections::BTreeMap, fs};

use profiler_common::disk::{DeviceKey, Neighbour, NeighbourKey, Requests};

use crate::{
    error::Result,
    observe::io::{Probes, comm},
    stats::Histogram,
    text::Text,
};

/// Requests of one kind to one device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Served {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) errors: u64,
    /// Time in the queue.
    pub(super) queued: Histogram,
    /// Time in the device.
    pub(super) served: Histogram,
}

/// What another process has submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    pub(super) read: (u64, u64),
    pub(super) written: (u64, u64),
}

/// All requests.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// By address space, device and kind of request.
    pub(super) requests: BTreeMap<(u16, u32, u32), Served>,
    /// By device, process and name of the thread: parts of requests and bytes.
    pub(super) others: BTreeMap<(u32, u32, Text), Others>,
}

/// Reads them.
///
/// # Errors
/// If a map cannot be read.
pub(super) fn read(probes: &Probes) -> Result<Devices> {
    let mut devices = Devices::default();
    probes.each("REQUESTS", |key: DeviceKey, of: Requests| {
        let served = Served {
            count: of.count,
            bytes: of.bytes,
            errors: of.errors,
            queued: Histogram::from_kernel(&of.queued, of.queued_ns, of.max_queued_ns),
            served: Histogram::from_kernel(&of.served, of.served_ns, of.max_served_ns),
        };
        devices.requests.insert((key.space as u16, key.device, key.operation as u32), served);
    })?;
    probes.each("NEIGHBOURS", |key: NeighbourKey, of: Neighbour| {
        let others = devices.others.entry((key.device, key.tgid, comm(key.comm))).or_default();
        let sums = if key.writes == 0 { &mut others.read } else { &mut others.written };
        *sums = (sums.0 + of.count, sums.1 + of.bytes);
    })?;
    Ok(devices)
}

/// Bits of the minor number in a device number of the kernel (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// The name of a device, as in `/dev`; its numbers if it has none any more.
pub(super) fn name(device: u32) -> String {
    let (major, minor) = (device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1));
    let numbers = format!("{major}:{minor}");
    let event = fs::read_to_string(format!("/sys/dev/block/{numbers}/uevent")).unwrap_or_default();
    event.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map_or(numbers, str::to_owned)
}

/// What a request does (`enum req_op`, include/linux/blk_types.h).
pub(super) fn operation(number: u32) -> String {
    match number {
        0 => "read".to_owned(),
        1 => "write".to_owned(),
        2 => "flush".to_owned(),
        3 => "discard".to_owned(),
        5 => "secure erase".to_owned(),
        9 => "write zeroes".to_owned(),
        other => format!("operation {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_name_is_known_by_its_numbers() {
        assert_eq!(name(4_000 << MINOR_BITS | 7), "4000:7");
        assert_eq!((operation(1), operation(99)), ("write".to_owned(), "operation 99".to_owned()));
    }
}

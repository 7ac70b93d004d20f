//! What the kernel side of `disk` counts.

use crate::{histogram::BUCKETS, io_counters, wire};

/// Setting of the tool: what processes that are not observed do to devices is counted.
pub const NEIGHBOURS: u64 = 1;
/// Frames of a kernel stack that are kept, a power of two.
pub const WAIT_FRAMES: usize = 16;

wire! {
    /// Key of a [`Wait`]: what an operation waits for, as the kernel functions that it is in show it.
    pub struct WaitKey {
        /// The address space.
        pub space: u32,
        /// Number of the file, as in [`IoKey`](crate::io::IoKey).
        pub file: u32,
        /// The operation.
        pub operation: u64,
        /// A hash of the frames.
        pub place: u64,
    }
}

wire! {
    /// Waits of operations.
    pub struct Wait {
        /// How many have ended.
        pub count: u64,
        /// How long they took, in nanoseconds, until the thread ran again.
        pub total_ns: u64,
        /// The longest.
        pub max_ns: u64,
        /// Return addresses in the kernel, innermost first; zeroes behind the last.
        pub frames: [u64; WAIT_FRAMES],
    }
}

wire! {
    /// Key of a [`Requests`].
    pub struct DeviceKey {
        /// The address space whose process has caused the requests.
        pub space: u32,
        /// The device, as the kernel numbers it.
        pub device: u32,
        /// What the requests do: `REQ_OP_READ` and others (include/linux/blk_types.h).
        pub operation: u64,
    }
}

wire! {
    /// Requests to a device that have ended.
    pub struct Requests {
        /// How many.
        pub count: u64,
        /// Their bytes.
        pub bytes: u64,
        /// Those that failed.
        pub errors: u64,
        /// Time from their submission until the device got them, in nanoseconds.
        pub queued_ns: u64,
        /// The longest.
        pub max_queued_ns: u64,
        /// Time from then until they ended, in nanoseconds.
        pub served_ns: u64,
        /// The longest.
        pub max_served_ns: u64,
        /// Requests by time in the queue.
        pub queued: [u64; BUCKETS],
        /// Requests by time in the device.
        pub served: [u64; BUCKETS],
    }
}

wire! {
    /// Part of a request, before it becomes one: who has submitted it.
    pub struct Submitted {
        /// The address space.
        pub space: u64,
        /// When, in nanoseconds.
        pub start_ns: u64,
    }
}

wire! {
    /// A request that the device has got.
    pub struct Issued {
        /// The address space that has caused it.
        pub space: u32,
        /// The device, as the kernel numbers it.
        pub device: u32,
        /// When it was submitted, in nanoseconds.
        pub start_ns: u64,
        /// When the device got it, in nanoseconds.
        pub issued_ns: u64,
        /// Its bytes then.
        pub bytes: u64,
    }
}

wire! {
    /// Key of a [`Neighbour`].
    pub struct NeighbourKey {
        /// The device, as the kernel numbers it.
        pub device: u32,
        /// The process that has submitted something to it, which is not observed.
        pub tgid: u32,
        /// 1: it writes, 0: it reads.
        pub writes: u64,
        /// Name of the thread.
        pub comm: [u64; 2],
    }
}

wire! {
    /// What a process that is not observed has submitted to a device.
    pub struct Neighbour {
        /// Parts of requests.
        pub count: u64,
        /// Their bytes.
        pub bytes: u64,
    }
}

wire! {
    /// Key of an [`AioRequest`].
    pub struct AioKey {
        /// The address space.
        pub space: u64,
        /// Address of its `struct iocb` in the memory of the process.
        pub block: u64,
    }
}

wire! {
    /// A request of libaio whose result the program has not fetched yet.
    pub struct AioRequest {
        /// The thread that has submitted it.
        pub tid: u32,
        /// Number of its file, as in [`IoKey`](crate::io::IoKey).
        pub file: u32,
        /// Its descriptor.
        pub descriptor: u64,
        /// What shows whether the descriptor still refers to the file: the address of its `dentry`.
        pub entry: u64,
        /// What it is, as [`CallUse`](crate::io::CallUse) has it.
        pub used_as: u64,
        /// When it was submitted, in nanoseconds.
        pub start_ns: u64,
        /// Name of the thread.
        pub comm: [u64; 2],
    }
}

/// Places of the numbers that are kept of a thread: when the kernel has begun to look for a page of a file, in nanoseconds; 0: it has not.
pub const FAULT_START: usize = 0;
/// How many faults of the thread were over then.
pub const FAULT_MARK: usize = 1;
/// How many calls it had made then.
pub const FAULT_CALLS: usize = 2;
/// Bytes that it had fetched from devices then.
pub const FAULT_FETCHED: usize = 3;

/// Requests that one call of `io_submit` is looked at for, and results of one call of `io_getevents`. Others are lost.
pub const MOST_AIO: u64 = 4096;

io_counters! {
    other: "of_no_file", without_cell: "without_file";
    probes {
        /// Request of libaio.
        Aio = "io_submit",
        /// Major fault.
        Fault = "page_fault",
    }

    /// Requests that were handed to `io_submit`.
    AioHits = "hits" in Aio as Hits,
    /// The request was counted.
    AioCounted = "counted" in Aio as Recorded,
    /// The program has not fetched its result. User space knows how many there are.
    AioUnderWay = "under_way" in Aio as Recorded,
    /// It uses no file of the kinds that are counted, or is no operation on one.
    AioOther = "of_no_file" in Aio as Filtered,
    /// The kernel has not taken it.
    AioRefused = "refused" in Aio as Filtered,
    /// Its end was not seen: the program took the result from the ring in its memory, without a call.
    AioUnseen = "end_not_seen" in Aio as Filtered,
    /// There was no memory to follow or to count it, or it could not be read.
    AioLost = "lost" in Aio as Lost,

    /// Faults for which a thread had to wait.
    FaultHits = "hits" in Fault as Hits,
    /// The fault was counted.
    FaultCounted = "counted" in Fault as Recorded,
    /// What is mapped there is no file, or of another kind.
    FaultOther = "of_no_file" in Fault as Filtered,
    /// No page of a file was looked for: one that had been swapped out.
    FaultSwapped = "swapped" in Fault as Filtered,
    /// There was no memory to count it.
    FaultLost = "lost" in Fault as Lost,

    /// A request was not counted: there was no memory for it.
    RequestLost = "request_not_counted" in Exit as Quality,
    /// There was no memory to count what another process does to a device.
    NeighbourLost = "neighbour_not_counted" in Exit as Quality,
    /// There was no room to note what operations waited for, or the kernel did not show the end of the wait.
    WaitLost = "wait_not_noted" in Exit as Quality,
}

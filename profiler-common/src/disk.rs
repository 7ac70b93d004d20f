//! What the kernel side of `disk` counts.

use crate::{counters, histogram::BUCKETS, wire};

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
        pub space: u64,
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

counters! {
    probes {
        /// Entry of a call.
        Enter = "sys_enter",
        /// Return of a call.
        Exit = "sys_exit",
        /// Operation of io_uring.
        Ring = "io_uring",
    }

    /// Hits at the entry.
    EnterHits = "hits" in Enter as Hits,
    /// The call is an operation on files, and is counted when it returns.
    Began = "began" in Enter as Recorded,
    /// The call uses no file, or one of another kind.
    Other = "of_no_file" in Enter as Filtered,
    /// There was no room for the record of the thread.
    LostThread = "lost_thread_state" in Enter as Lost,

    /// Hits at the return.
    ExitHits = "hits" in Exit as Hits,
    /// The operation was counted.
    Counted = "counted" in Exit as Recorded,
    /// The call is not counted: it uses no file, or one of another kind, or it began before the observation.
    NotCounted = "of_no_file" in Exit as Filtered,
    /// A signal has interrupted the call, and the kernel begins it anew.
    Restarted = "restarted" in Exit as Filtered,
    /// There was no memory for the sums of the file.
    LostCell = "lost_cell" in Exit as Lost,

    /// Operations that were submitted to rings of io_uring, of kinds that are counted.
    RingSubmitted = "hits" in Ring as Hits,
    /// The operation was counted.
    RingCounted = "counted" in Ring as Recorded,
    /// It uses no file, or one of another kind.
    RingOther = "of_no_file" in Ring as Filtered,
    /// It has not been completed. User space knows how many there are.
    RingUnderWay = "under_way" in Ring as Recorded,
    /// There was no memory to follow or to count it.
    RingLost = "lost" in Ring as Lost,

    /// A request was not counted: there was no memory for it.
    RequestLost = "request_not_counted" in Exit as Quality,
    /// There was no memory to count what another process does to a device.
    NeighbourLost = "neighbour_not_counted" in Exit as Quality,

    /// There was no memory to note what operations waited for.
    WaitLost = "wait_not_noted" in Exit as Quality,
    /// The thread ended before its operation did.
    EndedInCall = "ended_with_its_thread" in Enter as Quality,
    /// The operation counts for no file of its own: too many files, threads and operations have sums.
    WithoutCell = "without_file" in Exit as Quality,
    /// Durations that are in no histogram, because none was left.
    WithoutHistogram = "duration_not_in_histogram" in Exit as Quality,
    /// A single operation did not fit into the ring.
    LostSample = "operation_not_listed" in Exit as Quality,
    /// A single operation was not sent, because this CPU had sent enough in that second.
    Spared = "operation_spared" in Exit as Quality,
    /// All numbers of stacks were taken (`--max-stacks`).
    StackTableFull = "stack_table_full" in Exit as Quality,
    /// The frames of a new stack did not fit into the ring; they are sent at its next use.
    StackRingFull = "stack_ring_full" in Exit as Quality,
    /// The stack was deeper than the limit.
    StackTruncated = "stack_truncated" in Exit as Quality,
    /// The stack could not be read beyond its first frame, or is one of 32-bit code.
    StackShort = "stack_short" in Exit as Quality,
}

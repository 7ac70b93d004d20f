//! What the kernel side of `disk` counts.

use crate::{counters, wire};

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

counters! {
    probes {
        /// Entry of a call.
        Enter = "sys_enter",
        /// Return of a call.
        Exit = "sys_exit",
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

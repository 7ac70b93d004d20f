//! The counters of tools that count operations on files.

use crate::ledger::Ledger;

/// The counters that each of these tools has. Declared with [`io_counters!`](crate::io_counters).
pub trait IoCounter: Ledger + PartialEq + 'static {
    /// Hits at the entry.
    const ENTERED: Self;
    /// The call will be counted.
    const BEGAN: Self;
    /// It uses no file, or none of the kinds that are counted.
    const OTHER: Self;
    /// There was no room for the record of the thread.
    const LOST_THREAD: Self;
    /// Hits at the return.
    const RETURNED: Self;
    /// The call was counted.
    const COUNTED: Self;
    /// It is not to be counted.
    const NOT_COUNTED: Self;
    /// A signal has interrupted it: the kernel begins it anew, or it ends when the signal is delivered.
    const RESTARTED: Self;
    /// Hits: it ends so.
    const SIGNALLED: Self;
    /// It was counted then.
    const INTERRUPTED: Self;
    /// There was no memory for its cell then.
    const INTERRUPTED_LOST: Self;
    /// It had begun before the observation did.
    const BEFORE: Self;
    /// There was no memory for its cell.
    const LOST_CELL: Self;
    /// Hits: operations that were submitted to rings of io_uring.
    const RING_SUBMITTED: Self;
    /// Such an operation was counted.
    const RING_COUNTED: Self;
    /// It uses no file of the kinds that are counted.
    const RING_OTHER: Self;
    /// It has not been completed. User space knows how many there are.
    const RING_UNDER_WAY: Self;
    /// Its end was not seen: the program has asked for none, or its process has ended.
    const RING_UNSEEN: Self;
    /// There was no memory to follow or to count it.
    const RING_LOST: Self;
    /// A request that goes on (multishot) had a completion.
    const RING_GOES_ON: Self;
    /// The thread of a call ended before it returned.
    const ENDED_IN_CALL: Self;
    /// Operations that were counted for no file of their own, because there were too many cells.
    const WITHOUT_CELL: Self;
    /// No histogram was left.
    const WITHOUT_HISTOGRAM: Self;
    /// A single operation did not fit into the ring.
    const LOST_SAMPLE: Self;
    /// A single operation was not sent, because this CPU had sent enough in that second.
    const SPARED: Self;
    /// The same of one that is slow.
    const SPARED_SLOW: Self;
    /// All numbers of stacks were taken.
    const STACK_TABLE_FULL: Self;
    /// The frames of a new stack did not fit into the ring.
    const STACK_RING_FULL: Self;
    /// The stack was deeper than the limit.
    const STACK_TRUNCATED: Self;
    /// The stack could not be read beyond its first frame.
    const STACK_SHORT: Self;
}

/// Declares the ledger of a tool that counts operations on files: the counters of [`IoCounter`], and then its own, as
/// [`counters!`](crate::counters) has them. `other`: the name in reports for what uses no file of its kinds; `without_cell`: for what
/// counts for no file of its own; `probes`: its own.
#[macro_export]
macro_rules! io_counters {
    (
        other: $other:literal, without_cell: $without_cell:literal;
        probes { $($probes:tt)* }
        $($own:tt)*
    ) => {
        $crate::counters! {
            probes {
                /// Entry of a call.
                Enter = "sys_enter",
                /// Return of a call.
                Exit = "sys_exit",
                /// Operation of io_uring.
                Ring = "io_uring",
                /// A call that a signal has interrupted ends.
                Signal = "signal_deliver",
                $($probes)*
            }

            /// Hits at the entry.
            EnterHits = "hits" in Enter as Hits,
            /// The call is one that is counted when it returns.
            Began = "began" in Enter as Recorded,
            /// The call uses no file, or one of another kind.
            Other = $other in Enter as Filtered,
            /// There was no room for the record of the thread.
            LostThread = "lost_thread_state" in Enter as Lost,

            /// Hits at the return.
            ExitHits = "hits" in Exit as Hits,
            /// The operation was counted.
            Counted = "counted" in Exit as Recorded,
            /// The call is not counted: it uses no file, or one of another kind, or it began before the observation.
            NotCounted = $other in Exit as Filtered,
            /// A signal has interrupted the call: the kernel begins it anew, or it ends when the signal is delivered.
            Restarted = "restarted" in Exit as Filtered,
            /// The call had begun before the observation did.
            Before = "under_way_at_start" in Exit as Filtered,
            /// There was no memory for the sums of the file.
            LostCell = "lost_cell" in Exit as Lost,

            /// Calls that a signal has interrupted, and that are not begun anew.
            Signalled = "hits" in Signal as Hits,
            /// The call was counted, as one that failed with `EINTR`.
            Interrupted = "counted" in Signal as Recorded,
            /// There was no memory for the sums of the file.
            InterruptedLost = "lost_cell" in Signal as Lost,

            /// Operations that were submitted to rings of io_uring, of kinds that are counted.
            RingSubmitted = "hits" in Ring as Hits,
            /// The operation was counted.
            RingCounted = "counted" in Ring as Recorded,
            /// It uses no file, or one of another kind.
            RingOther = $other in Ring as Filtered,
            /// It has not been completed. User space knows how many there are.
            RingUnderWay = "under_way" in Ring as Recorded,
            /// Its end was not seen: the program has asked for none, or its process has ended.
            RingUnseen = "end_not_seen" in Ring as Filtered,
            /// There was no memory to follow or to count it.
            RingLost = "lost" in Ring as Lost,

            /// A completion of a request that goes on (multishot): the kernel does not say of which.
            RingGoesOn = "completion_of_a_request_that_goes_on" in Ring as Quality,
            /// The thread ended before its operation did.
            EndedInCall = "ended_with_its_thread" in Enter as Quality,
            /// The operation counts for no file of its own: too many files, threads and operations have sums.
            WithoutCell = $without_cell in Exit as Quality,
            /// Durations that are in no histogram, because none was left.
            WithoutHistogram = "duration_not_in_histogram" in Exit as Quality,
            /// A single operation did not fit into the ring.
            LostSample = "operation_not_listed" in Exit as Quality,
            /// A single operation that is not slow was not sent, because this CPU had sent enough in that second.
            Spared = "operation_spared" in Exit as Quality,
            /// The same of one that is slow.
            SparedSlow = "slow_operation_spared" in Exit as Quality,
            /// All numbers of stacks were taken (`--max-stacks`).
            StackTableFull = "stack_table_full" in Exit as Quality,
            /// The frames of a new stack did not fit into the ring; they are sent at its next use.
            StackRingFull = "stack_ring_full" in Exit as Quality,
            /// The stack was deeper than the limit.
            StackTruncated = "stack_truncated" in Exit as Quality,
            /// The stack could not be read beyond its first frame, or is one of 32-bit code.
            StackShort = "stack_short" in Exit as Quality,
            $($own)*
        }

        impl $crate::io::IoCounter for Counter {
            const ENTERED: Counter = Counter::EnterHits;
            const BEGAN: Counter = Counter::Began;
            const OTHER: Counter = Counter::Other;
            const LOST_THREAD: Counter = Counter::LostThread;
            const RETURNED: Counter = Counter::ExitHits;
            const COUNTED: Counter = Counter::Counted;
            const NOT_COUNTED: Counter = Counter::NotCounted;
            const BEFORE: Counter = Counter::Before;
            const RESTARTED: Counter = Counter::Restarted;
            const SIGNALLED: Counter = Counter::Signalled;
            const INTERRUPTED: Counter = Counter::Interrupted;
            const INTERRUPTED_LOST: Counter = Counter::InterruptedLost;
            const LOST_CELL: Counter = Counter::LostCell;
            const RING_SUBMITTED: Counter = Counter::RingSubmitted;
            const RING_COUNTED: Counter = Counter::RingCounted;
            const RING_OTHER: Counter = Counter::RingOther;
            const RING_UNDER_WAY: Counter = Counter::RingUnderWay;
            const RING_UNSEEN: Counter = Counter::RingUnseen;
            const RING_LOST: Counter = Counter::RingLost;
            const RING_GOES_ON: Counter = Counter::RingGoesOn;
            const ENDED_IN_CALL: Counter = Counter::EndedInCall;
            const WITHOUT_CELL: Counter = Counter::WithoutCell;
            const WITHOUT_HISTOGRAM: Counter = Counter::WithoutHistogram;
            const LOST_SAMPLE: Counter = Counter::LostSample;
            const SPARED: Counter = Counter::Spared;
            const SPARED_SLOW: Counter = Counter::SparedSlow;
            const STACK_TABLE_FULL: Counter = Counter::StackTableFull;
            const STACK_RING_FULL: Counter = Counter::StackRingFull;
            const STACK_TRUNCATED: Counter = Counter::StackTruncated;
            const STACK_SHORT: Counter = Counter::StackShort;
        }
    };
}

//! Every way a hit of a probe of `syscalls` can end.

use crate::counters;

counters! {
    probes {
        /// Entry of a call.
        Enter = "sys_enter",
        /// Return of a call.
        Exit = "sys_exit",
    }

    /// Hits at the entry. The kernel side counts them in each [`Thread`](super::Thread); here are only those of threads whose record is
    /// gone. Those of threads that never had one are `EnterLostThread`.
    EnterHits = "hits" in Enter as Hits,
    /// The call has returned. Counted in its [`Cell`](super::Cell) only.
    EnterReturned = "returned" in Enter as Recorded,
    /// The call did not return because its thread ended. Counted in its cell only.
    EnterEnded = "ended_with_its_thread" in Enter as Recorded,
    /// The call is in progress, or waits for a signal handler. Known from its thread only.
    EnterUnderWay = "under_way" in Enter as Recorded,
    /// A call continues after a signal: it is not a new one.
    EnterContinued = "continued" in Enter as Filtered,
    /// The call began while the programs were being detached.
    EnterLate = "after_the_end" in Enter as Filtered,
    /// A suspended call was never continued: its handler was left by `longjmp`.
    EnterAbandoned = "abandoned" in Enter as Filtered,
    /// The kernel had no memory for the state of this thread.
    EnterLostThread = "lost_thread_state" in Enter as Lost,
    /// The return of the call was not seen.
    EnterLostReturn = "lost_return" in Enter as Lost,
    /// The kernel had no memory for the cell of the call, which did not return.
    EnterLostCell = "lost_cell" in Enter as Lost,

    /// Hits at the return. The kernel side counts them in each [`Thread`](super::Thread); here are only those of threads whose record is
    /// gone.
    ExitHits = "hits" in Exit as Hits,
    /// A call returned. Counted in its cell only.
    ExitReturned = "returned" in Exit as Recorded,
    /// A call returned that was in progress at the start. Counted in its cell only.
    ExitUnderWay = "under_way_at_start" in Exit as Recorded,
    /// A seccomp filter or a tracer refused the call before it began. Counted in its cell only.
    ExitRefused = "refused" in Exit as Recorded,
    /// A signal interrupted the call: the kernel restarts it, unless a handler ends it.
    ExitSuspended = "suspended" in Exit as Filtered,
    /// Not a return: a thread or process that `fork` or `clone` made begins here.
    ExitChildBegan = "child_began" in Exit as Filtered,
    /// The kernel had no memory for the state of this thread.
    ExitLostThread = "lost_thread_state" in Exit as Lost,
    /// The kernel had no memory for the cell of the call.
    ExitLostCell = "lost_cell" in Exit as Lost,

    /// A call that was in progress at the start ended with its thread: its cell has it, but no hit of an entry.
    EndedSinceBefore = "ended_under_way_at_start" in Enter as Quality,
    /// A handler ended a suspended call with EINTR: its cell has it, but no hit of a return.
    Interrupted = "interrupted" in Exit as Quality,
    /// The kernel had no memory for an error number: the call counts, its error does not.
    ErrorLost = "lost_error" in Exit as Quality,
    /// Another CPU overwrote the longest time of a shared cell.
    MaxRaced = "longest_time_raced" in Exit as Quality,
    /// A slow call did not fit into the ring.
    SlowLost = "slow_call_not_listed" in Exit as Quality,
    /// The kernel had no memory to count operations of io_uring.
    UringLost = "uring_not_counted" in Exit as Quality,
    /// The kernel had no memory to attribute a call to its stack.
    CallerLost = "caller_not_counted" in Exit as Quality,
    /// The stack of a slow call was not taken, because this CPU had already taken enough in that second.
    WalkSpared = "slow_call_without_stack" in Exit as Quality,
    /// All numbers of stacks were taken (`--max-stacks`).
    StackTableFull = "stack_table_full" in Exit as Quality,
    /// The frames of a new stack did not fit into the ring; they are sent at its next use.
    StackRingFull = "stack_ring_full" in Exit as Quality,
    /// The stack was deeper than the limit.
    StackTruncated = "stack_truncated" in Exit as Quality,
    /// The stack could not be read beyond its first frame, or is one of 32-bit code.
    StackShort = "stack_short" in Exit as Quality,
}

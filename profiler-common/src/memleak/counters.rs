//! Every way a hit of a probe of `memleak` can end.

use crate::counters;

counters! {
    probes {
        /// Entry of an allocation function.
        AllocEntry = "alloc_entry",
        /// Return of an allocation function.
        AllocReturn = "alloc_return",
        /// Entry of a release function.
        Free = "free",
    }

    /// Firings of an allocation entry probe.
    EntryHits = "hits" in AllocEntry as Hits,
    /// The call is being followed to its return.
    EntryBegun = "begun" in AllocEntry as Recorded,
    /// The call was made by another allocation function that is being followed.
    EntryNested = "nested" in AllocEntry as Filtered,
    /// The call was made in a process that is not observed.
    EntryOther = "other_process" in AllocEntry as Filtered,
    /// The call was not drawn; it may be one that is `EntryNested` or `EntryOther` in an exact run.
    EntrySampledOut = "sampled_out" in AllocEntry as SampledOut,
    /// The kernel had no memory for the state of this thread.
    EntryLostThread = "lost_thread_state" in AllocEntry as Lost,

    /// A request this large to a function that throws when it fails is not followed: a return probe would turn the exception into
    /// a crash.
    EntryUnsafe = "lost_unsafe_to_follow" in AllocEntry as Lost,

    /// A request beyond the address space to a function that throws when it fails: it will throw.
    EntryImpossible = "impossible_size" in AllocEntry as Filtered,

    /// The call was made when the observation was over, while its probes were taken away.
    EntryLate = "after_the_end" in AllocEntry as Filtered,

    /// Firings of an allocation return probe.
    ReturnHits = "hits" in AllocReturn as Hits,
    /// A block was recorded.
    ReturnRecorded = "recorded" in AllocReturn as Recorded,
    /// The call failed and nothing changed.
    ReturnFailed = "failed_call" in AllocReturn as Filtered,
    /// The call released its old block and gave none (`realloc(p, 0)`).
    ReturnReleased = "released" in AllocReturn as Recorded,
    /// The return of a nested call, or of one that was not drawn.
    ReturnNested = "nested" in AllocReturn as Filtered,
    /// A return whose entry was not seen: the call was under way when the probe was attached.
    ReturnUnmatched = "unmatched" in AllocReturn as Filtered,
    /// The table of live blocks was full.
    ReturnLostFull = "lost_map_full" in AllocReturn as Lost,
    /// The kernel had no memory for the block.
    ReturnLostMemory = "lost_no_memory" in AllocReturn as Lost,
    /// The table of live blocks was busy, or refused for another reason.
    ReturnLostBusy = "lost_map_busy" in AllocReturn as Lost,
    /// The block's address could not be read, or is outside the 48-bit range.
    ReturnLostAddress = "lost_address" in AllocReturn as Lost,

    /// Firings of a release probe.
    FreeHits = "hits" in Free as Hits,
    /// A recorded block was released.
    FreeFreed = "recorded" in Free as Recorded,
    /// Release of NULL.
    FreeNull = "null" in Free as Filtered,
    /// The block was not recorded: allocated before the start, sampled out, or lost and counted there. In a sampled run this
    /// includes hits that are `FreeNested` or `FreeOther` in an exact one.
    FreeUntracked = "untracked" in Free as Filtered,
    /// The call was made by another release function, or inside the call that takes the block over.
    FreeNested = "nested" in Free as Filtered,
    /// The call was made in a process that is not observed.
    FreeOther = "other_process" in Free as Filtered,
    /// The call was made when the observation was over, while its probes were taken away.
    FreeLate = "after_the_end" in Free as Filtered,

    /// A hit of an entry or a release at an instruction that runs under single step, which costs many times as much.
    SingleStepped = "single_stepped" in AllocEntry as Quality,
    /// A call whose return never came: `longjmp`, an exception, or a coroutine left it.
    Abandoned = "abandoned" in AllocEntry as Quality,
    /// A block was allocated where a live one was recorded: a release was missed.
    MissedFree = "missed_free" in AllocReturn as Quality,
    /// A realloc took over a block that was not recorded.
    OldUntracked = "realloc_of_untracked" in AllocEntry as Quality,
    /// The old block of a realloc that failed could not be put back, or the call never returned.
    OldLost = "lost_old_block" in AllocReturn as Quality,
    /// A block that grew counts as new: there was no room for its parts.
    GrewAnew = "grown_block_counts_as_new" in AllocReturn as Quality,
    /// All numbers of stacks were taken (`--max-stacks`).
    StackTableFull = "stack_table_full" in AllocEntry as Quality,
    /// The frames of a new stack did not fit into the ring; they are sent at its next use.
    StackRingFull = "stack_ring_full" in AllocEntry as Quality,
    /// The stack was deeper than the limit.
    StackTruncated = "stack_truncated" in AllocEntry as Quality,
    /// The stack could not be read beyond its first frame.
    StackShort = "stack_short" in AllocEntry as Quality,
}
